"""To the model grid and back, in every orientation and spacing."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from musclejax.anatomy import SLICE_PX, SLICE_SPACING_MM
from musclejax.errors import InputError
from musclejax.scan.grid import (
    GridTransform,
    interpolate,
    labels_from_model_grid,
    to_model_grid,
    to_scan,
    to_thumbnails,
)
from musclejax.scan.study import load
from musclejax.scan.volume import Volume, inverse_orientation

ORIENTATIONS = [
    np.column_stack([axes, flips]).astype(float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([1, -1], repeat=3)
]


def reoriented(volume: Volume, orientation: np.ndarray) -> Volume:
    image = nib.Nifti1Image(volume.data, volume.affine).as_reoriented(orientation)
    return Volume(np.asarray(image.dataobj), image.affine, volume.name)


def from_model_grid(slices: np.ndarray, transform: GridTransform) -> np.ndarray:
    """Bring pixels back to the scan: each voxel takes that of the model which is nearest."""
    rows, columns = transform.rows.nearest, transform.columns.nearest
    return to_scan(slices[:, np.maximum(rows, 0)][:, :, np.maximum(columns, 0)], transform)


@pytest.mark.parametrize("name", ["test_up", "test_low"])
def test_real_scans_in_all_48_orientations(name: str, thigh_path: Path) -> None:
    whole = load(thigh_path.with_name(f"{name}.nii.gz"))
    # Three slices: what is tested is the order of axes, not the amount of data.
    volume = Volume(np.ascontiguousarray(whole.data[:, :, 3::12]), whole.affine * [1, 1, 12, 1])
    slices, transform = to_model_grid(volume)
    numbers = np.arange(slices.size, dtype=np.uint32).reshape(slices.shape) % 251
    labels = from_model_grid(numbers, transform)
    assert labels.shape == volume.data.shape
    for orientation in ORIENTATIONS:
        other = reoriented(volume, orientation)
        again, back = to_model_grid(other)
        np.testing.assert_array_equal(again, slices)
        expected = nib.apply_orientation(labels, orientation)
        np.testing.assert_array_equal(from_model_grid(numbers, back), expected)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(st.floats(1.04, 4), st.floats(1.04, 4), st.floats(2, 30)),
    shape=st.tuples(st.integers(40, 90), st.integers(40, 90), st.integers(2, 5)),
    turn=st.floats(-15, 15),
)
def test_labels_survive_the_way_there_and_back(
    orientation: np.ndarray, spacing: tuple, shape: tuple, turn: float
) -> None:
    """Spacing coarser than the model's: each voxel has a model pixel of its own."""
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 13, shape).astype(np.float32)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    volume = reoriented(Volume(labels, affine), orientation)
    _, transform = to_model_grid(volume)
    # Carry the labels there by the same nearest-pixel rule, then bring them back.
    z, rows, columns = np.meshgrid(
        range(shape[2]), transform.rows.nearest, transform.columns.nearest, indexing="ij"
    )
    canonical = nib.apply_orientation(volume.data, transform.orientation)
    model = np.zeros((shape[2], SLICE_PX, SLICE_PX), np.float32)
    model[z, rows, columns] = canonical.transpose(2, 1, 0)
    np.testing.assert_array_equal(from_model_grid(model, transform), volume.data)


@pytest.mark.parametrize("spacing", [0.5, 0.8, 1.5])
def test_labels_of_discs_come_back_as_discs(spacing: float) -> None:
    """Closer to the outline than the nearest pixel's label, on finer grids, and no label between
    two others that is not there."""
    n = round(240 / spacing)
    volume = Volume(np.ones((n, n, 1), np.float32), np.diag([spacing, spacing, 5, 1]))
    _, transform = to_model_grid(volume)

    def disks(size: int, step: float) -> np.ndarray:
        """Two that touch; the distance to each outline in mm, positive within."""
        y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * step
        return np.stack([30 - np.hypot(y - 3, x - 32), 33 - np.hypot(y, x + 31)])

    depth = disks(SLICE_PX, SLICE_SPACING_MM)
    shares = 1 / (1 + np.exp(-2 * np.stack([-depth.max(0), *depth])))
    shares = shares / shares.sum(0)
    probabilities = np.zeros((SLICE_PX, SLICE_PX, 10), np.uint8)
    probabilities[..., [0, 3, 9]] = np.round(255 * shares).astype(np.uint8).transpose(1, 2, 0)
    labels = np.array([0, 3, 9], np.uint8)[shares.argmax(0)]
    exact = disks(n, spacing)
    truth = np.where((exact > 0).any(0), np.array([3, 9])[exact.argmax(0)], 0)
    found, sure = labels_from_model_grid(labels, probabilities.max(-1), probabilities, transform)
    every = np.round(interpolate(probabilities, transform)).astype(np.uint8)
    np.testing.assert_array_equal(sure, every.max(-1))
    np.testing.assert_array_equal(
        np.take_along_axis(every, found[..., None].astype(int), -1)[..., 0], sure
    )
    smooth = to_scan(found[None], transform)
    nearest = from_model_grid(labels[None], transform)
    wrong, wrong_nearest = ((a[:, :, 0].T[::-1, ::-1] != truth).sum() for a in (smooth, nearest))
    assert set(np.unique(smooth)) == {0, 3, 9}
    assert wrong < (0.8 if spacing < 1 else 1.01) * wrong_nearest


def test_the_more_confident_label_goes_further() -> None:
    volume = Volume(np.ones((400, 400, 1), np.float32), np.diag([0.5, 0.5, 5, 1]))
    _, transform = to_model_grid(volume)
    labels = np.ones((SLICE_PX, SLICE_PX), np.uint8)
    labels[:, 216:] = 2
    share = []
    for steps in ((200, 200), (60, 250)):
        confidence = np.array([0, *steps], np.uint8)[labels]
        probabilities = (confidence[..., None] * (labels[..., None] == np.arange(3))).astype(
            np.uint8
        )
        found, _ = labels_from_model_grid(labels, confidence, probabilities, transform)
        share.append((found == 2).mean())
    assert share[0] == pytest.approx(0.5, abs=0.003)
    assert share[1] > share[0]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    spacing=st.floats(0.6, 2.5),
    right=st.floats(-50, 50),
    anterior=st.floats(-50, 50),
)
def test_a_landmark_lands_where_its_world_position_says(
    orientation: np.ndarray, spacing: float, right: float, anterior: float
) -> None:
    """Row 0 is anterior, column 0 the patient's right; 1.037037 mm a pixel."""
    n = round(200 / spacing)
    x, y = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing] * 2, indexing="ij")
    blob = np.exp(-((x - right) ** 2 + (y - anterior) ** 2) / 2 / 6**2)
    affine = np.diag([spacing, spacing, 5, 1])
    data = np.repeat(blob[..., None], 3, axis=2).astype(np.float32)
    volume = reoriented(Volume(data, affine), orientation)
    slices, _ = to_model_grid(volume)
    row, column = ndimage.center_of_mass(np.maximum(slices[1], 0))
    middle = (SLICE_PX - 1) / 2
    assert row == pytest.approx(middle - anterior / SLICE_SPACING_MM, abs=0.1)
    assert column == pytest.approx(middle - right / SLICE_SPACING_MM, abs=0.1)


def test_interpolation_is_scipys_cubic_spline() -> None:
    rng = np.random.default_rng(1)
    data = ndimage.gaussian_filter(rng.normal(size=(60, 70, 2)), (2, 2, 0)).astype(np.float32)
    data -= data.min()  # its darkest part is air
    slices, _ = to_model_grid(Volume(data, np.diag([-2.0, -1.5, 5, 1])))
    middle = (SLICE_PX - 1) / 2
    at = (np.arange(SLICE_PX) - middle) * SLICE_SPACING_MM
    grid = np.meshgrid(at / 1.5 + 69 / 2, at / 2.0 + 59 / 2, indexing="ij")
    expected = ndimage.map_coordinates(data[..., 1].T.astype(float), grid, order=3)
    np.testing.assert_allclose(slices[1], expected, atol=1e-5)


def test_a_wide_field_of_view_is_cut_around_the_body() -> None:
    data = np.zeros((300, 300, 2), np.float32)
    data[20:120, 160:250] = 1
    slices, transform = to_model_grid(Volume(data, np.diag([-2.0, -2.0, 5, 1])))
    assert slices[0].sum() == pytest.approx(
        data[..., 0].sum() * (2 / SLICE_SPACING_MM) ** 2, rel=0.01
    )
    inside = from_model_grid(np.ones_like(slices), transform)
    assert inside[20:120, 160:250].all()
    assert not inside[-1].any()


@pytest.mark.parametrize("shape", [(463, 300), (160, 431)])
def test_2021_geometry_is_scipys_zoom_padded_or_cut_reversed_and_transposed(shape: tuple) -> None:
    """Written from facts-2021, section Inference, slice by slice."""
    rng = np.random.default_rng(2)
    data = ndimage.gaussian_filter(rng.normal(size=(*shape, 11)), (2, 2, 0)).astype(np.float32)
    spacing = 1.3
    # The affine is ignored by the 2021 code, so here it turns everything round.
    affine = np.array([[0, spacing, 0, 5], [spacing, 0, 0, 6], [0, 0, -4, 7], [0, 0, 0, 1]])
    slices, transform = to_model_grid(Volume(data, affine), "2021")
    assert len(slices) == 2  # 4 ... n - 6 of n = 11: slices 4 and 5
    factor = spacing / SLICE_SPACING_MM
    expected = fit(ndimage.zoom(data[:, :, 5], factor, order=3), (SLICE_PX, SLICE_PX))
    np.testing.assert_allclose(slices[1], expected[::-1, ::-1].T, atol=1e-5)

    labels = rng.integers(0, 13, slices.shape).astype(np.uint8)
    back = from_model_grid(labels, transform)
    # All classes are equally probable, in steps: the labels decide.
    every = np.full((*labels.shape[1:], 13), 90, np.uint8)
    found = [labels_from_model_grid(a, every[..., 0], every, transform)[0] for a in labels]
    np.testing.assert_array_equal(to_scan(np.stack(found), transform), back)
    flat = fit(ndimage.zoom(labels[1], 1 / factor, order=0), (shape[1], shape[0]))
    np.testing.assert_array_equal(back[:, :, 5], flat[::-1, ::-1].T)
    assert not back[:, :, [*range(4), *range(6, 11)]].any()


def fit(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pad with zeros or cut to `shape`: floor before, ceil after."""
    for axis, size in enumerate(shape):
        excess = image.shape[axis] - size
        if excess > 0:
            image = np.take(image, range(excess // 2, excess // 2 + size), axis)
        else:
            before = -excess // 2
            width = [(0, 0), (0, 0)]
            width[axis] = (before, -excess - before)
            image = np.pad(image, width)
    return image


def test_thumbnails_are_scikit_images_resize(thigh_path: Path) -> None:
    slices, _ = to_model_grid(load(thigh_path))
    expected = resize(
        slices[9].astype(float),
        (128, 128),
        order=3,
        mode="constant",
        anti_aliasing=True,
        preserve_range=True,
    )
    np.testing.assert_allclose(to_thumbnails(slices[9:10])[0], expected, atol=2e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_inverse_orientation(orientation: np.ndarray) -> None:
    data = np.arange(24).reshape(2, 3, 4)
    there = nib.apply_orientation(data, orientation)
    back = nib.apply_orientation(there, inverse_orientation(orientation))
    np.testing.assert_array_equal(back, data)


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [((10, 10, 5), 20.0, "10 pixels of 20 mm"), ((60, 60, 5), 0.5, "60 pixels of 0.5 mm")],
)
@pytest.mark.parametrize("geometry", ["world", "2021"])
def test_nothing_left_to_segment(shape: tuple, spacing: float, message: str, geometry: str) -> None:
    volume = Volume(np.ones((*shape[:2], 12), np.float32), np.diag([spacing, spacing, 5, 1]))
    with pytest.raises(InputError, match=message):
        to_model_grid(volume, geometry)


def test_other_refusals() -> None:
    volume = Volume(np.ones((60, 60, 9), np.float32), np.eye(4))
    with pytest.raises(InputError, match="9 slices on array axis 2"):
        to_model_grid(volume, "2021")
    with pytest.raises(InputError, match="world, 2021. Did you mean 2021?"):
        to_model_grid(volume, "1921")
