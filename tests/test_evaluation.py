"""Measures against independent computations, pairs from disk, tables by hand, pictures by eye."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.image import imread
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries

from musclejax.data.dataset import IGNORE, Case
from musclejax.errors import InputError
from musclejax.evaluation import tables
from musclejax.evaluation.compare import Comparison, Decision, combine, compare
from musclejax.evaluation.overlap import count_voxels, dsc, jaccard, volume_error_percent
from musclejax.evaluation.pairs import (
    Pair,
    find_prediction,
    read_pair,
    read_references,
    without_unknown,
)
from musclejax.evaluation.picture import Row, draw_overlays, draw_subjects, draw_views
from musclejax.evaluation.report import Evaluation, save
from musclejax.evaluation.run import Follow, evaluate, from_folders
from musclejax.evaluation.scene import extremes, outlines, set_scene
from musclejax.evaluation.surface import hausdorff_mm, mean_surface_mm, surface_distances

SPACING = (3.0, 3.0, 8.0)
AFFINE = np.diag([*SPACING, 1.0])
ORIENTATIONS = ("RAS", "LPS", "PIR", "SLA")


# --- overlap ------------------------------------------------------------------------------------


def test_measures_of_hand_counted_voxels() -> None:
    reference = np.zeros((4, 1, 2), np.uint8)
    prediction = np.zeros_like(reference)
    reference[:, 0, 0] = [1, 1, 1, 0]
    prediction[:, 0, 0] = [0, 1, 1, 2]
    sides = np.ones_like(reference)
    sides[2:] = 2
    counts = count_voxels(reference, prediction, sides, 4)
    assert counts.shape == (3, 2, 3, 4)
    both = counts.sum(1)[:, 2]
    assert both[:, 1].tolist() == [3, 2, 2]
    assert counts[:, 0, :2, 1].tolist() == [[2, 1], [1, 1], [1, 1]]  # left, right
    assert dsc(both)[1] == pytest.approx(4 / 5)
    assert jaccard(both)[1] == pytest.approx(2 / 3)
    assert volume_error_percent(both)[1] == pytest.approx(-100 / 3)
    assert (dsc(both)[2], jaccard(both)[2]) == (0, 0)  # in the prediction only
    assert np.isnan([volume_error_percent(both)[2], dsc(both)[3], jaccard(both)[3]]).all()


LABELS = arrays(np.uint8, (5, 4, 2), elements=st.integers(0, 2))


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS)
def test_overlap_is_symmetric_bounded_and_jaccard_follows_from_dsc(
    first: np.ndarray, second: np.ndarray
) -> None:
    sides = np.ones_like(first)
    counts = count_voxels(first, second, sides, 3)
    d = dsc(counts)
    np.testing.assert_array_equal(d, dsc(count_voxels(second, first, sides, 3)))
    np.testing.assert_allclose(jaccard(counts), d / (2 - d))
    known = d[~np.isnan(d)]
    assert ((known >= 0) & (known <= 1)).all()
    same = dsc(count_voxels(first, first, sides, 3))
    assert (same[~np.isnan(same)] == 1).all()


# --- surface distances --------------------------------------------------------------------------


def ball(radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    axes = [(np.arange(n) - n // 2) * s for n, s in zip((41, 41, 27), spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 <= radius_mm**2


def test_concentric_balls_are_apart_by_the_difference_of_their_radii() -> None:
    spacing = (1.0, 1.0, 1.5)
    found = surface_distances(ball(16, spacing), ball(10, spacing), spacing)
    for value in (hausdorff_mm(found, 100.0), hausdorff_mm(found), mean_surface_mm(found)):
        assert value == pytest.approx(6, abs=0.9)  # the surface is rough by about half a voxel


@pytest.mark.parametrize(("axis", "shift"), [(0, 3), (1, 2), (2, 1)])
def test_a_shifted_cube_is_as_far_as_it_was_shifted(axis: int, shift: int) -> None:
    cube = np.zeros((20, 20, 20), bool)
    cube[5:12, 5:12, 5:12] = True
    found = surface_distances(cube, np.roll(cube, shift, axis), SPACING)
    assert hausdorff_mm(found, 100.0) == shift * SPACING[axis]
    assert mean_surface_mm(found) < shift * SPACING[axis]


def blobs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 11, 8), bool)
    for _ in range(3):
        i, j, k = rng.integers(1, (7, 6, 4))
        mask[i : i + 4, j : j + 4, k : k + 3] = True
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_distances_against_all_pairs_and_scikit_image(seed: int) -> None:
    """Independent: SciPy's `cdist` over boundary voxels that scikit-image finds."""
    masks = blobs(seed), blobs(seed + 100)
    edges = [find_boundaries(np.pad(m, 1), connectivity=1, mode="inner") for m in masks]
    points = [np.argwhere(edge) * SPACING for edge in edges]
    apart = cdist(*points)
    forth, back = apart.min(1), apart.min(0)
    found = surface_distances(*masks, SPACING)
    np.testing.assert_allclose(np.sort(found[0]), np.sort(forth))
    np.testing.assert_allclose(np.sort(found[1]), np.sort(back))
    expected = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert hausdorff_mm(found) == pytest.approx(expected)
    assert mean_surface_mm(found) == pytest.approx(np.concatenate([forth, back]).mean())
    unit = surface_distances(*masks, (1.0, 1.0, 1.0))
    assert hausdorff_mm(unit, 100.0) == pytest.approx(hausdorff_distance(*edges))


MASKS = arrays(bool, (6, 5, 4))


@settings(max_examples=25, deadline=None)
@given(MASKS, MASKS, st.booleans())
def test_distances_are_symmetric_scale_with_the_spacing_and_vanish_on_equal_masks(
    first: np.ndarray, second: np.ndarray, in_plane: bool
) -> None:
    there = surface_distances(first, second, SPACING, in_plane=in_plane)
    back = surface_distances(second, first, SPACING, in_plane=in_plane)
    np.testing.assert_equal(hausdorff_mm(there), hausdorff_mm(back))
    double = surface_distances(first, second, (6.0, 6.0, 16.0), in_plane=in_plane)
    np.testing.assert_allclose(hausdorff_mm(double), 2 * hausdorff_mm(there))
    assert not np.concatenate(surface_distances(first, first, SPACING, in_plane=in_plane)).any()


def test_the_rim_of_the_field_of_view_is_no_surface() -> None:
    """Two bars along the whole stack, 2 pixels apart: the cut ends bring no zeros."""
    bar = np.zeros((12, 12, 5), bool)
    bar[3:8, 3:8] = True
    thin = np.zeros_like(bar)
    thin[5:6, 5:6] = True
    found = surface_distances(thin, bar, (1.0, 1.0, 1.0))
    assert found[0].tolist() == [2.0] * 5
    flat = surface_distances(thin, bar, (1.0, 1.0, 1.0), in_plane=True)
    assert np.sort(flat[1]).tolist() == np.sort(found[1]).tolist()


def test_in_plane_distances_do_not_cross_slices() -> None:
    first, second = np.zeros((2, 9, 9, 3), bool)
    first[2:5, 2:5, 0] = first[2:5, 2:5, 2] = True
    second[3:6, 2:5, 0] = second[2:5, 2:5, 1] = True
    found = surface_distances(first, second, (2.0, 1.0, 0.1), in_plane=True)
    assert hausdorff_mm(found, 100.0) == 2.0  # slice 0 alone shows both
    assert found[0].size == 8
    nothing = surface_distances(first, np.zeros_like(first), SPACING)
    assert np.isnan([hausdorff_mm(nothing), mean_surface_mm(nothing)]).all()


# --- pairs --------------------------------------------------------------------------------------


def thigh(limbs: np.ndarray) -> np.ndarray:
    """Labels in RAS order: in either disc VL lies in front and AM behind."""
    front = np.arange(limbs.shape[1])[None, :, None] > 31
    return np.where(limbs > 0, np.where(front, 1, 7), 0).astype(np.uint8)


def write(path: Path, data: np.ndarray, axcodes: str = "RAS") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axcodes)
    )
    nib.save(image.as_reoriented(turn), path)
    return path


@pytest.fixture
def make_pair(tmp_path: Path) -> Callable[..., Pair]:
    def make(reference: np.ndarray, prediction: np.ndarray, axcodes: str = "RAS") -> Pair:
        write(tmp_path / "ref" / "a.nii.gz", reference, axcodes)
        path = write(tmp_path / "pred" / "a_labels.nii.gz", prediction, axcodes)
        dataset = read_references(tmp_path / "ref", "thigh")
        return read_pair(dataset.cases[0], dataset, path)

    return make


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_measures_do_not_depend_on_the_orientation_of_the_file(
    axcodes: str, limbs: np.ndarray, make_pair: Callable[..., Pair]
) -> None:
    reference = thigh(limbs)
    prediction = reference.copy()
    left = prediction[:45]  # RAS: the smaller indices are the patient's left
    left[..., 2][left[..., 2] == 1] = 7
    found = compare(make_pair(reference, prediction, axcodes))
    rows = found.muscles.set_index(["muscle", "side"])
    assert rows.loc[("VL", "right"), "dsc"] == 1
    whole, missed = (reference[:45] == 1).sum(), (reference[:45, :, 2] == 1).sum()
    expected = 2 * (whole - missed) / (2 * whole - missed)
    assert rows.loc[("VL", "left"), "dsc"] == pytest.approx(expected)
    ml = np.prod(SPACING) / 1000
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
    limbs: np.ndarray, make_pair: Callable[..., Pair]
) -> None:
    full = thigh(limbs)
    reference, prediction = full.copy(), full.copy()
    reference[..., 1] = 0  # not annotated
    reference[:40][full[:40] == 7] = IGNORE  # the patient's left adductor is unknown
    prediction[20:30][full[20:30] == 7] = 3  # nonsense, partly on the unknown
    found = compare(make_pair(reference, prediction))
    assert found.slices["slice"].tolist() == [0, 2, 3]
    assert found.slices["dsc"].eq(1).all()
    assert found.muscles["distances"].eq("in-plane").all()
    rows = found.muscles.set_index(["muscle", "side"])
    assert np.isnan(rows.loc[("AM", "left"), "dsc"])
    assert rows.loc[("VL", "both"), ["hd95_mm", "msd_mm"]].tolist() == [0, 0]
    everything = compare(make_pair(reference, prediction), all_slices=True)
    assert everything.slices["slice"].tolist() == [0, 1, 2, 3]
    assert everything.slices["dsc"][1] == 0
    assert everything.muscles["distances"].eq("3d").all()


def test_a_muscle_that_one_map_lacks_has_no_distance(
    limbs: np.ndarray, make_pair: Callable[..., Pair]
) -> None:
    reference = thigh(limbs)
    prediction = np.where(reference == 1, 2, reference)
    rows = compare(make_pair(reference, prediction)).muscles.set_index(["muscle", "side"])
    for muscle in ("VL", "VM"):
        row = rows.loc[(muscle, "both")]
        assert (row["dsc"], row["jaccard"]) == (0, 0)
        assert np.isnan(row["hd95_mm"])
    assert rows.loc[("VL", "both"), "volume_error_percent"] == -100
    assert np.isnan(rows.loc[("VM", "both"), "volume_error_percent"])


def test_an_empty_reference_is_refused_unless_every_slice_counts(
    limbs: np.ndarray, make_pair: Callable[..., Pair]
) -> None:
    empty = np.zeros(limbs.shape, np.uint8)
    pair = make_pair(empty, thigh(limbs))
    with pytest.raises(InputError, match="found no muscle"):
        compare(pair)
    assert compare(pair, all_slices=True).slices["dsc"].eq(0).all()


def test_predictions_that_do_not_fit(limbs: np.ndarray, make_pair: Callable[..., Pair]) -> None:
    labels = thigh(limbs)
    with pytest.raises(InputError, match="label values 13; accepted: 0 to 12, the muscles of the"):
        make_pair(labels, np.where(labels == 1, np.uint8(13), labels))
    with pytest.raises(InputError, match=r"shape 90 x 60 x 3; accepted: the image's shape"):
        make_pair(labels, labels[..., :3])
    pair = make_pair(labels, labels)
    folder = pair.case.labels.parents[1] / "pred"
    (folder / "a_run.json").write_text(json.dumps({"region": "leg"}))
    with pytest.raises(InputError, match="labels of the leg.*Segment it with --region thigh"):
        make_pair(labels, labels)
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


# --- tables -------------------------------------------------------------------------------------


def slices_table(*rows: tuple[str, str, str, str, str, int, float]) -> pd.DataFrame:
    columns = ["case", "subject", "region", "severity", "split", "level", "dsc"]
    return pd.DataFrame(rows, columns=columns).assign(time_point="", slice=0)


def test_table_2_counts_slices_and_the_classifiers_decisions() -> None:
    slices = slices_table(
        ("a", "a", "thigh", "", "train", 0, 0.8),
        ("a", "a", "thigh", "", "train", 1, 0.6),
        ("b", "b", "thigh", "", "validation", 0, 0.5),
        ("c", "c", "thigh", "", "test", 0, 0.1),
    )
    cases = pd.DataFrame(
        {
            "region": ["thigh", "thigh", "leg", "leg"],
            "classifier_region": ["thigh", "leg", "leg", ""],
            "classifier_split": ["train", "train", "validation", ""],
        }
    )
    table = tables.table2(Comparison(pd.DataFrame(), slices, cases)).set_index("network")
    assert table.loc["Classification", ["train", "validation"]].tolist() == [0.5, 1.0]
    assert table.loc["Thigh segmentation", ["train", "validation"]].tolist() == [
        pytest.approx(0.7),
        0.5,
    ]
    assert table.loc["Thigh segmentation", ["train_n", "validation_n"]].tolist() == [2, 1]
    assert table.loc["Lower leg segmentation", ["train", "validation"]].isna().all()


def test_table_3_has_a_row_per_test_subject_mild_first() -> None:
    slices = slices_table(
        ("a", "S9", "thigh", "severe", "test", 0, 0.5),
        ("a", "S9", "thigh", "severe", "test", 1, 0.7),
        ("b", "S9", "leg", "severe", "test", 0, 0.9),
        ("c", "S1", "thigh", "mild", "test", 0, 0.8),
        ("d", "S2", "thigh", "mild", "test", 0, 0.6),
        ("u", "S9", "thigh", "severe", "unseen", 0, 0.0),
    )
    table = tables.table3(slices)
    assert table["subject"].tolist() == ["S1", "S2", "S9"]
    assert table["thigh_dsc"].tolist() == pytest.approx([0.8, 0.6, 0.6])
    assert table["leg_dsc"].isna().tolist() == [True, True, False]
    assert table["thigh_slices"].tolist() == [1, 1, 2]
    means = tables.with_means(table)
    assert means["subject"].tolist() == ["S1", "S2", "mean", "S9", "mean"]
    assert means["thigh_dsc"].tolist() == pytest.approx([0.8, 0.6, 0.7, 0.6, 0.6])
    assert tables.table3(slices[:0]).empty


def test_table_4_numbers_the_unseen_slices_of_thigh_and_leg_apart() -> None:
    slices = slices_table(
        ("t", "A", "thigh", "severe", "unseen", 1, 0.82),
        ("t", "A", "thigh", "severe", "unseen", 0, 0.81),
        ("l", "A", "leg", "severe", "unseen", 0, 0.91),
        ("t2", "B", "thigh", "severe", "unseen", 0, 0.75),
        ("x", "B", "thigh", "severe", "test", 0, 0.99),
    )
    table = tables.table4(slices)
    assert table[["subject", "slice"]].to_numpy().tolist() == [["A", 1], ["A", 2], ["B", 1]]
    assert table["thigh_dsc"].tolist() == [0.81, 0.82, 0.75]
    assert table["leg_dsc"].fillna(0).tolist() == [0.91, 0, 0]


def test_summary_keeps_splits_apart_and_leaves_out_what_is_absent() -> None:
    measures = dict.fromkeys(["jaccard", "hd95_mm", "msd_mm", "volume_error_percent"], 1.0)
    rows = [
        {"split": split, "muscle": muscle, "dsc": value}
        for split, muscle, value in [
            ("test", "VM", 0.4), ("test", "VL", 0.2), ("test", "VL", 0.6), ("train", "VL", 1.0),
            ("test", "VL", np.nan),
        ]
    ]  # fmt: skip
    muscles = pd.DataFrame([{"region": "thigh", "side": "both", **r, **measures} for r in rows])
    table = tables.summary(muscles).set_index(["split", "muscle"])
    assert list(table.index) == [("test", "VL"), ("test", "VM"), ("train", "VL")]
    row = table.loc[("test", "VL")]
    assert row[["dsc_mean", "dsc_median", "dsc_n"]].tolist() == [pytest.approx(0.4)] * 2 + [2]
    assert row["dsc_sd"] == pytest.approx(np.sqrt(0.08))


# --- pictures and files -------------------------------------------------------------------------


def test_extremes_and_outlines() -> None:
    values = pd.Series([0.5, np.nan, 0.9, 0.1, 0.4], index=list("abcde"))
    assert extremes(values) == {"best": "c", "median": "e", "worst": "d"}
    assert extremes(values[:3]) == {"best": "c", "worst": "a"}
    assert extremes(values[:2]) == {"only": "a"}
    pixel = np.zeros((4, 5), np.uint8)
    pixel[1, 2] = 3
    ends = {tuple(map(tuple, line)) for line in outlines(pixel).tolist()}
    assert len(ends) == 4
    assert ((1.5, 0.5), (1.5, 1.5)) in ends  # (column, row): the pixel's left


def is_red(image: np.ndarray) -> np.ndarray:
    """Where the colour of label 1 shows."""
    return (image[..., 0] - image[..., 1] > 0.2) & (image[..., 0] - image[..., 2] > 0.2)


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_pictures_show_the_right_on_the_left_and_the_head_up(
    axcodes: str, limbs: np.ndarray, make_pair: Callable[..., Pair], tmp_path: Path
) -> None:
    """VL in front of the patient's right thigh, in the topmost slice only."""
    reference = np.where(thigh(limbs) > 0, 8, 0).astype(np.uint8)
    only = np.zeros_like(reference, bool)
    only[45:, 32:, 3] = True
    reference[only & (limbs > 0)] = 1
    pair = make_pair(reference, reference, axcodes)
    top = compare(pair).slices.set_index("level")["slice"][3]
    row = Row("best", set_scene(pair, [int(top)]), [int(top)], [1.0])
    draw_overlays([row], "title", tmp_path / "overlays.png")
    panel = is_red(imread(tmp_path / "overlays.png"))[:-80]
    left_half, height = panel[:, : panel.shape[1] // 4], np.flatnonzero(panel.any(1))
    assert left_half.sum() > 500
    assert not panel[:, panel.shape[1] // 4 : panel.shape[1] // 2].any()
    assert height.mean() < 0.55 * panel.shape[0]

    draw_views(set_scene(pair), "title", tmp_path / "views.png")
    image = imread(tmp_path / "views.png")
    red = is_red(image)[:-80]
    rows = np.flatnonzero(red[: red.shape[0] // 2].any(1))
    assert rows.size
    below = is_red(image)[rows.max() + 3 : rows.max() + 20]
    assert not below.any()  # nothing red further down the reference's row
    columns = np.flatnonzero(red.any(0)) / red.shape[1]
    assert columns.min() < 0.17  # the right limb, in the left half of the first coronal view

    bottom = Row("S1", set_scene(pair, [int(top)] * 3), [int(top)] * 3, [1.0] * 3)
    draw_subjects([bottom, bottom], "title", tmp_path / "subjects.png")
    assert is_red(imread(tmp_path / "subjects.png"))[:-80].sum() > 500


def test_an_evaluation_in_files_and_what_replaces_it(limbs: np.ndarray, tmp_path: Path) -> None:
    labels = thigh(limbs)
    for name, change in (("a", 0), ("b", 5), ("c", 9)):
        write(tmp_path / "ref" / f"{name}.nii.gz", labels)
        write(tmp_path / "pred" / f"{name}.nii.gz", np.roll(labels, change, 1))
    source = from_folders(tmp_path / "ref", tmp_path / "pred", "thigh")
    seen: list[str] = []
    evaluation = evaluate(source, follow=Follow(done=lambda c: seen.append(c.cases["case"][0])))
    assert evaluation is not None
    assert seen == ["a", "b", "c"]
    out = tmp_path / "out"
    files = save(evaluation, out, lambda: {"ours": 1})
    assert {path.name for path in files} == {path.name for path in out.iterdir()}
    assert {f"views_{name}.png" for name in "abc"} < {path.name for path in files}
    muscles = pd.read_csv(out / "muscles.csv", keep_default_na=False)
    assert muscles.shape == (3 * 12 * 3, 18)
    assert muscles.iloc[0][["case", "muscle", "side", "dsc"]].tolist() == [
        "a", "VL", "left", "1.0000",
    ]  # fmt: skip
    assert "nan" not in (out / "muscles.csv").read_text().lower()
    report = (out / "report.md").read_text()
    assert 'No case of the split "test"' in report
    assert "![Thigh: best, median and worst slice](overlays_thigh.png)" in report
    assert "nan" not in report
    assert json.loads((out / "evaluate.json").read_text())["ours"] == 1

    only = replace(source.dataset, cases=source.dataset.cases[:1])
    again = evaluate(replace(source, dataset=only))
    assert again is not None
    save(again, out)
    assert {path.name for path in out.glob("views_*")} == {"views_a.png"}
    with pytest.raises(RuntimeError):
        save(Evaluation("what", again.comparison, [], stop), out)
    assert json.loads((out / "evaluate.json").read_text())["what"] != "what"  # the earlier stands


def stop(name: str) -> Pair:
    raise RuntimeError(name)


def test_decisions_reach_the_table_of_cases(
    limbs: np.ndarray, make_pair: Callable[..., Pair]
) -> None:
    pair = make_pair(thigh(limbs), thigh(limbs))
    said = compare(pair, decision=Decision("leg", 0.75, "train"))
    row = combine([said, compare(pair)]).cases
    assert row["classifier_region"].tolist() == ["leg", ""]
    assert row["classifier_probability"].tolist()[0] == 0.75
    assert row["sides"].tolist() == ["gap", "gap"]
