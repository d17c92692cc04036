"""Fat-fraction maps: their unit, their place, what is measured in them, and those that are refused.

Origins: ours; the figures behind the bounds come from IDEAL fat and water images of two patients
(huashan_thigh, Apache-2.0): interquartile range over median of the fat around the muscles 0.08 to
0.18 in fractions, 0.30 to 0.38 in images.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from pydicom.dataset import Dataset

from musclejax.anatomy import GROUPS, REGIONS
from musclejax.app.fat_map import check_maps, measure_fat
from musclejax.app.process import BadUsage
from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import (
    UNITS,
    load_fat_fraction,
    place_of,
    to_fractions,
)
from musclejax.prediction.fat_maps import find_scan_map
from musclejax.prediction.maps import read_map
from musclejax.prediction.measurement import measure_muscles, measure_slices
from musclejax.prediction.result import Segmentation
from musclejax.samples import SAMPLES
from musclejax.scan.sides import Sides
from musclejax.scan.study import load
from musclejax.scan.volume import Volume
from tests.test_cli import call
from tests.test_dicom import series_images, write
from tests.test_measurement import turned

SHAPE, MM = (80, 48, 6), (5.0, 5.0, 8.0)
AFFINE = np.array([[-5.0, 0, 0, 200], [0, -5, 0, 100], [0, 0, 8, -300], [0, 0, 0, 1]])
MUSCLE, FAT = 0.08, 0.9


class Thighs(NamedTuple):
    """Two limbs with known fat, as scan and as water and fat images shaded by coils.

    Attributes:
        result: The segmented scan.
        body: The limbs.
        fraction: Fat fraction; noise of 0.02 in the body, wild in air.
        fat_image: Signal of fat.
    """

    result: Segmentation
    body: np.ndarray
    fraction: np.ndarray
    fat_image: np.ndarray


@cache
def thighs() -> Thighs:
    rng = np.random.default_rng(2021)
    x, y, _z = np.indices(SHAPE)
    radius = np.minimum(np.hypot(x - 20, y - 24), np.hypot(x - 60, y - 24))
    body, muscle = radius < 16, (radius < 12) & (radius > 3)
    labels = np.where(muscle, 1 + (y > 24), 0).astype(np.uint8)
    sides = (1 + (x < 40)).astype(np.uint8)
    pure = np.where(muscle, MUSCLE, FAT) + 0.02 * rng.normal(size=SHAPE)
    # A quotient of two noises: any value.
    air = rng.normal(size=SHAPE) / rng.normal(size=SHAPE)
    shading = np.exp(-np.hypot(x - 5, y - 5) / 30)  # one coil at a corner
    volume = Volume(np.where(body, 100 + 10 * pure, 0).astype(np.float32), AFFINE, "t")
    result = Segmentation(
        volume=volume, labels=labels, confidence=labels, sides=Sides(sides, "gap"),
        covered=np.ones(SHAPE, bool), region="thigh", region_probability=None, weights="none",
        trained=True,
    )  # fmt: skip
    return Thighs(result, body, np.where(body, pure, air), np.where(body, pure * shading, 0))


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    return path


class Row(NamedTuple):
    """A map, and the unit that is found or the reason that is given.

    Attributes:
        change: Makes the map.
        unit: That of the map; "" if it is refused.
        words: Part of the warning, or of the reason; "" if nothing is said.
        coverage: Known share of the muscle.
    """

    change: Callable[[Thighs], np.ndarray]
    unit: str
    words: str = ""
    coverage: float = 1.0


def blocks(t: Thighs) -> np.ndarray:
    """The left limb masked by 0."""
    return np.where(t.body & (np.indices(SHAPE)[0] < 40), t.fraction, 0)


ROWS = {
    "fraction, wild air": Row(lambda t: t.fraction, "fraction"),  # was 100 times too small
    "percent, wild air": Row(lambda t: 100 * t.fraction, "percent"),
    "per mille, wild air": Row(lambda t: 1000 * t.fraction, "per mille"),
    "percent as integers": Row(
        lambda t: np.round(100 * np.clip(t.fraction, 0, 1)), "percent"
    ),
    "air masked by 0": Row(lambda t: np.where(t.body, t.fraction, 0), "fraction"),
    "air masked by NaN": Row(lambda t: np.where(t.body, 100 * t.fraction, np.nan), "percent"),
    "muscle only, by NaN": Row(
        lambda t: np.where(t.result.labels > 0, t.fraction, np.nan), "fraction"
    ),
    "muscle only, by 0": Row(lambda t: np.where(t.result.labels > 0, t.fraction, 0), "fraction"),
    "one limb, by 0": Row(blocks, "fraction", "covers 50% of the labeled muscle", 0.5),
    "half of the slices": Row(
        lambda t: np.where(np.arange(6) < 3, t.fraction, np.nan), "fraction", "covers 50%", 0.5
    ),
    "all fat replaced": Row(lambda t: np.where(t.body, FAT, t.fraction), "fraction"),
    "no fat anywhere": Row(lambda t: np.full(SHAPE, 0.1), "fraction", "no fat around"),
    "fat image over its maximum": Row(lambda t: t.fat_image / t.fat_image.max(), "", "uneven fat"),
    "fat image over its 99th percentile": Row(
        lambda t: t.fat_image / np.percentile(t.fat_image, 99), "", "uneven fat"
    ),
    "fat image up to 100": Row(lambda t: t.fat_image * 100 / t.fat_image.max(), "", "uneven fat"),
    "fat image up to 1000": Row(lambda t: t.fat_image * 1000 / t.fat_image.max(), "", "uneven"),
    "fat image up to 4095": Row(lambda t: t.fat_image * 4095 / t.fat_image.max(), "", "values"),
    "10 000": Row(lambda t: 10000 * t.fraction, "", "in and around the muscles"),
    "neither fraction nor percent": Row(lambda t: 2 * t.fraction, "", "in and around the muscles"),
    "per mille in muscle only": Row(
        lambda t: np.where(t.result.labels > 0, 1000 * t.fraction + 100, np.nan), "", "no fat"
    ),
    "negative": Row(lambda t: -100 * t.fraction, "", "in and around the muscles"),
    "only NaN": Row(lambda t: np.full(SHAPE, np.nan), "", "no value on the scan"),
    "only 0": Row(lambda t: np.zeros(SHAPE), "", "no value on the scan"),
    "unknown in muscle": Row(
        lambda t: np.where(t.result.labels > 0, np.nan, t.fraction), "", "none of the labeled"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_units(name: str, tmp_path: Path) -> None:
    row, t = ROWS[name], thighs()
    path = save(tmp_path / "f.nii.gz", row.change(t))
    if not row.unit:
        with pytest.raises(InputError, match=row.words):
            load_fat_fraction(path, t.result)
        return
    found = to_fractions(read_map(path, t.result.volume), place_of(t.result))
    assert found.unit == row.unit
    assert found.coverage == pytest.approx(row.coverage, abs=0.01)
    assert len(found.warnings) == bool(row.words), found.warnings
    assert row.words in "".join(found.warnings)
    known = (t.result.labels > 0) & np.isfinite(found.values)
    # From the file by hand: in the unit's steps, and half a percent for integers.
    expected = np.asarray(nib.load(path).dataobj)[known] / UNITS[row.unit]
    np.testing.assert_allclose(found.values[known], expected, atol=1e-6)


def test_fat_in_muscle_without_a_label_is_no_shading(tmp_path: Path) -> None:
    """Deep muscles of a sick leg, 50 to 65 % fat: the map was refused as an image."""
    t, (x, y, _z) = thighs(), np.indices(SHAPE)
    radius = np.minimum(np.hypot(x - 20, y - 24), np.hypot(x - 60, y - 24))
    deep = np.random.default_rng(9).uniform(0.5, 0.65, SHAPE)
    path = save(tmp_path / "f.nii.gz", np.where(radius < 8, deep, t.fraction))
    place = place_of(t.result)._replace(muscle=(t.result.labels > 0) & (radius >= 8))
    found = to_fractions(read_map(path, t.result.volume), place)
    assert (found.unit, found.warnings) == ("fraction", ())


def moved(*mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += mm
    return affine


@pytest.mark.parametrize(
    ("air", "affine", "words"),
    [
        ("wild", moved(0, 0, 500), "does not overlap"),
        ("wild", moved(5000, 0, 0), "does not overlap"),
        ("wild", moved(0, -150, 0), "of the muscle in the slices"),  # was accepted, 57 % NaN
        ("wild", moved(40, 40, 0), "in and around the muscles"),  # muscle where the map has air
        ("NaN", moved(60, 60, 0), "of the body in the slices"),
        ("wild", moved(0, 0, 24), "covers 50%"),  # a slab of the scan
        ("NaN", moved(0, 0, 24), "covers 50%"),
        ("NaN", moved(190, 0, 0), "covers 50%"),  # the map shows one limb
        ("wild", moved(0.01, -0.01, 0.01), ""),  # rounded on the way
    ],
)
def test_places(air: str, affine: np.ndarray, words: str, tmp_path: Path) -> None:
    t = thighs()
    fraction = np.where(t.body | (air == "wild"), t.fraction, np.nan)
    path = save(tmp_path / "f.nii.gz", fraction, affine)
    try:
        said = "".join(to_fractions(read_map(path, t.result.volume), place_of(t.result)).warnings)
    except InputError as error:
        said = str(error)
    assert words in said
    assert bool(words) == bool(said)


def test_interpolation_is_that_of_nibabel(tmp_path: Path) -> None:
    """Away from the rim, where nibabel's is NaN and ours is the nearest voxel's value."""
    t = thighs()
    smooth = np.sin(np.indices((90, 60, 14)).sum(0) / 9) / 4 + 0.5
    turn = nib.affines.from_matvec(np.diag([-4.2, -4.6, 4.0]), [190, 110, -302])
    turn[:3, :3] = turn[:3, :3] @ np.array([[1, 0.05, 0], [-0.05, 1, 0], [0, 0, 1]])
    path = save(tmp_path / "f.nii.gz", smooth, turn)
    ours = read_map(path, t.result.volume)
    theirs = resample_from_to(nib.load(path), (SHAPE, AFFINE), order=1, cval=np.nan).get_fdata()
    both = np.isfinite(theirs)
    assert both.mean() > 0.5
    np.testing.assert_allclose(ours.values[both], theirs[both], atol=1e-5)
    assert np.isfinite(ours.values).sum() > both.sum()
    np.testing.assert_array_equal(np.isfinite(ours.values), ours.inside)


def test_a_map_rounded_by_a_hair_keeps_its_outer_slices(tmp_path: Path) -> None:
    """Ours: interpolation beyond the first voxel's center gave NaN for whole slices."""
    t = thighs()
    affine = AFFINE @ np.diag([1.0005, 1.0005, 0.9995, 1])
    values = load_fat_fraction(save(tmp_path / "f.nii.gz", t.fraction, affine), t.result)
    assert np.isfinite(values[t.result.labels > 0]).all()


@pytest.mark.parametrize("orientation", [[[0, 1], [1, 1], [2, 1]], [[2, -1], [0, 1], [1, -1]]])
def test_statistics_by_plain_numpy(orientation: list) -> None:
    t, rng = thighs(), np.random.default_rng(3)
    fat = t.fraction.astype(np.float32)
    fat[rng.random(SHAPE) < 0.2] = np.nan
    other = turned(t.result, np.array(orientation))
    fat_there = nib.apply_orientation(fat, np.array(orientation))
    other = replace(other, region="thigh")
    muscles, slices = measure_muscles(other, fat_there), measure_slices(other, fat_there)
    labels, sides, axis = other.labels, other.sides.voxels, other.volume.axial_axis
    height = np.indices(labels.shape)[axis]
    numbers = {m.abbreviation: [m.number] for m in REGIONS["thigh"].muscles}
    for group in GROUPS["thigh"]:
        numbers[group.name] = [n for name in group.muscles for n in numbers[name]]
    for table in (muscles, slices):
        for row in table.itertuples():
            where = np.isin(labels, numbers[row.muscle]) & (sides == 1 + (row.side == "right"))
            if table is slices:
                where &= height == row.slice
            values = fat_there[where & np.isfinite(fat_there)].astype(np.float64)
            assert row.fat_fraction_voxels == values.size
            if not where.any():
                assert np.isnan([row.fat_fraction_sd, row.fat_fraction_coverage]).all()
                continue
            assert row.fat_fraction_coverage == pytest.approx(values.size / where.sum())
            assert row.fat_fraction_median == np.median(values)
            assert row.fat_fraction_sd == pytest.approx(np.std(values), abs=1e-12)
            assert row.fat_fraction == pytest.approx(np.mean(values), abs=1e-9)
    assert list(slices.kind) == ["muscle", "muscle", "group"] * 6 * 2


def test_without_a_map_the_columns_are_empty() -> None:
    table = measure_muscles(thighs().result)
    columns = [c for c in table if c.startswith("fat_fraction")]
    assert columns == [
        "fat_fraction", "fat_fraction_eroded", "fat_fraction_sd", "fat_fraction_median",
        "fat_fraction_voxels", "fat_fraction_coverage",
    ]  # fmt: skip
    assert table[columns].isna().all(axis=None)
    with pytest.raises(InputError, match="the scan's shape"):
        measure_muscles(thighs().result, np.zeros((2, 2, 2), np.float32))


def dicom(folder: Path, **changes: str) -> Path:
    """Percent in steps of a tenth, as a scanner writes it."""
    stored = np.clip(np.round(1000 * thighs().fraction), -3000, 3000).astype(np.int16)
    images: list[Dataset] = series_images(stored, AFFINE, "fat fraction")
    for image in images:
        image.RescaleSlope, image.RescaleIntercept = "0.1", "0"
        for keyword, value in changes.items():
            setattr(image, keyword, value)
    return write(folder, images)


def test_dicom_maps(tmp_path: Path) -> None:
    t = thighs()
    series = series_images((100 * t.body).astype(np.int16), AFFINE)
    scan = load(write(tmp_path / "scan", series))
    result = replace(t.result, volume=scan)
    found = to_fractions(read_map(dicom(tmp_path / "ff"), scan), place_of(result))
    assert (found.unit, found.warnings) == ("percent", ())
    muscle = t.result.labels > 0
    np.testing.assert_allclose(found.values[muscle], t.fraction[muscle], atol=6e-4)
    with pytest.raises(InputError, match="another patient"):
        read_map(dicom(tmp_path / "other", PatientID="P8"), scan)
    other = read_map(dicom(tmp_path / "frame", FrameOfReferenceUID="1.2.3"), scan)
    assert "another frame of reference" in other.warnings[0]


def test_folders_of_maps(tmp_path: Path) -> None:
    t, maps = thighs(), tmp_path / "maps"
    maps.mkdir()
    with pytest.raises(BadUsage, match="without scans"):
        check_maps(maps, 1)
    save(maps / "a.nii.gz", t.fraction)
    save(maps / "twice.nii", t.fraction)
    save(maps / "twice.nii.gz", t.fraction)
    save(maps / "bad.nii", 10000 * t.fraction)
    dicom(maps / "c")
    (maps / "broken.nii.gz").write_bytes(b"none")
    check_maps(maps, 9)
    said = {}
    for name in ("a", "bad", "c", "broken", "none", "twice"):
        result, fat = measure_fat(t.result, find_scan_map(maps, [name], t.result.volume))
        said[name] = fat.record["unit"] if fat.record else result.warnings[-1]
    assert (said["a"], said["c"]) == ("fraction", "percent")
    refused = {
        "bad": "values from",
        "broken": "readable",
        "none": "no map",
        "twice": "twice.nii and",
    }
    for name, words in refused.items():
        assert said[name].startswith("no fat fraction is measured: ")
        assert words in said[name]
    with pytest.raises(InputError, match="values from"):  # the only map: the scan fails
        measure_fat(t.result, find_scan_map(maps / "bad.nii", ["a"], t.result.volume))
    for single in (maps / "a.nii.gz", maps / "c"):
        with pytest.raises(BadUsage, match="one file for 2 scans"):
            check_maps(single, 2)


def test_the_command_goes_on_without_a_map(tmp_path: Path, weights_folder: Path) -> None:
    """Also that warnings about intensities reach the terminal and the record."""
    scan = load(SAMPLES["test_up"])
    maps, scans, out = (tmp_path / name for name in ("maps", "scans", "out"))
    maps.mkdir()
    scans.mkdir()
    save(scans / "a.nii.gz", scan.data[..., 12:13] - 1000, scan.affine)
    save(maps / "b.nii.gz", scan.data[..., 12:13], scan.affine)
    arguments = ("--weights", weights_folder, "--region", "thigh", "--batch-size", 2)
    result = call("segment", scans, "-o", out, "--fat-fraction", maps, *arguments)
    assert result.exit_code == 0, result.output
    words = ("no fat fraction is measured", "air has intensity -1000, not 0: it was subtracted")
    record = json.loads((out / "a_run.json").read_text())
    for text in words:
        assert text in result.stderr
        assert text in " ".join(record["warnings"])
    (maps / "b.nii.gz").write_bytes(b"none")
    result = call(
        "segment", scans, "-o", tmp_path / "two", "--fat-fraction", maps / "b.nii.gz", *arguments
    )
    assert result.exit_code == 1
    assert "failed: " in result.stderr
    assert not (tmp_path / "two" / "a_labels.nii.gz").exists()
