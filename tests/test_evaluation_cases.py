"""Pairs from disk, and the measures of one case."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from musclejax.data.dataset import IGNORE, Case
from musclejax.errors import InputError
from musclejax.evaluation.cases import (
    find_prediction,
    read_pair,
    read_references,
    without_unknown,
)
from musclejax.evaluation.compare import combine, compare
from musclejax.evaluation.result import Decision
from tests.pairs import AFFINE, ORIENTATIONS, SPACING_MM, make_pair, thigh, write


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_measures_do_not_depend_on_the_orientation_of_the_file(
    axcodes: str, limbs: np.ndarray, tmp_path: Path
) -> None:
    reference = thigh(limbs)
    prediction = reference.copy()
    left = prediction[:45]  # RAS: the smaller indices are the patient's left
    left[..., 2][left[..., 2] == 1] = 7
    found = compare(make_pair(tmp_path, reference, prediction, axcodes))
    rows = found.muscles.set_index(["muscle", "side"])
    assert rows.loc[("VL", "right"), "dsc"] == 1
    whole, missed = (reference[:45] == 1).sum(), (reference[:45, :, 2] == 1).sum()
    expected = 2 * (whole - missed) / (2 * whole - missed)
    assert rows.loc[("VL", "left"), "dsc"] == pytest.approx(expected)
    ml = np.prod(SPACING_MM) / 1000
    assert rows.loc[("VL", "left"), "volume_error_ml"] == pytest.approx(-missed * ml)
    assert rows.loc[("AM", "both"), "volume_error_ml"] == pytest.approx(missed * ml)
    # From the middle of the face that opens beside the missing slice to the rim: 5 pixels.
    assert rows.loc[("VL", "left"), "hd95_mm"] == pytest.approx(15)
    assert rows.loc["SAR", ["dsc", "hd95_mm", "volume_error_ml"]].isna().all(axis=None)
    by_level = found.slices.set_index("level")["dsc"]
    assert by_level.drop(2).eq(1).all()
    assert by_level[2] < 1
    index = found.slices["slice"].tolist()
    assert index == ([0, 1, 2, 3] if "S" in axcodes else [3, 2, 1, 0])
    assert (found.muscles["distances"].eq("3d") & found.muscles["slices"].eq(4)).all()


@pytest.mark.parametrize("axis", [0, 2])
def test_a_section_on_unknown_tissue_does_not_count_for_its_edge(axis: int) -> None:
    reference, predicted = np.zeros((2, 3, 40, 40), np.uint8)
    reference[:, 10:20, 10:20] = IGNORE
    reference[1:, 5:10, 10:20] = 12
    predicted[:, 10:21, 10:20] = 12  # a row too much
    predicted[0, 21, 20] = 12  # and a corner
    predicted[1, 8:10, 10:20] = 12  # joined to what the reference shows of it
    predicted[2, 30:33, 10:20] = 12  # an error elsewhere
    predicted[2, 18:24, 22:25] = 7  # beside the unknown
    expected = np.where(reference == IGNORE, 0, predicted)
    expected[(0, 2), 20, 10:20] = 0
    expected[0, 21, 20] = 0
    moved = [np.moveaxis(a, 0, axis) for a in (predicted, reference)]
    found = without_unknown(*moved, axis)
    np.testing.assert_array_equal(np.moveaxis(found, axis, 0), expected)


def test_unknown_pixels_and_unannotated_slices_do_not_count(
    limbs: np.ndarray, tmp_path: Path
) -> None:
    full = thigh(limbs)
    reference, prediction = full.copy(), full.copy()
    reference[..., 1] = 0  # not annotated
    reference[:40][full[:40] == 7] = IGNORE  # the patient's left adductor is unknown
    prediction[20:30][full[20:30] == 7] = 3  # nonsense, partly on the unknown
    found = compare(make_pair(tmp_path, reference, prediction))
    assert found.slices["slice"].tolist() == [0, 2, 3]
    assert found.slices["dsc"].eq(1).all()
    assert found.muscles["distances"].eq("in-plane").all()
    rows = found.muscles.set_index(["muscle", "side"])
    assert np.isnan(rows.loc[("AM", "left"), "dsc"])
    assert rows.loc[("VL", "both"), ["hd95_mm", "msd_mm"]].tolist() == [0, 0]
    everything = compare(make_pair(tmp_path, reference, prediction), all_slices=True)
    assert everything.slices["slice"].tolist() == [0, 1, 2, 3]
    assert everything.slices["dsc"][1] == 0
    assert everything.muscles["distances"].eq("3d").all()


def test_a_muscle_that_one_map_lacks_has_no_distance(limbs: np.ndarray, tmp_path: Path) -> None:
    reference = thigh(limbs)
    prediction = np.where(reference == 1, 2, reference)
    rows = compare(make_pair(tmp_path, reference, prediction)).muscles.set_index(["muscle", "side"])
    for muscle in ("VL", "VM"):
        row = rows.loc[(muscle, "both")]
        assert (row["dsc"], row["jaccard"]) == (0, 0)
        assert np.isnan(row["hd95_mm"])
    assert rows.loc[("VL", "both"), "volume_error_percent"] == -100
    assert np.isnan(rows.loc[("VM", "both"), "volume_error_percent"])


def test_an_empty_reference_is_refused_unless_every_slice_counts(
    limbs: np.ndarray, tmp_path: Path
) -> None:
    empty = np.zeros(limbs.shape, np.uint8)
    pair = make_pair(tmp_path, empty, thigh(limbs))
    with pytest.raises(InputError, match="found no muscle"):
        compare(pair)
    assert compare(pair, all_slices=True).slices["dsc"].eq(0).all()


def test_predictions_that_do_not_fit(limbs: np.ndarray, tmp_path: Path) -> None:
    labels = thigh(limbs)
    with pytest.raises(InputError, match="label values 13; accepted: 0 to 12, the muscles of the"):
        make_pair(tmp_path, labels, np.where(labels == 1, np.uint8(13), labels))
    with pytest.raises(InputError, match=r"shape 90 x 60 x 3; accepted: the image's shape"):
        make_pair(tmp_path, labels, labels[..., :3])
    pair = make_pair(tmp_path, labels, labels)
    folder = pair.case.labels.parents[1] / "pred"
    (folder / "a_run.json").write_text(json.dumps({"region": "leg"}))
    with pytest.raises(InputError, match="labels of the leg.*Segment it with --region thigh"):
        make_pair(tmp_path, labels, labels)
    (folder / "a_run.json").unlink()
    moved = nib.Nifti1Image(labels, AFFINE + np.eye(4, k=3))
    nib.save(moved, folder / "a_labels.nii.gz")
    dataset = read_references(pair.case.labels.parent, "thigh")
    with pytest.raises(InputError, match="affine"):
        read_pair(dataset.cases[0], dataset, folder / "a_labels.nii.gz")


def test_names_of_predictions(tmp_path: Path) -> None:
    case = Case("a", tmp_path, tmp_path, subject="a")
    with pytest.raises(InputError, match=r"none in .*; accepted: a_labels.nii.gz or a.nii.gz"):
        find_prediction(tmp_path / "nowhere", case)
    for name in ("a_0000.nii.gz", "a_0000_labels.nii.gz", "a.nii", "a_labels.nii.gz"):
        (tmp_path / name).touch()
        assert find_prediction(tmp_path, case).name == name  # the surer name wins
    (tmp_path / "a_labels.nii").touch()
    with pytest.raises(InputError, match=r"a_labels.nii and a_labels.nii.gz in .*one of them"):
        find_prediction(tmp_path, case)


def test_references_of_a_plain_folder(tmp_path: Path, limbs: np.ndarray) -> None:
    labels = thigh(limbs)
    write(tmp_path / "labelsTr" / "b_labels.nii.gz", labels)
    write(tmp_path / "labelsTr" / "a.nii.gz", labels)
    with pytest.raises(InputError, match="without dataset.json; accepted: --region thigh or"):
        read_references(tmp_path / "labelsTr")
    dataset = read_references(tmp_path / "labelsTr", "thigh")
    assert [(c.name, c.region) for c in dataset.cases] == [("a", "thigh"), ("b", "thigh")]
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "VL": 1}}')
    with pytest.raises(InputError, match=f"Give --reference {tmp_path}"):
        read_references(tmp_path / "labelsTr", "thigh")
    with pytest.raises(InputError, match="--region"):
        read_references(tmp_path, "thigh")
    empty = tmp_path / "empty" / "folder"
    empty.mkdir(parents=True)
    with pytest.raises(InputError, match="no label map"):
        read_references(empty, "leg")


def test_decisions_reach_the_table_of_cases(limbs: np.ndarray, tmp_path: Path) -> None:
    pair = make_pair(tmp_path, thigh(limbs), thigh(limbs))
    decided = compare(pair, decision=Decision("leg", 0.75, "train"))
    row = combine([decided, compare(pair)]).cases
    assert row["classifier_region"].tolist() == ["leg", ""]
    assert row["classifier_probability"].tolist()[0] == 0.75
    assert row["sides"].tolist() == ["gap", "gap"]
