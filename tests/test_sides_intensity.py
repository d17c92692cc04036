"""Left and right from the affine, and intensities that no scanner's scale can change."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.config import default_config
from musclejax.errors import InputError
from musclejax.scan.intensity import body_box, body_mask, normalize
from musclejax.scan.sides import find_sides
from musclejax.scan.study import load
from musclejax.scan.volume import Volume
from tests.test_grid import ORIENTATIONS, reoriented

THIGH = anatomy.REGIONS["thigh"]
LEFT, RIGHT = 1, 2


def sides_at(volume: Volume, labels: np.ndarray, *points: tuple[int, int, int]) -> list[int]:
    found = find_sides(volume, labels, THIGH)
    return [int(found.voxels[p]) for p in points]


@pytest.mark.parametrize("name", ["test_up", "test_low"])
def test_real_scans_have_their_right_where_x_grows(name: str, thigh_path: Path) -> None:
    # The two samples are RAS: array axis 0 runs to the patient's right.
    volume = load(thigh_path.with_name(f"{name}.nii.gz"))
    sides = find_sides(volume, np.zeros(volume.data.shape, np.uint8), THIGH)
    assert sides.method == "gap"
    assert (sides.voxels[:130] == LEFT).all()
    assert (sides.voxels[190:] == RIGHT).all()


def test_both_limbs_in_all_orientations(limbs: np.ndarray) -> None:
    volume = Volume(limbs, np.diag([3.0, 3, 5, 1]))
    none = np.zeros(limbs.shape, np.uint8)
    expected = find_sides(volume, none, THIGH).voxels
    assert (expected[:41] == LEFT).all()
    assert (expected[48:] == RIGHT).all()
    for orientation in ORIENTATIONS:
        other = reoriented(volume, orientation)
        found = find_sides(other, np.zeros(other.data.shape, np.uint8), THIGH)
        np.testing.assert_array_equal(found.voxels, nib.apply_orientation(expected, orientation))


def test_touching_limbs_part_at_their_waist() -> None:
    x, y = np.meshgrid(np.arange(90.0), np.arange(60.0), indexing="ij")
    disks = ((x - 25) ** 2 + (y - 30) ** 2 < 21**2) | ((x - 63) ** 2 + (y - 30) ** 2 < 21**2)
    volume = Volume(np.repeat(disks[..., None] * np.float32(50), 3, 2), np.diag([3.0, 3, 5, 1]))
    assert disks[44, 30]
    none = np.zeros(volume.data.shape, np.uint8)
    assert sides_at(volume, none, (41, 30, 1), (47, 30, 1)) == [LEFT, RIGHT]


@pytest.mark.parametrize("lateral_at_larger_x", [True, False])
def test_a_lone_limb_is_told_by_its_anatomy(limbs: np.ndarray, lateral_at_larger_x: bool) -> None:
    """A right limb has its lateral muscles toward the patient's right, wherever it lay."""
    data = limbs[:44]
    volume = Volume(data, np.diag([3.0, 3, 5, 1]))  # RAS, at x > 0: position would say right
    labels = np.zeros(data.shape, np.uint8)
    low, high = (6, 1) if lateral_at_larger_x else (1, 6)  # GRA is medial, VL lateral
    labels[12:20, 25:35] = low
    labels[30:38, 25:35] = high
    found = find_sides(volume, labels, THIGH)
    assert found.method == "anatomy"
    assert (found.voxels == (RIGHT if lateral_at_larger_x else LEFT)).all()


def test_a_lone_limb_whose_labels_are_nearly_all_medial_is_not_told_by_them(
    limbs: np.ndarray,
) -> None:
    """Seen with weights that knew pairs of limbs only: all near the middle is medial."""
    data = limbs[:44]
    labels = np.zeros(data.shape, np.uint8)
    labels[12:36, 20:40] = 6
    labels[36:38, 25:27] = 1
    found = find_sides(Volume(data, np.diag([3.0, 3, 5, 1])), labels, THIGH)
    assert found.method == "position"


@pytest.mark.parametrize(("offset", "side"), [(-200, LEFT), (60, RIGHT)])
def test_a_lone_limb_without_labels_is_told_by_its_position(
    limbs: np.ndarray, offset: float, side: int
) -> None:
    affine = np.diag([3.0, 3, 5, 1])
    affine[0, 3] = offset
    data = limbs[:44]
    found = find_sides(Volume(data, affine), np.zeros(data.shape, np.uint8), THIGH)
    assert found.method == "position"
    assert (found.voxels == side).all()


def settings(**changes: object) -> ConfigDict:
    intensity = default_config().intensity
    intensity.update(changes)
    return intensity


@pytest.mark.parametrize("scale", [1e-4, 0.5, 300.0])
def test_percentile_takes_out_the_scanners_scale(thigh_path: Path, scale: float) -> None:
    slices = load(thigh_path).data.transpose(2, 1, 0)
    expected = normalize(slices, settings())
    np.testing.assert_allclose(
        normalize(slices * np.float32(scale), settings()), expected, rtol=1e-4
    )
    bright = expected[expected > expected.mean()]
    assert np.percentile(bright, 99) == pytest.approx(1, abs=1e-4)


def test_percentile_does_not_mind_more_air(thigh_path: Path) -> None:
    slices = load(thigh_path).data.transpose(2, 1, 0)
    wider = np.pad(slices, ((0, 0), (80, 80), (80, 80)))
    expected = normalize(slices, settings())
    np.testing.assert_allclose(normalize(wider, settings())[:, 80:-80, 80:-80], expected, rtol=0.03)


def test_the_handling_of_2021() -> None:
    slices = np.array([[[0.0, 2048.0, 4096.0]]], np.float32)
    np.testing.assert_array_equal(normalize(slices, settings(mode="raw")), slices)
    np.testing.assert_array_equal(normalize(slices, settings(mode="divide")), [[[0.0, 0.5, 1.0]]])
    with pytest.raises(InputError, match="raw, divide or percentile"):
        normalize(slices, settings(mode="zscore"))


@pytest.mark.parametrize("offset", [0.0, -1000.0, 50.0])
def test_body_mask_does_not_mind_an_offset(limbs: np.ndarray, offset: float) -> None:
    np.testing.assert_array_equal(body_mask(limbs + np.float32(offset)), limbs > 0)


def test_body_mask_of_a_scan_without_air() -> None:
    assert body_mask(np.full((4, 5, 3), 7, np.float32)).all()


def test_pictures_are_cropped_to_the_body_whatever_the_noise() -> None:
    """Of 60 slices with noise in 1 % of the air, half of all pixels show it once."""
    shown = np.random.default_rng(0).random((120, 100, 60)) < 0.01
    assert 0.4 < shown.any(2).mean() < 0.5
    shown[40:80, 30:70] = True
    shown[80:90, 30:70, 50:] = True  # where the limb is thicker
    box = body_box(shown.mean(2, dtype=np.float32), 2.0, 2.0)
    for part, (start, stop) in zip(box, ((40, 90), (30, 70)), strict=True):
        assert start - 6 <= part.start <= start - 4
        assert stop + 4 <= part.stop <= stop + 6
    one = np.zeros((20, 20, 1), bool)
    one[9, 9] = True
    assert body_box(one.mean(2, dtype=np.float32), 1.0, 1.0)[0].start == 0
