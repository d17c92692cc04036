"""Measurements of label maps whose sizes are known."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import load_fat_fraction
from musclejax.prediction.measurement import (
    MUSCLE_COLUMNS,
    SLICE_COLUMNS,
    measure_muscles,
    measure_slices,
)
from musclejax.prediction.result import Levels, Segmentation
from musclejax.scan.sides import Sides
from musclejax.scan.volume import Volume
from tests.test_grid import ORIENTATIONS, reoriented

AFFINE = np.array([[2.0, 0, 0, -50], [0, 1.5, 0, 10], [0, 0, 10, 100], [0, 0, 0, 1]])


def example() -> Segmentation:
    """Soleus on both sides in a leg: 10 x 8 pixels on the left, 6 x 6 on the right."""
    labels = np.zeros((50, 40, 6), np.uint8)
    labels[5:15, 10:18, 1:4] = 1
    labels[30:36, 10:16, 0:2] = 1
    labels[32, 12, 1] = 2  # one pixel of another muscle inside
    sides = np.where(np.arange(50)[:, None, None] < 25, 1, 2) * np.ones(labels.shape)
    confidence = np.full(labels.shape, 204, np.uint8)
    return Segmentation(
        volume=Volume(labels.astype(np.float32) + 1, AFFINE, "case"),
        labels=labels,
        confidence=confidence,
        sides=Sides(sides.astype(np.uint8), "gap"),
        covered=np.ones(labels.shape, bool),
        region="leg",
        region_probability=None,
        weights="none",
        trained=True,
    )


def turned(segmentation: Segmentation, orientation: np.ndarray) -> Segmentation:
    def turn(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(nib.apply_orientation(array, orientation))

    return Segmentation(
        volume=reoriented(segmentation.volume, orientation),
        labels=turn(segmentation.labels),
        confidence=turn(segmentation.confidence),
        sides=Sides(turn(segmentation.sides.voxels), "gap"),
        covered=turn(segmentation.covered),
        region="leg",
        region_probability=None,
        weights="none",
        trained=True,
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_volumes_and_areas_in_any_orientation(orientation: np.ndarray) -> None:
    table = measure_muscles(turned(example(), orientation)).set_index(["muscle", "side"])
    left, right = table.loc[("SOL", "left")], table.loc[("SOL", "right")]
    assert (left.voxels, left.slices, left.truncated) == (240, 3, False)
    assert left.volume_ml == pytest.approx(240 * 2 * 1.5 * 10 / 1000)
    assert left.mean_area_cm2 == pytest.approx(80 * 2 * 1.5 / 100)
    assert (right.voxels, right.slices, right.truncated) == (71, 2, True)
    assert right.max_area_cm2 == pytest.approx(36 * 2 * 1.5 / 100)
    assert right.mean_area_cm2 == pytest.approx(35.5 * 2 * 1.5 / 100)
    assert table.loc[("GM", "right")].voxels == 1


def test_every_muscle_and_side_has_a_row() -> None:
    table = measure_muscles(example())
    assert list(table.columns) == MUSCLE_COLUMNS
    assert len(table) == 2 * 6
    absent = table[table.muscle == "TA"]
    assert (absent.volume_ml == 0).all()
    assert absent.estimated_dsc.isna().all()
    assert not absent.flag.any()
    assert not absent.truncated.any()


def test_slices_are_tidy_and_add_up() -> None:
    segmentation = example()
    table = measure_slices(segmentation)
    assert list(table.columns) == SLICE_COLUMNS
    assert table.set_index("slice").loc[3, "z_mm"] == 130
    total = table.groupby(["muscle", "side"]).voxels.sum()
    muscles = measure_muscles(segmentation).set_index(["muscle", "side"]).voxels
    assert total.to_dict() == muscles[muscles > 0].to_dict()


def test_slices_of_a_scan_without_muscle() -> None:
    """It failed where no muscle was labeled in any slice, but levels were known."""
    level = np.full((6, 2), 1.5)
    levels = Levels(level, level * 0, level > 0, np.ones((6, 2, 7), bool))
    empty = replace(example(), labels=np.zeros((50, 40, 6), np.uint8), levels=levels)
    table = measure_slices(empty)
    assert len(table) == 12
    assert set(table.muscle) == {""}
    assert len(measure_muscles(replace(empty, muscles=("SOL", "VL")))) == 2


def test_fat_fraction_on_the_whole_and_on_the_eroded_mask() -> None:
    segmentation = example()
    fat = np.full(segmentation.labels.shape, 0.1, np.float32)
    fat[5, 10:18, 1:4] = 0.9  # a rim of fat: partial volume
    fat[14, 17, 1] = np.nan
    left = measure_muscles(segmentation, fat).set_index(["muscle", "side"]).loc[("SOL", "left")]
    known = 240 - 1
    assert left.fat_fraction == pytest.approx((24 * 0.9 + (known - 24) * 0.1) / known, abs=1e-6)
    assert left.fat_fraction_eroded == pytest.approx(0.1, abs=1e-6)
    assert measure_muscles(example()).fat_fraction.isna().all()


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    return path


def test_fat_fraction_in_percent_and_on_another_grid(tmp_path: Path) -> None:
    result = example()
    shape = result.labels.shape
    ramp = np.broadcast_to(np.arange(shape[0])[:, None, None] / 200, shape)
    percent = load_fat_fraction(save(tmp_path / "p.nii.gz", ramp * 100), result)
    np.testing.assert_allclose(percent, ramp, atol=1e-6)
    turn = np.array([[1, -1], [0, 1], [2, -1]])
    image = nib.Nifti1Image(ramp.astype(np.float32), AFFINE).as_reoriented(turn)
    nib.save(image, tmp_path / "t.nii.gz")
    np.testing.assert_allclose(load_fat_fraction(tmp_path / "t.nii.gz", result), ramp, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (5000.0, 0, "values from 5e[+]03"),
        (0.2, 5000, "does not overlap"),
        (-50.0, 0, "values from -50"),
    ],
)
def test_maps_that_are_no_fat_fraction(
    data: float, offset: float, message: str, tmp_path: Path
) -> None:
    result = example()
    affine = AFFINE.copy()
    affine[0, 3] += offset
    path = save(tmp_path / "f.nii.gz", np.full(result.labels.shape, data), affine)
    with pytest.raises(InputError, match=message):
        load_fat_fraction(path, result)
