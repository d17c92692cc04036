"""One in-plane axis of a scan against the same axis of the grid that the networks see."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from musclejax.anatomy import SLICE_PX, SLICE_SPACING_MM
from musclejax.errors import InputError

MIN_EXTENT_MM = 40.0
"""A field of view smaller than this in plane cannot show a thigh or leg. Source: ours."""
MIN_PIXELS = 32
"""Fewer pixels than this across the field of view leave nothing to segment. Source: ours."""


class Around(NamedTuple):
    """The two model pixels around each scan pixel, for linear interpolation.

    Attributes:
        pixels: The one before and the one after.
        weights: Theirs; they add up to 1.
    """

    pixels: Int[np.ndarray, "2 n"]
    weights: Float[np.ndarray, "2 n"]


@dataclass(frozen=True, eq=False)
class AxisMap:
    """One in-plane axis of the scan against the same axis of the model grid.

    Attributes:
        forward: Weights that resample n scan pixels to m model pixels.
        position: For each scan pixel where it lies on the model grid, in pixels of that.
        source: For each model pixel the nearest scan pixel, -1 where there is none.
    """

    forward: Float[np.ndarray, "m n"]
    position: Float[np.ndarray, " n"]
    source: Int[np.ndarray, " m"]

    @cached_property
    def nearest(self) -> Int[np.ndarray, " n"]:
        """For each scan pixel the nearest model pixel, -1 where there is none."""
        nearest = np.rint(self.position).astype(int)
        nearest[(nearest < 0) | (nearest >= len(self.source))] = -1
        return nearest

    @cached_property
    def around(self) -> Around:
        """For each scan pixel the model pixels around it; beyond the model grid, its border's."""
        last = len(self.source) - 1
        position = np.clip(self.position, 0, last)
        before = np.minimum(position.astype(int), last - 1)
        share = (position - before).astype(np.float32)
        return Around(np.stack([before, before + 1]), np.stack([1 - share, share]))


def map_axis(profile: Float[np.ndarray, " n"], spacing_mm: float, subject: str) -> AxisMap:
    """Map one axis by its spacing, the model grid centered on the body.

    Args:
        profile: Signal along the axis; a field of view wider than the model grid is cut around
            the middle of it, a smaller one is centered and padded with 0.
        spacing_mm: Distance between pixels.
        subject: Named in an error.
    """
    n = profile.size
    _check_extent(n, spacing_mm, subject)
    step = SLICE_SPACING_MM / spacing_mm
    center, half = (n - 1) / 2, SLICE_PX * step / 2
    if n > SLICE_PX * step and profile.any():
        share = np.cumsum(profile) / profile.sum()
        ends = np.searchsorted(share, (0.005, 0.995))
        center = float(np.clip(ends.mean(), half - 0.5, n - half - 0.5))
    middle = (SLICE_PX - 1) / 2
    at = (np.arange(SLICE_PX) - middle) * step + center
    position = (np.arange(n) - center) / step + middle
    source = np.rint(at).astype(int)
    source[(source < 0) | (source >= n)] = -1
    return AxisMap(_spline_matrix(n, tuple(at), max(0.0, (step - 1) / 2)), position, source)


def _check_extent(n: int, spacing_mm: float, subject: str) -> None:
    if n < MIN_PIXELS or not n * spacing_mm >= MIN_EXTENT_MM:
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


def map_axis_2021(n: int, spacing_mm: float, subject: str) -> AxisMap:
    """Map one axis as the 2021 code did, reversed as it did.

    Source: facts-2021, section Inference: scipy's `zoom`, which aligns the outer pixel centers,
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
    position = _pad_or_cut(nearest, n, -1).astype(np.float64)
    return AxisMap(forward, position, np.ascontiguousarray(source))


def _pad_or_cut(array: np.ndarray, size: int, fill: int) -> np.ndarray:
    """Pad or cut axis 0 to `size`, the smaller half before."""
    missing = size - array.shape[0]
    if missing < 0:
        return array[-missing // 2 :][:size]
    before = missing // 2
    width = [(before, missing - before)] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, width, constant_values=fill)
