"""`musclejax dataset make`: corrected label maps of a cohort become a dataset."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from musclejax.data.corrections import Choice, Chosen, choose_slices, read_choice
from musclejax.data.dataset import IGNORE, content_of, read_case, read_dataset
from musclejax.errors import InputError
from musclejax.files import file_sha256
from musclejax.prediction.dixon import synthesize
from musclejax.scan.catalog import list_series
from musclejax.scan.nifti import load_nifti
from musclejax.scan.source import read_source
from tests import limbs
from tests.test_cli import call

SLICES = 4


class Cohort:
    """The -o of `segment`, as far as `dataset make` reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scans = folder / "out", folder / "scans"
        self.folder.mkdir()
        self.scans.mkdir()

    def add(self, name: str, region: str = "leg", seed: int = 0, **entries: Any) -> None:
        image, labels = limbs.volume(region, seed, SLICES, 0.2)
        affine = np.diag([-8.0, 0, 8, 1])[[0, 2, 1, 3]]  # slices run along the second axis
        affine[1] = [0, 0, -8, 0]
        affine[2] = [0, 8, 0, 0]
        scan = self.scans / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(image.swapaxes(1, 2), affine), scan)
        for kind in ("labels", "labels_original"):
            nib.save(nib.Nifti1Image(labels.swapaxes(1, 2), affine), self.path(name, kind))
        record = {
            "scan": name,
            "region": region,
            "source": str(scan),
            "source_files": read_source(scan)._asdict(),
            "files": {f"{name}_labels.nii.gz": file_sha256(self.path(name))},
            **entries,
        }
        (self.folder / f"{name}_run.json").write_text(json.dumps(record))

    def path(self, name: str, kind: str = "labels") -> Path:
        return self.folder / f"{name}_{kind}.nii.gz"

    def edit(self, name: str, z: int, value: int = 2, kind: str = "labels") -> None:
        """Paint in a slice as ITK-SNAP saves it: in another type, its axes turned."""
        image = nib.as_closest_canonical(nib.load(self.path(name)))
        data = np.asarray(image.dataobj).astype(np.int16)
        data[2:5, 2:5, z] = value
        nib.save(nib.Nifti1Image(data, image.affine), self.path(name, kind))

    def review(self, *rows: str) -> None:
        (self.folder / "review.csv").write_text("\n".join(("scan,slice,mark,comment", *rows)))


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    cohort = Cohort(tmp_path)
    cohort.add("p1_v1", subject="p1", visit="v1")
    cohort.add("p2", seed=1)
    cohort.add("p3", seed=2)
    return cohort


def labeled(data: Path) -> dict[str, list[int]]:
    """Return the slices of each case that are not all "ignore", in the order of the file."""
    dataset, found = read_dataset(data), {}
    for case in dataset.cases:
        labels = read_case(case, dataset)[1]
        found[case.name] = [z for z in range(SLICES) if not (labels[:, z] == IGNORE).all()]
        assert all((labels[:, z] != IGNORE).all() for z in found[case.name])
    return found


def test_slices_that_a_person_vouches_for_train(cohort: Cohort, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cohort.edit("p1_v1", 0)
    cohort.edit("p1_v1", 2)
    cohort.edit("p1_v1", 3)
    cohort.review("p1_v1,3,unusable,", "p1_v1,1,to correct,", "p2,,right,", "p2,0,to correct,")
    made = call("dataset", "make", cohort.folder, "-o", data)
    assert made.exit_code == 0, made.stderr
    assert "2 scans of 2 subjects, 2 slices changed, 3 confirmed or named" in made.stdout
    assert labeled(data) == {"p1_v1": [0, 2], "p2": [1, 2, 3]}
    index = json.loads((data / "dataset.json").read_text())
    assert (index["name"], index["numTraining"], index["labels"]["ignore"]) == ("data", 2, 7)
    table = (data / "cases.csv").read_text().splitlines()
    assert table[1:] == ["p1_v1,p1,v1,leg,,", "p2,p2,,leg,,"]
    checked = call("dataset", "check", data)
    assert (checked.exit_code, "fit for training" in checked.stdout) == (0, True)
    # Voxels and labels are those of the cohort.
    scan, image = (load_nifti(p) for p in (cohort.scans / "p2.nii.gz", next(data.glob("*/p2_*"))))
    assert content_of(scan) == content_of(image)
    np.testing.assert_array_equal(scan.affine, image.affine)
    stored = load_nifti(data / "labelsTr/p2.nii.gz").data[:, 1]
    np.testing.assert_array_equal(stored, load_nifti(cohort.path("p2")).data[:, 1])


def test_it_is_repeated_as_scans_are_corrected(cohort: Cohort, tmp_path: Path) -> None:
    data, make = tmp_path / "data", ("dataset", "make", cohort.folder, "-o", tmp_path / "data")
    none = call(*make)
    assert (none.exit_code, "none of 3 scans with a slice" in none.stderr) == (1, True)
    cohort.edit("p1_v1", 0)
    one = call(*make)
    assert "one subject only" in one.stderr
    before = {path: path.read_bytes() for path in data.rglob("*.*")}
    assert call(*make).exit_code == 0
    assert {path: path.read_bytes() for path in data.rglob("*.*")} == before
    table = data / "cases.csv"
    table.write_text(table.read_text().replace("leg,,", "leg,mild,validation"))
    cohort.edit("p2", 1)
    (data / "corrections.json").write_text("")  # killed before it was written
    refused = call(*make)
    assert "a dataset without corrections.json" in refused.stderr
    (data / "corrections.json").write_bytes(before[data / "corrections.json"])
    assert call(*make).exit_code == 0
    assert table.read_text().splitlines()[1:] == ["p1_v1,p1,v1,leg,mild,validation", "p2,p2,,leg,,"]
    # A case that is chosen no more goes; an edited file stays.
    cohort.review("p1_v1,,unusable,")
    assert call(*make).exit_code == 0
    assert labeled(data) == {"p2": [1]}
    (data / "labelsTr/p2.nii.gz").write_bytes(cohort.path("p3").read_bytes())
    cohort.edit("p2", 2)
    edited = call(*make)
    assert edited.exit_code == 1
    assert "did not write, or that was edited since" in edited.stderr
    assert (data / "labelsTr/p2.nii.gz").read_bytes() == cohort.path("p3").read_bytes()


def test_one_volume_of_a_file_is_found_again(cohort: Cohort, tmp_path: Path) -> None:
    scan = cohort.scans / "p2.nii.gz"
    image = nib.load(scan)
    echoes = np.stack([np.asarray(image.dataobj) + n for n in range(2)], 3)
    nib.save(nib.Nifti1Image(echoes, image.affine), scan)
    second = list_series(scan).series[1]
    record = cohort.folder / "p2_run.json"
    about = {**json.loads(record.read_text()), "source_files": read_source(scan, second)._asdict()}
    record.write_text(json.dumps(about))
    cohort.edit("p2", 1)
    assert call("dataset", "make", cohort.folder, "-o", tmp_path / "data").exit_code == 0
    made = load_nifti(tmp_path / "data/imagesTr/p2_0000.nii.gz").data
    np.testing.assert_array_equal(made, echoes[..., 1])


def test_a_cohort_of_both_regions_becomes_two_datasets(cohort: Cohort, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cohort.add("thigh", "thigh")
    for kind in ("labels_original", "labels"):  # with a value for each side
        image = nib.load(cohort.path("p2", kind))
        sides = np.asarray(image.dataobj) + 100 * (np.asarray(image.dataobj) > 0)
        nib.save(nib.Nifti1Image(sides.astype(np.uint8), image.affine), cohort.path("p2", kind))
    cohort.edit("p2", 1, 103)
    made = call("dataset", "make", cohort.folder, "-o", data, "--slices", "thigh=1-2")
    assert made.exit_code == 0, made.stderr
    assert labeled(data / "thigh") == {"thigh": [1, 2]}
    assert not (data / "leg").exists()
    named = ("--slices", "thigh=1-2", "--slices", "changed")
    assert call("dataset", "make", cohort.folder, "-o", data, *named).exit_code == 0
    assert labeled(data / "leg") == {"p2": [1]}
    assert json.loads((data / "leg/dataset.json").read_text())["name"] == "data leg"


def test_scans_that_cannot_be_used_are_told(cohort: Cohort, tmp_path: Path) -> None:
    for name, z, value in (("p1_v1", 0, 2), ("p2", 0, 2), ("p3", 1, 9)):
        cohort.edit(name, z, value)
    (cohort.scans / "p2.nii.gz").unlink()
    cohort.add("p5", seed=5)
    cohort.edit("p5", 1)
    (cohort.scans / "p5.nii.gz").write_bytes((cohort.scans / "p3.nii.gz").read_bytes())
    cohort.add("p4", seed=4)
    cohort.path("p4", "labels_original").unlink()
    cohort.edit("p4", 1)
    made = call("dataset", "make", cohort.folder, "-o", tmp_path / "data")
    assert made.exit_code == 1
    lines = [line for line in made.stderr.splitlines() if not line.startswith("warning")]
    assert ["no such scan" in lines[0], "p2.nii.gz" in lines[0]] == [True, True]
    assert "label values 9" in lines[1]
    assert "--slices p4=3-8,12" in lines[2]
    assert "found another scan" in lines[3]
    assert len(lines) == 4
    assert labeled(tmp_path / "data") == {"p1_v1": [0]}


def test_scans_that_have_moved_and_volumes_of_a_file_are_found(
    cohort: Cohort, tmp_path: Path
) -> None:
    """The second of two volumes, by a record of another working folder, after all have moved."""
    image = nib.load(cohort.scans / "p2.nii.gz")
    second = np.asarray(image.dataobj).copy()
    both = np.stack([second * 2, second], axis=3)
    (cohort.scans / "p2.nii.gz").unlink()
    echoes = cohort.scans / "echoes.nii.gz"
    nib.save(nib.Nifti1Image(both, image.affine), echoes)
    record = json.loads((cohort.folder / "p2_run.json").read_text())
    source = read_source(echoes, list_series(echoes).series[1])._asdict()
    (cohort.folder / "p2_run.json").write_text(
        json.dumps({**record, "source": echoes.name, "source_files": source})
    )
    for name in ("p1_v1", "p2"):
        cohort.edit(name, 1)
    make = "dataset", "make", cohort.folder, "-o", tmp_path / "data"
    assert call(*make).exit_code == 0
    stored = load_nifti(tmp_path / "data/imagesTr/p2_0000.nii.gz").data
    np.testing.assert_array_equal(stored, second)
    cohort.scans.rename(tmp_path / "moved")
    gone = call(*make)
    assert (gone.exit_code, gone.stderr.count("If it has moved")) == (1, 2)
    found = call(*make, "--scan", tmp_path / "moved")
    assert found.exit_code == 0, found.stderr


def test_a_dixon_scan_trains_as_the_network_saw_it(cohort: Cohort, tmp_path: Path) -> None:
    """Source: ours; the water image went into the dataset, and `segment` never shows it alone."""
    water, fat = cohort.scans / "p2.nii.gz", cohort.scans / "p2_fat.nii.gz"
    image = nib.load(water)
    other = np.flip(np.asarray(image.dataobj), 0)
    nib.save(nib.Nifti1Image(other, image.affine), fat)
    path = cohort.folder / "p2_run.json"
    about = {"water": "/gone/p2.nii.gz", "fat": "/gone/p2_fat.nii.gz", "synthesized": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), "fat_fraction": about}))
    cohort.edit("p2", 1)
    make = ("dataset", "make", cohort.folder, "-o", tmp_path / "data")
    made = call(*make)
    assert "1 scan of 1 subject, 1 slice changed" in made.stdout
    stored = load_nifti(tmp_path / "data/imagesTr/p2_0000.nii.gz").data
    expected = synthesize(load_nifti(water), load_nifti(fat)).data
    np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-3 * expected.max())
    fat.unlink()
    gone = call(*make)
    assert (gone.exit_code, "its water and fat image" in gone.stderr) == (1, True)


def test_records_and_reviews_that_are_wrong_are_told(cohort: Cohort, tmp_path: Path) -> None:
    make = ("dataset", "make", cohort.folder, "-o", tmp_path / "data")
    cohort.add("p4", seed=3, settings="edited", source_files=3)
    cohort.add("p5", seed=4, slices=SLICES)
    for name in ("p2", "p4"):
        cohort.edit(name, 1)
    (cohort.folder / "p3_run.json").write_text("{")
    cohort.review("p5,4,right,", "p9,,right,")
    made = call(*make)
    assert made.exit_code == 1
    for text in ("p4: ", "p3_run.json is damaged", "p5 has no slice 4", "no results of 'p9'"):
        assert text in made.stderr
    assert labeled(tmp_path / "data") == {"p2": [1]}
    cohort.review("p2,1,Right,")
    assert "mark 'Right'; accepted: right" in call(*make).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chnged", "Did you mean changed"),
        ("p1_v1=8-3", "the lowest first"),
        ("p1_v1=x", "NAME=3-8,12"),
        ("p9=1", "found no scan p9"),
    ],
)
def test_slices_that_cannot_be(cohort: Cohort, tmp_path: Path, text: str, message: str) -> None:
    made = call("dataset", "make", cohort.folder, "-o", tmp_path / "data", "--slices", text)
    assert (made.exit_code, message in made.stderr) == (2, True), made.stderr


@pytest.mark.parametrize(
    ("texts", "marks", "expected"),
    [
        ((), {None: "right", 1: "unusable"}, Chosen((2,), (0, 3))),
        (("changed",), {0: "right"}, Chosen((1, 2), ())),
        (("reviewed",), {0: "right", 1: "right"}, Chosen((), (0, 1))),
        (("all",), {3: "unusable"}, Chosen((1, 2), (0,))),
        (("a=0,3", "b=9"), {0: "unusable"}, Chosen((), (0, 3))),
    ],
)
def test_choice_of_slices(texts: tuple[str, ...], marks: dict, expected: Chosen) -> None:
    assert choose_slices(read_choice(texts), "a", 4, (1, 2), marks) == expected


def test_choice_of_a_slice_that_is_not_there() -> None:
    choice = Choice(frozenset(), {"a": frozenset({4})})
    with pytest.raises(InputError, match="slice 4 of a; accepted: 0 to 3"):
        choose_slices(choice, "a", 4, (), {})
