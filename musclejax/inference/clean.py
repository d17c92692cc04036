"""Post-processing of labels: what no muscle looks like is taken away.

Each step is kept because scores rise with it: docs/weights.md.
"""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from scipy import ndimage as ndi

ISLAND_SHARE = 0.2
"""A part of a muscle smaller than this share of its largest part is an island, in the whole limb as
in a slice. Source: ours."""
Muscle = Bool[np.ndarray, "z i j"]


def without_islands(muscle: Muscle) -> Muscle:
    """Return a muscle without the parts that are far smaller than its largest one."""
    parts, _ = ndi.label(muscle, np.ones((3, 3, 3), bool))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return muscle & (sizes >= ISLAND_SHARE * sizes.max())[parts]


def without_slice_islands(muscle: Muscle) -> Muscle:
    """Return a muscle without the parts that are far smaller than the largest in their slice."""
    return np.stack([without_islands(s[None])[0] for s in muscle])


def without_holes(muscle: Muscle) -> Muscle:
    """Return a muscle whose holes within slices are filled."""
    return np.stack([np.asarray(ndi.binary_fill_holes(s)) for s in muscle])


STEPS: dict[str, Callable[[Muscle], Muscle]] = {
    "islands": without_islands,
    "slice_islands": without_slice_islands,
    "holes": without_holes,
}
"""In the order in which they are taken."""


def clean(
    labels: UInt8[np.ndarray, "i j k"],
    sides: Shaped[np.ndarray, "i j k"],
    axial_axis: int,
    steps: Collection[str] = tuple(STEPS),
) -> UInt8[np.ndarray, "i j k"]:
    """Return labels without islands and holes.

    Args:
        labels: Muscle numbers, 0 elsewhere.
        sides: Side of every voxel: a muscle has one body in each limb.
        axial_axis: Axis along which slices follow one another.
        steps: Which of `STEPS` to take.
    """
    cleaned = labels.copy()
    slices, side_of = (np.moveaxis(a, axial_axis, 0) for a in (cleaned, sides))
    # Islands of all muscles go before holes are filled: the one may lie in the other.
    for name in (name for name in STEPS if name in steps):
        for side in np.unique(side_of):
            _take(STEPS[name], slices, side_of == side)
    return cleaned


def _take(step: Callable[[Muscle], Muscle], slices: np.ndarray, here: np.ndarray) -> None:
    """Change every muscle of one side in place."""
    own = np.where(here, slices, 0)
    for label, box in enumerate(ndi.find_objects(own), 1):
        if box is None:
            continue
        before = own[box] == label
        after, part = step(before), slices[box]
        part[before & ~after] = 0
        part[after & (part == 0)] = label
