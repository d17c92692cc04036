"""Datasets in nnU-Net's layout: what is read, what is refused, who is held out."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from skimage.morphology import area_closing, area_opening

from musclejax.cli.main import main
from musclejax.config import default_config
from musclejax.data.check import check_dataset_steps
from musclejax.data.dataset import IGNORE, Case, Dataset, read_case, read_dataset
from musclejax.data.sampler import make_samplers
from musclejax.data.slices import Slices, case_slices, load_slices_steps, remove_specks
from musclejax.data.split import assign_splits
from musclejax.errors import InputError
from musclejax.loops import Advance, result_of
from musclejax.scan.study import load
from tests import limbs
from tests.test_grid import ORIENTATIONS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return limbs.write_dataset(tmp_path / "data", subjects=3, slices=4, blank=1)


def rewrite(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Apply a change to the array of a NIfTI file; the change returns array and affine."""
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    nib.save(nib.Nifti1Image(array, affine), path)


def test_cases_and_their_descriptions(folder: Path) -> None:
    dataset = read_dataset(folder)
    assert [c.name for c in dataset.cases] == ["leg00", "leg01", "leg02"]
    assert [c.subject for c in dataset.cases] == ["subject00", "subject01", "subject02"]
    assert [c.severity for c in dataset.cases] == ["severe", "mild", "severe"]
    assert dataset.regions == ["leg"]
    assert dataset.values == {n: ("leg", n) for n in range(1, 7)}


def test_labels_are_translated_by_name(folder: Path) -> None:
    """Any numbers, any order, full names, and nnU-Net's ignore label."""
    path = folder / "dataset.json"
    index = json.loads(path.read_text())
    index["labels"] = {
        "background": 0,
        "tibialis anterior": 1,
        "PE": 2,
        "sol": 3,
        "GL": 4,
        "GM": 5,
        "ignore": 6,
    }
    path.write_text(json.dumps(index))
    dataset = read_dataset(folder)
    case = dataset.cases[0]
    stored = np.asarray(nib.load(case.labels).dataobj)
    _, labels, region = read_case(case, dataset)
    assert region == "leg"
    for value, ours in {0: 0, 1: 4, 2: 6, 3: 1, 4: 3, 5: 2, 6: IGNORE}.items():
        assert (labels[stored == value] == ours).all()


def test_test_cases_have_folders_of_their_own(folder: Path) -> None:
    for old, new in (("imagesTr", "imagesTs"), ("labelsTr", "labelsTs")):
        (folder / new).mkdir()
        for path in sorted((folder / old).glob("leg02*")):
            path.rename(folder / new / path.name)
    cases = read_dataset(folder).cases
    assert {c.name: c.split for c in cases} == {"leg00": "", "leg01": "", "leg02": "test"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "calf": 1}, "label 'calf', a group .SOL, GM, GL. and no muscle; acc"),
        ({"background": 0, "SOL": [1, 2]}, "one number per label"),
        ({"background": 0}, "no muscle among the labels"),
    ],
)
def test_names_that_mean_nothing(folder: Path, labels: dict, message: str) -> None:
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(InputError, match=message):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("case,subject\nleg09,x\n", "case leg09, which has no labels"),
        ("case,split\nleg00,training\n", "split 'training' of leg00; accepted: train, validation"),
        ("case,region\nleg00,calf\n", "region 'calf'"),
        ("name,subject\nleg00,x\n", "columns name, subject"),
    ],
)
def test_tables_that_mean_nothing(folder: Path, table: str, message: str) -> None:
    (folder / "cases.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        read_dataset(folder)


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no such image.*there is leg00_0000.nii.gz"):
        read_dataset(folder, channel=1)
    (folder / "dataset.json").unlink()
    with pytest.raises(InputError, match="no dataset.json"):
        read_dataset(folder)


def test_check_reports_everything_at_once(folder: Path) -> None:
    labels = folder / "labelsTr"
    rewrite(labels / "leg00.nii.gz", lambda a, m: (a, m + np.diag([0, 0, 0.5, 0])))
    rewrite(labels / "leg01.nii.gz", lambda a, m: (np.where(a == 1, 9, a).astype(np.uint8), m))
    rewrite(labels / "leg02.nii.gz", lambda a, m: (a[:, :-1], m))
    (folder / "cases.csv").write_text(
        "case,subject,split\nleg00,a,train\nleg01,a,test\nleg02,b,train\n"
    )
    result = CliRunner().invoke(main, ["dataset", "check", str(folder)])
    assert result.exit_code == 1
    for text in (
        "leg00.nii.gz: found an affine that differs from the image's by up to 1.5 mm (0.19 voxels)",
        "leg01.nii.gz: found label values 9; accepted: 0, 1, 2, 3, 4, 5, 6 (dataset.json)",
        "leg02.nii.gz: found shape 150 x 89 x 4; accepted: the image's shape, 150 x 90 x 4",
        "subject a is in test and train",
        "4 errors to mend before training",
    ):
        assert text in result.output, text


def test_check_of_a_sound_dataset(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    result = CliRunner().invoke(main, ["dataset", "check", str(folder), "-o", str(table)])
    assert result.exit_code == 0
    assert "leg01: 1 of 4 slices are not annotated and will not train" in result.output
    assert "3 cases of 3 subjects, 9 annotated slices: fit for training" in result.output
    assert table.read_text().splitlines()[1].startswith("leg00,subject00,,leg,severe,,150x90x4")


def test_check_tells_copies_and_absent_muscles(folder: Path) -> None:
    image = folder / "imagesTr" / "leg02_0000.nii.gz"
    image.write_bytes((folder / "imagesTr" / "leg00_0000.nii.gz").read_bytes())
    for path in (folder / "labelsTr").iterdir():
        rewrite(path, lambda a, m: (np.where(a == 6, 0, a).astype(np.uint8), m))
    report = result_of(check_dataset_steps(read_dataset(folder)))
    (error,) = report.errors
    assert "leg02 and leg00 are the same scan under two subjects" in error
    texts = report.warnings
    assert any("leg: PE never occurs; train with --set data.absent=PE" in t for t in texts)
    assert list(check_dataset_steps(read_dataset(folder))) == [Advance(n, 3) for n in (1, 2, 3)]


def cases(*subjects: str) -> list[Case]:
    return [Case(f"{i}", Path(), Path(), s) for i, s in enumerate(subjects)]


@settings(max_examples=40, deadline=None)
@given(
    subjects=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=30),
    seed=st.integers(0, 9),
    shares=st.tuples(st.floats(0.05, 0.4), st.floats(0, 0.4)),
)
def test_splits_keep_subjects_whole(subjects: list, seed: int, shares: tuple) -> None:
    config = default_config().split
    config.seed, (config.validation, config.test) = seed, shares
    every = cases(*subjects)
    roles = assign_splits(every, config)
    assert roles == assign_splits(every[::-1], config)
    by_subject = {s: {roles[c] for c in every if c.subject == s} for s in subjects}
    assert all(len(r) == 1 for r in by_subject.values())
    assert "train" in roles.values()
    if len(by_subject) > 2 or (len(by_subject) > 1 and not config.test):
        assert "validation" in roles.values()


def test_splits_of_the_table_stand() -> None:
    every = cases("a", "b", "c", "d")
    every[1] = replace(every[1], split="validation")
    every[2] = replace(every[2], split="unseen")
    roles = assign_splits(every, default_config().split)
    assert [roles[case] for case in every] == ["train", "validation", "unseen", "train"]
    every.append(replace(every[2], name="4", split="train"))
    with pytest.raises(InputError, match="subject c: found test and train"):
        assign_splits(every, default_config().split)


def load_slices(dataset: Dataset, config: ConfigDict) -> dict[str, Slices]:
    splits = assign_splits(dataset.cases, config.split)
    return result_of(load_slices_steps([dataset], config, splits))


def test_only_annotated_slices_train(folder: Path) -> None:
    dataset, config = read_dataset(folder), default_config()
    config.task = "leg"
    slices = load_slices(dataset, config)
    assert {name: len(part) for name, part in slices.items()} == {"train": 6, "validation": 3}
    subjects = [{o.case.subject for o in part.origins} for part in slices.values()]
    assert not subjects[0] & subjects[1]
    assert {o.index for o in slices["train"].origins} == {0, 1, 2}
    config.data.min_muscles = 7
    with pytest.raises(InputError, match="train split: found no annotated slice"):
        make_samplers(load_slices(dataset, config), config)


def test_one_subject_leaves_nobody_to_validate_on(tmp_path: Path) -> None:
    dataset, config = read_dataset(limbs.write_dataset(tmp_path, subjects=1)), default_config()
    config.task = "leg"
    slices = load_slices(dataset, config)
    with pytest.raises(InputError, match="validation split: found no annotated slice"):
        make_samplers(slices, config)


@pytest.mark.parametrize("number", [0, 13, 30, 47])
def test_slices_are_the_same_in_every_orientation(folder: Path, number: int) -> None:
    """Left is left: a reoriented file gives the same slices, labels and limbs."""
    config = default_config()
    config.task = "leg"
    dataset = read_dataset(folder)
    case = dataset.cases[0]
    plain = case_slices(case, dataset, config)
    for path in (case.image, case.labels):
        nib.save(nib.load(path).as_reoriented(ORIENTATIONS[number]), path)
    turned = case_slices(case, dataset, config)
    np.testing.assert_array_equal(turned.images, plain.images)
    np.testing.assert_array_equal(turned.labels, plain.labels)
    for a, b in zip(turned.limbs, plain.limbs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert turned.origins == plain.origins


def test_limbs_are_found(folder: Path) -> None:
    """Boxes hold the limbs' muscles, the line lies between; the patient's right comes first."""
    config = default_config()
    config.data.crop_px = (240, 336)
    dataset = read_dataset(folder)
    part = case_slices(dataset.cases[0], dataset, config)
    for labels, split, boxes, origin in zip(part.labels, *part.limbs, strict=True):
        rows, columns = np.nonzero(labels)
        right = columns < split
        for side, own in enumerate((right, ~right)):
            first_row, last_row, first_column, last_column = boxes[side]
            assert own.sum() > 2000
            assert (first_row <= rows[own].min()) & (rows[own].max() <= last_row)
            assert (first_column <= columns[own].min()) & (columns[own].max() <= last_column)
        row, column = origin
        assert (row <= rows.min()) & (rows.max() < row + 240)
        assert (column <= columns.min()) & (columns.max() < column + 336)


def test_labels_follow_the_image_to_the_model_grid(thigh_path: Path, tmp_path: Path) -> None:
    """A real scan labeled by its own brightness: the labels lie on what is bright."""
    volume = load(thigh_path)
    bright = volume.data > np.percentile(volume.data, 80)
    for name, data in (("imagesTr/a_0000", volume.data), ("labelsTr/a", bright.astype(np.uint8))):
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(data, volume.affine), path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "VL": 1}}))
    config, dataset = default_config(), read_dataset(tmp_path)
    part = case_slices(dataset.cases[0], dataset, config)
    inside, outside = part.images[part.labels == 1], part.images[part.labels == 0]
    assert np.percentile(inside, 5) > np.percentile(outside, 75)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), area=st.integers(1, 8))
def test_specks_go_by_area_opening_then_closing(seed: int, area: int) -> None:
    """For one label: scikit-image's two filters. Source: paper, "Preprocessing"."""
    rng = np.random.default_rng(seed)
    mask = np.pad(rng.random((30, 40)) < 0.6, 3)
    opened = area_opening(mask, area, connectivity=1)
    expected = area_closing(opened, area, connectivity=1)
    found = remove_specks(5 * mask.astype(np.uint8), area) == 5
    np.testing.assert_array_equal(found, expected)


def test_removing_specks_leaves_neighbors_and_the_unknown_alone() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[2:12, 2:12] = 1
    labels[5, 5] = 0  # a pinhole: filled
    labels[8, 8] = IGNORE  # unknown: stays
    labels[3, 3] = 2  # a speck of another muscle: becomes the muscle around it
    labels[15:18, 15:18] = 3
    filtered = remove_specks(labels, 4)
    assert filtered[5, 5] == 1
    assert filtered[3, 3] == 1
    assert filtered[8, 8] == IGNORE
    assert (filtered[15:18, 15:18] == 3).all()
