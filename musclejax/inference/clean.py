"""Post-processing of labels: what no muscle looks like is taken away."""

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from scipy import ndimage as ndi

ISLAND_SHARE = 0.2
"""A part of a muscle smaller than this share of its largest part is an island. Source: ours."""
_ALL_AROUND = np.ones((3, 3, 3), bool)


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
    within_slice = np.moveaxis(_cross(), 0, axial_axis)
    for side in np.unique(sides):
        own = np.where(sides == side, labels, 0)
        for label, box in enumerate(ndi.find_objects(own), 1):
            if box is None:
                continue
            muscle = own[box] == label
            islands = find_islands(muscle)
            inside = ndi.binary_fill_holes(muscle & ~islands, within_slice)
            part = cleaned[box]
            part[islands] = 0
            part[inside & (part == 0)] = label
    return cleaned


def find_islands(muscle: Bool[np.ndarray, "i j k"]) -> Bool[np.ndarray, "i j k"]:
    """Return the parts that are far smaller than the largest one."""
    parts, _ = ndi.label(muscle, _ALL_AROUND)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    small = sizes < ISLAND_SHARE * sizes.max()
    small[0] = False
    return np.asarray(small[parts])


def _cross() -> np.ndarray:
    """Return neighbours within a slice, slices along the first axis."""
    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[1] = ndi.generate_binary_structure(2, 1)
    return neighbours
