"""Post-processing of labels: what no muscle looks like is taken away."""

import numpy as np
from jaxtyping import Shaped, UInt8
from scipy import ndimage as ndi

_NEIGHBOURS = np.ones((3, 3, 3), bool)
ISLAND_SHARE = 0.2
"""A part of a muscle smaller than this share of its largest part is an island. Source: ours."""


def clean(
    labels: UInt8[np.ndarray, "i j k"], sides: Shaped[np.ndarray, "i j k"], axial_axis: int
) -> UInt8[np.ndarray, "i j k"]:
    """Return labels without islands and holes.

    Args:
        labels: Muscle numbers, 0 elsewhere.
        sides: Side of every voxel: a muscle has one body in each limb.
        axial_axis: Axis along which slices follow one another.
    """
    cleaned = labels.copy()
    for side in np.unique(sides):
        own = np.where(sides == side, labels, 0)
        for label in np.unique(own[own > 0]):
            islands = _islands(own == label)
            cleaned[islands] = 0
    return _fill(cleaned, axial_axis)


def _islands(muscle: np.ndarray) -> np.ndarray:
    """Return the parts that are far smaller than the largest one."""
    parts, count = ndi.label(muscle, _NEIGHBOURS)
    if count < 2:
        return np.zeros_like(muscle)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    small = sizes < ISLAND_SHARE * sizes.max()
    small[0] = False
    return np.asarray(small[parts])


def _fill(labels: np.ndarray, axial_axis: int) -> np.ndarray:
    """Fill what a muscle encloses in a slice, and nothing else is."""
    slices = np.moveaxis(labels, axial_axis, 0)
    filled = slices.copy()
    for before, after in zip(slices, filled, strict=True):
        for label in np.unique(before[before > 0]):
            hole = ndi.binary_fill_holes(before == label) & (before == 0)
            after[hole] = label
    return np.asarray(np.moveaxis(filled, 0, axial_axis))
