"""To the grid that the networks see and back, side by side, joined by a GridTransform.

Resampling is separable, so both ways are small: a slice becomes `rows @ slice @ columns.T` with
two matrices that hold the cubic spline, the padding and the cutting, and labels come back by
two index vectors.
"""

from dataclasses import dataclass
from functools import lru_cache

import nibabel as nib
import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import ndimage
from skimage.transform import resize

from musclejax.config import SLICE_PX, SLICE_SPACING_MM, THUMBNAIL_PX
from musclejax.errors import InputError
from musclejax.scan.volume import Volume

GEOMETRIES = ("world", "2021")
MIN_EXTENT_MM = 40.0
"""A field of view smaller than this in plane cannot show a thigh or leg. Source: ours."""
MIN_PIXELS = 32
"""Fewer pixels than this across the field of view leave nothing to segment. Source: ours."""
# Slices left unsegmented at the two ends of the stack (2021 code: only 4 ... n - 6 are segmented).
SKIPPED_2021 = (4, 5)


@dataclass(frozen=True, eq=False)
class AxisMap:
    """One in-plane axis of the scan against the same axis of the model grid.

    Attributes:
        forward: Weights that resample n scan pixels to m model pixels.
        nearest: For each scan pixel the nearest model pixel, -1 where there is none.
        source: For each model pixel the nearest scan pixel, -1 where there is none.
    """

    forward: Float[np.ndarray, "m n"]
    nearest: Int[np.ndarray, " n"]
    source: Int[np.ndarray, " m"]


@dataclass(frozen=True, eq=False)
class GridTransform:
    """How a scan was brought to the model grid: all that the way back needs.

    Attributes:
        shape: Shape of the scan's array.
        orientation: nibabel orientation that takes the array to [left, posterior, superior]
            (geometry "world"), or to what 2021 took for it.
        rows: Map of the axis from anterior to posterior.
        columns: Map of the axis from right to left.
        start: First slice that was segmented.
        stop: Slice before which segmenting stopped.
    """

    shape: tuple[int, int, int]
    orientation: Float[np.ndarray, "3 2"]
    rows: AxisMap
    columns: AxisMap
    start: int
    stop: int


def to_model_grid(
    volume: Volume, geometry: str = "world"
) -> tuple[Float[np.ndarray, "z r c"], GridTransform]:
    """Bring a scan to axial slices of 432 x 432 pixels of 1.037037 mm.

    Args:
        volume: The scan, in any orientation and spacing.
        geometry: "world" finds the axial axis and the patient's left from the affine; row 0 is
            anterior, column 0 is the patient's right, slices run from feet to head. "2021" does
            what the 2021 code did, affine ignored.

    Returns:
        The slices, and the transform for `from_model_grid`.

    Raises:
        InputError: If the field of view is too small or too coarse to segment.

    Source: "world" ours; "2021": facts-2021, section Inference.
    """
    if geometry == "2021":
        transform = _transform_2021(volume)
    elif geometry == "world":
        transform = _transform_world(volume)
    else:
        raise InputError("geometry", repr(geometry), " or ".join(GEOMETRIES))
    array = nib.apply_orientation(volume.data, transform.orientation)
    # [left, posterior, superior] -> [slice, row, column]
    slices = np.ascontiguousarray(array.transpose(2, 1, 0)[transform.start : transform.stop])
    resampled = transform.rows.forward @ slices @ transform.columns.forward.T
    return np.ascontiguousarray(resampled, np.float32), transform


def from_model_grid(
    slices: Shaped[np.ndarray, "z r c *channels"], transform: GridTransform
) -> Shaped[np.ndarray, "i j k *channels"]:
    """Bring labels (or anything per pixel) back to the scan's own grid, voxel for voxel.

    Every voxel takes the value of the model pixel nearest to its centre; voxels outside the
    model grid or in slices that were not segmented get 0.
    """
    rows, columns = transform.rows.nearest, transform.columns.nearest
    picked = slices[:, np.maximum(rows, 0)][:, :, np.maximum(columns, 0)]
    inside = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    picked[:, ~inside] = 0
    back = inverse_orientation(transform.orientation)
    depth = transform.shape[int(back[2, 0])]
    whole = np.zeros((depth, *picked.shape[1:]), picked.dtype)
    whole[transform.start : transform.stop] = picked
    array = np.moveaxis(whole, (0, 1, 2), (2, 1, 0))
    return np.ascontiguousarray(nib.apply_orientation(array, back))


def labels_to_model_grid(
    labels: Shaped[np.ndarray, "i j k"], transform: GridTransform
) -> Shaped[np.ndarray, "z r c"]:
    """Bring reference labels of a scan to where `to_model_grid` brought its slices.

    Every model pixel takes the value of the scan pixel nearest to its centre, 0 outside the scan.

    Source: paper, "Preprocessing and data augmentation": nearest neighbour for masks.
    """
    array = nib.apply_orientation(labels, transform.orientation).transpose(2, 1, 0)
    rows, columns = transform.rows.source, transform.columns.source
    picked = array[transform.start : transform.stop][:, np.maximum(rows, 0)]
    picked = picked[:, :, np.maximum(columns, 0)]
    picked[:, ~((rows >= 0)[:, None] & (columns >= 0)[None, :])] = 0
    return np.ascontiguousarray(picked)


def to_thumbnails(
    slices: Float[np.ndarray, "z r c"],
) -> Float[np.ndarray, "z 128 128"]:
    """Shrink model slices to the classifier's input: cubic, anti-aliased.

    Source: facts-2021: scikit-image's `resize` of each slice, order 3, constant 0, range kept.
    """
    matrix = thumbnail_matrix(slices.shape[1])
    small = matrix @ slices @ matrix.T
    low, high = slices.min((1, 2), keepdims=True), slices.max((1, 2), keepdims=True)
    return np.clip(small, low, high)


def to_lps(volume: Volume) -> Float[np.ndarray, "3 2"]:
    """Return the nibabel orientation that takes the array to [left, posterior, superior]."""
    lps = nib.orientations.axcodes2ornt("LPS")
    return np.asarray(nib.orientations.ornt_transform(volume.orientation, lps), np.float64)


def lps_spacing_mm(volume: Volume) -> tuple[float, float, float]:
    """Return the spacing along the axes that run most nearly left, posterior and superior."""
    x, y, z = inverse_orientation(to_lps(volume))[:, 0].astype(int)
    return volume.spacing_mm[x], volume.spacing_mm[y], volume.spacing_mm[z]


def inverse_orientation(orientation: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "3 2"]:
    """Return the nibabel orientation that undoes `orientation`."""
    inverse = np.empty_like(orientation)
    inverse[orientation[:, 0].astype(int)] = np.column_stack([range(3), orientation[:, 1]])
    return inverse


def _transform_world(volume: Volume) -> GridTransform:
    orientation = to_lps(volume)
    x_mm, y_mm, _ = lps_spacing_mm(volume)
    # Contiguous, so that sums run in one order and all 48 orientations agree to the last bit.
    array = np.ascontiguousarray(nib.apply_orientation(volume.data, orientation))
    bright = np.where(array > array.mean(dtype=np.float64), array, 0)
    columns = _axis_world(bright.sum((1, 2), dtype=np.float64), x_mm, volume.name)
    rows = _axis_world(bright.sum((0, 2), dtype=np.float64), y_mm, volume.name)
    i, j, k = volume.data.shape
    return GridTransform((i, j, k), orientation, rows, columns, 0, array.shape[2])


def _axis_world(profile: Float[np.ndarray, " n"], spacing_mm: float, subject: str) -> AxisMap:
    """Map one axis by its spacing, the model grid centred on what the scan shows.

    Args:
        profile: Signal along the axis; a field of view wider than the model grid is cut around
            the middle of it, a smaller one is centred and padded with 0.
        spacing_mm: Distance between pixels.
        subject: What to name in an error.
    """
    n = profile.size
    _check_extent(n, spacing_mm, subject)
    step = SLICE_SPACING_MM / spacing_mm
    centre, half = (n - 1) / 2, SLICE_PX * step / 2
    if n > SLICE_PX * step and profile.any():
        share = np.cumsum(profile) / profile.sum()
        ends = np.searchsorted(share, (0.005, 0.995))
        centre = float(np.clip(ends.mean(), half - 0.5, n - half - 0.5))
    middle = (SLICE_PX - 1) / 2
    at = (np.arange(SLICE_PX) - middle) * step + centre
    nearest = np.rint((np.arange(n) - centre) / step + middle).astype(int)
    nearest[(nearest < 0) | (nearest >= SLICE_PX)] = -1
    source = np.rint(at).astype(int)
    source[(source < 0) | (source >= n)] = -1
    return AxisMap(_spline_matrix(n, tuple(at), max(0.0, (step - 1) / 2)), nearest, source)


def _check_extent(n: int, spacing_mm: float, subject: str) -> None:
    if n < MIN_PIXELS or n * spacing_mm < MIN_EXTENT_MM:
        found = f"an axial field of view of {n} pixels of {spacing_mm:.3g} mm"
        accepted = f"at least {MIN_PIXELS} pixels and {MIN_EXTENT_MM:g} mm across"
        raise InputError(subject, found, accepted, "Nothing would be left to segment.")


@lru_cache(maxsize=8)
def _spline_matrix(n: int, at: tuple[float, ...], sigma: float) -> Float[np.ndarray, "m n"]:
    """Return the weights of cubic spline interpolation of n pixels at the positions `at`.

    Args:
        n: Number of pixels.
        at: Positions in pixels; 0 is taken outside the pixels.
        sigma: Standard deviation, in pixels, of a Gaussian applied first, against aliasing.
    """
    impulses = np.eye(n)
    if sigma:
        impulses = ndimage.gaussian_filter1d(impulses, sigma, axis=0, mode="nearest")
    columns = [ndimage.map_coordinates(impulse, [at], order=3) for impulse in impulses.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _transform_2021(volume: Volume) -> GridTransform:
    i, j, k = volume.data.shape
    before, after = SKIPPED_2021
    if k <= before + after:
        accepted = f"at least {before + after + 1}, as the 2021 code leaves out both ends"
        raise InputError(
            volume.name, f"{k} slices on array axis 2", accepted, "Use world geometry."
        )
    orientation = np.array([[0, -1], [1, -1], [2, 1]], np.float64)
    columns = _axis_2021(i, volume.spacing_mm[0], volume.name)
    rows = _axis_2021(j, volume.spacing_mm[1], volume.name)
    return GridTransform((i, j, k), orientation, rows, columns, before, k - after)


def _axis_2021(n: int, spacing_mm: float, subject: str) -> AxisMap:
    """Map one axis as the 2021 code did, reversed as it did.

    Source: facts-2021, section Inference: scipy's `zoom`, which aligns the outer pixel centres,
    then padding or cutting with the smaller half before. On the way back these happen after the
    reversal.
    """
    _check_extent(n, spacing_mm, subject)
    factor = spacing_mm / SLICE_SPACING_MM
    zoomed = np.stack([ndimage.zoom(e, factor, order=3) for e in np.eye(n)], axis=1)
    forward = _pad_or_cut(zoomed, SLICE_PX, 0)[::-1, ::-1]
    nearest = ndimage.zoom(np.arange(SLICE_PX), 1 / factor, order=0)
    source = _pad_or_cut(ndimage.zoom(np.arange(n), factor, order=0), SLICE_PX, -1)
    # Both the scan's axis and the model's run backwards.
    source = np.where(source >= 0, n - 1 - source, -1)[::-1]
    forward = np.ascontiguousarray(forward, np.float32)
    return AxisMap(forward, _pad_or_cut(nearest, n, -1), np.ascontiguousarray(source))


def _pad_or_cut(array: np.ndarray, size: int, fill: int) -> np.ndarray:
    """Bring axis 0 to `size`: the smaller half of what is added or removed comes first."""
    missing = size - array.shape[0]
    if missing < 0:
        return array[-missing // 2 :][:size]
    before = missing // 2
    width = [(before, missing - before)] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, width, constant_values=fill)


@lru_cache(maxsize=2)
def thumbnail_matrix(n: int) -> Float[np.ndarray, "t n"]:
    """Return the weights that shrink an axis of n pixels as `to_thumbnails` does."""
    shape = (THUMBNAIL_PX, n)
    options = {"order": 3, "mode": "constant", "anti_aliasing": True, "clip": False}
    return resize(np.eye(n), shape, **options).astype(np.float32)
