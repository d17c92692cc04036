"""Measurements of label maps whose sizes are known."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import load_fat_fraction
from musclejax.prediction.measurement import (
    MUSCLE_COLUMNS,
    SLICE_COLUMNS,
    measure_muscles,
    measure_slices,
)
from musclejax.prediction.result import Correction, Levels, Segmentation
from musclejax.prediction.sections import measure_sections
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
    assert list(table.kind) == ["muscle"] * 2 * 6 + ["group"] * 2 * 3
    assert table.label[table.kind == "group"].isna().all()
    absent = table[table.muscle == "TA"]
    assert (absent.volume_ml == 0).all()
    assert absent.estimated_dsc.isna().all()
    assert not absent.flag.any()
    assert not absent.truncated.any()


def test_slices_are_tidy_and_add_up() -> None:
    segmentation = example()
    table = measure_slices(segmentation)
    assert list(table.columns) == SLICE_COLUMNS
    assert set(table.loc[table["slice"] == 3, "z_mm"]) == {130}
    total = table.groupby(["muscle", "side"]).voxels.sum()
    assert total["triceps surae", "right"] == 72
    muscles = measure_muscles(segmentation).set_index(["muscle", "side"]).voxels
    assert total.to_dict() == muscles[muscles > 0].to_dict()


def test_a_group_is_its_muscles_together() -> None:
    """The largest section is that of the sum; SOL is largest in slice 1, GM in slice 2."""
    result = example()
    result.labels[15:20, 10:20, 2] = 2  # 50 pixels on the left beside the 80 of SOL
    fat = np.where(result.labels == 2, 0.5, 0.1).astype(np.float32)
    table = measure_muscles(result, fat).set_index(["muscle", "side"])
    group, soleus = (table.loc[(name, "left")] for name in ("triceps surae", "SOL"))
    assert (group.kind, group["name"], group.voxels, group.slices) == (
        *("group", "SOL + GM + GL", 240 + 50, 3),
    )
    assert group.max_area_cm2 == pytest.approx(130 * 2 * 1.5 / 100)
    assert group.fat_fraction_median == pytest.approx(0.1)
    assert group.fat_fraction == pytest.approx((240 * 0.1 + 50 * 0.5) / 290)
    assert group.fat_ml == pytest.approx(group.volume_ml * group.fat_fraction)
    assert group.lean_ml + group.fat_ml == pytest.approx(group.volume_ml)
    assert group.fat_fraction_sd == pytest.approx(np.std([0.1] * 240 + [0.5] * 50))
    assert soleus.fat_fraction_sd == pytest.approx(0, abs=1e-7)
    assert table.loc[("triceps surae", "right")].truncated
    assert not table.loc[("anterior", "right")].voxels
    slices = measure_slices(result, fat).set_index(["slice", "side", "muscle"])
    assert slices.loc[(2, "left", "triceps surae")].fat_fraction == pytest.approx(33 / 130)
    assert slices.loc[(2, "left", "GM")].lean_area_cm2 == pytest.approx(50 * 0.03 / 2)


def test_no_muscle_is_in_two_groups_and_only_the_sartorius_in_none() -> None:
    for region, groups in anatomy.GROUPS.items():
        members = [name for group in groups for name in group.muscles]
        every = [muscle.abbreviation for muscle in anatomy.REGIONS[region].muscles]
        assert sorted(members) == sorted(set(every) - {"SAR"})


def test_areas_at_shares_of_the_length() -> None:
    result = example()
    level = np.column_stack([np.linspace(1.7, 1.2, 6), np.full(6, np.nan)])
    shown = np.isfinite(level)
    found = Levels(level, 0 * level, shown, np.repeat(shown[..., None], 7, 2))
    table = measure_muscles(replace(result, levels=found)).set_index(["muscle", "side"])
    columns = ["area_30_cm2", "area_50_cm2", "area_70_cm2"]
    for muscle in ("SOL", "triceps surae"):
        areas = table.loc[(muscle, "left"), columns].to_list()
        assert areas == pytest.approx([0, 2.4, 0], abs=1e-9)
        assert table.loc[(muscle, "right"), columns].isna().all()
    assert measure_muscles(result)[columns].isna().all(axis=None)
    sections = measure_sections(replace(result, levels=found))
    middle = sections[(sections.percent == 50) & (sections.kind == "group")]
    assert middle.area_cm2.to_list() == pytest.approx([2.4, 0, 0])


def test_what_a_person_changed() -> None:
    """Eight voxels go from SOL to GM, both of one group; four are new."""
    before = example()
    labels = before.labels.copy()
    labels[5, 10:18, 1] = 2
    labels[20:22, 10:12, 2] = 1
    corrected = replace(before, labels=labels, correction=Correction(before.labels, "a person"))
    table = measure_muscles(corrected).set_index(["muscle", "side"])
    shares = table.changed_share
    assert shares["SOL", "left"] == pytest.approx((8 + 4) / 240)
    assert shares["triceps surae", "left"] == pytest.approx(4 / 240)
    assert shares["SOL", "right"] == 0
    assert np.isnan(shares["GM", "left"])  # there was none
    assert table.corrected.all()
    slices = measure_slices(corrected).set_index(["slice", "side", "muscle"])
    assert slices.loc[(2, "left", "SOL")].changed_share == pytest.approx(4 / 80)
    elsewhere = measure_muscles(replace(corrected, correction=Correction(None, "another tool")))
    assert elsewhere.corrected.all()
    assert elsewhere.changed_share.isna().all()
    assert not measure_muscles(before).corrected.any()


def test_further_maps_have_columns_of_their_own() -> None:
    result = example()
    t2 = np.full(result.labels.shape, 40, np.float32)
    t2[5:10] = 1e6  # large values lose no digits
    t2[14, 17, 1] = np.nan
    table = measure_muscles(result, maps={"T2": t2}).set_index(["muscle", "side"])
    left = table.loc[("SOL", "left")]
    values = np.array([40] * 119 + [1e6] * 120)
    assert left["T2_mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert left["T2_sd"] == pytest.approx(values.std(), rel=1e-9)
    assert (left["T2_median"], left["T2_voxels"]) == (1e6, 239)
    assert list(table.columns)[-5:] == ["T2_mean", "T2_sd", "T2_median", "T2_voxels", "warnings"]
    assert np.isnan(table["T2_mean"]["TA", "left"])
    assert measure_slices(result, maps={"T2": t2})["T2_voxels"].sum() == 2 * (239 + 72)
    with pytest.raises(InputError, match="T2: found shape 2 x 2 x 2"):
        measure_muscles(result, maps={"T2": t2[:2, :2, :2]})


def test_slices_of_a_scan_without_muscle() -> None:
    """It failed where no muscle was labeled in any slice, but levels were known."""
    level = np.full((6, 2), 1.5)
    levels = Levels(level, level * 0, level > 0, np.ones((6, 2, 7), bool))
    empty = replace(example(), labels=np.zeros((50, 40, 6), np.uint8), levels=levels)
    table = measure_slices(empty)
    assert len(table) == 12
    assert set(table.muscle) == {""}
    assert len(measure_muscles(replace(empty, muscles=("SOL", "VL")))) == 2
    some = measure_muscles(replace(empty, muscles=("SOL", "TA", "EDL")))
    assert list(some.muscle) == ["SOL", "TA", "EDL"] * 2 + ["anterior"] * 2
    few = measure_sections(replace(example(), levels=levels, muscles=("SOL", "PE")))
    assert set(few.muscle) == {"SOL", "PE", "lateral"}


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
