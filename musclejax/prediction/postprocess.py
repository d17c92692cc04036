"""Post-processing of label maps: small connected components and holes.

The gain of each step by scan: docs/development/weights-log.md.
"""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from scipy import ndimage as ndi

MIN_COMPONENT_SHARE = 0.2
"""A connected component of a muscle is small below this share of the largest one, in the whole limb
as in a slice. Source: ours."""
MAX_HOLE_SHARE = 0.1
"""Holes below this share of their section are filled; the femur inside vastus intermedius has 0.3
of it. Source: ours."""
Muscle = Bool[np.ndarray, "z i j"]
Labels = UInt8[np.ndarray, "z i j"]
Sides = Shaped[np.ndarray, "z i j"]
Step = Callable[[Labels, Sides], Labels]


def remove_small_components(muscle: Muscle) -> Muscle:
    """Remove small connected components of a muscle in the slices that show its largest one.

    In other slices a small component may be all of the muscle: between slices that are far apart a
    muscle need not be connected.
    """
    parts, _ = ndi.label(muscle, np.ones((3, 3, 3), bool))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    beside = (parts == np.argmax(sizes)).any((1, 2), keepdims=True)
    small = (sizes < MIN_COMPONENT_SHARE * np.max(sizes))[parts]
    return muscle & ~(beside & small)


def remove_small_slice_components(muscle: Muscle) -> Muscle:
    """Remove connected components that are small in their slice."""
    return np.stack([remove_small_components(section[None])[0] for section in muscle])


def fill_holes(muscle: Muscle) -> Muscle:
    """Fill the holes of a muscle within slices, but for holes as large as a bone."""
    filled = muscle.copy()
    for section in filled:
        holes, _ = ndi.label(ndi.binary_fill_holes(section) & ~section)
        sizes = np.bincount(holes.ravel())
        sizes[0] = 0
        section |= ((sizes > 0) & (sizes < MAX_HOLE_SHARE * section.sum()))[holes]
    return filled


def per_muscle(step: Callable[[Muscle], Muscle]) -> Step:
    """Return a function that applies a step per muscle and side."""

    def apply(labels: Labels, sides: Sides) -> Labels:
        changed = labels.copy()
        for side in np.unique(sides):
            own = np.where(sides == side, changed, 0)
            for label, box in enumerate(ndi.find_objects(own), 1):
                if box is None:
                    continue
                before = own[box] == label
                after, part = step(before), changed[box]
                part[before & ~after] = 0
                part[after & (part == 0)] = label
        return changed

    return apply


STEPS: dict[str, Step] = {
    "components": per_muscle(remove_small_components),
    "slice_components": per_muscle(remove_small_slice_components),
    # After small components, which may lie in another muscle.
    "holes": per_muscle(fill_holes),
}
"""In the order in which they are applied."""


def postprocess(
    labels: UInt8[np.ndarray, "i j k"],
    sides: Shaped[np.ndarray, "i j k"],
    axial_axis: int,
    steps: Collection[str] = tuple(STEPS),
) -> UInt8[np.ndarray, "i j k"]:
    """Return labels without small connected components and holes.

    Args:
        labels: Muscle numbers, 0 elsewhere.
        sides: Side of every voxel: a muscle has one large component per limb.
        axial_axis: Axis along which slices follow one another.
        steps: Which of `STEPS` to apply.
    """
    slices, side_of = (np.moveaxis(a, axial_axis, 0) for a in (labels, sides))
    for name, step in STEPS.items():
        if name in steps:
            slices = step(slices, side_of)
    return np.ascontiguousarray(np.moveaxis(slices, 0, axial_axis))
