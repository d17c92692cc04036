"""Post-processing of label maps: small connected components and holes.

The gain of each step by scan: docs/development/weights-log.md.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8
from scipy import ndimage as ndi

MIN_COMPONENT_SHARE = 0.2
"""A connected component of a muscle is small below this share of the largest one, in the whole limb
as in a slice. Source: ours."""
MAX_HOLE_SHARE = 0.1
"""Holes below this share of their section are filled; the femur inside vastus intermedius has 0.3
of it. Source: ours."""
_AROUND = np.ones((3, 3, 3), bool)
_IN_SLICE = _AROUND & np.array([False, True, False])[:, None, None]
_SIDE_BY_SIDE = _IN_SLICE & ndi.generate_binary_structure(3, 1)
"""Which voxels are neighbors: all 26, the eight in the slice, and the four that share an edge."""
Muscle = Bool[np.ndarray, "z i j"]
Labels = UInt8[np.ndarray, "z i j"]
Sides = Shaped[np.ndarray, "z i j"]
Step = Callable[[Labels, Sides], Labels]


class _Components(NamedTuple):
    """Connected components within slices, numbered from 1: one labeling for all slices.

    Attributes:
        number: Of the component of each voxel; 0 of none.
        size: Voxels of each; of 0 none.
        z: Slice of each.
    """

    number: Int[np.ndarray, "z i j"]
    size: Int[np.ndarray, " n"]
    z: Int[np.ndarray, " n"]


def remove_small_components(muscle: Muscle) -> Muscle:
    """Remove small connected components of a muscle in the slices that show its largest one.

    In other slices a small component may be all of the muscle: between slices that are far apart a
    muscle need not be connected.
    """
    parts, _ = ndi.label(muscle, _AROUND)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    beside = (parts == np.argmax(sizes)).any((1, 2), keepdims=True)
    small = (sizes < MIN_COMPONENT_SHARE * np.max(sizes))[parts]
    return muscle & ~(beside & small)


def remove_small_slice_components(muscle: Muscle) -> Muscle:
    """Remove connected components that are small in their slice."""
    found = _label_slices(muscle, _IN_SLICE)
    largest = np.zeros(len(muscle), int)
    np.maximum.at(largest, found.z, found.size)
    small = found.size < MIN_COMPONENT_SHARE * largest[found.z]
    return muscle & ~small[found.number]


def fill_holes(muscle: Muscle) -> Muscle:
    """Fill the holes of a muscle within slices, but for holes as large as a bone."""
    found = _label_slices(~muscle, _SIDE_BY_SIDE)
    hole = (found.size > 0) & (found.size < MAX_HOLE_SHARE * muscle.sum((1, 2))[found.z])
    hole[found.number[:, [0, -1]]] = hole[found.number[:, :, [0, -1]]] = False
    return muscle | hole[found.number]


def _label_slices(mask: Muscle, neighbors: Bool[np.ndarray, "3 3 3"]) -> _Components:
    number, count = ndi.label(mask, neighbors)
    size = np.bincount(number.ravel())
    size[0] = 0
    z = np.zeros(count + 1, int)
    z[number] = np.arange(len(mask))[:, None, None]
    return _Components(number, size, z)


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
    changed = labels.copy()
    box = ndi.find_objects((labels > 0).view(np.uint8))
    if box:
        shown, side_of = (np.moveaxis(a[box[0]], axial_axis, 0) for a in (labels, sides))
        for name, step in STEPS.items():
            if name in steps:
                shown = step(shown, side_of)
        changed[box[0]] = np.moveaxis(shown, 0, axial_axis)
    return changed
