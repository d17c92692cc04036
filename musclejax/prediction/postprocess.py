"""Post-processing of label maps: small connected components and holes.

The gain of each step by scan: docs/development/weights-log.md.
"""

from collections.abc import Callable, Collection, Iterator
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
_CHUNK = 32
"""Slices that are looked at at once, where slices do not depend on others."""
Muscle = Bool[np.ndarray, "z i j"]
Labels = UInt8[np.ndarray, "z i j"]
Sides = Shaped[np.ndarray, "z i j"]
Step = Callable[[Labels, Sides], None]


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
    parts, count = ndi.label(muscle, _AROUND)
    chunks = list(_chunks(len(muscle)))
    counts = [np.bincount(parts[z].ravel(), minlength=count + 1) for z in chunks]
    sizes = np.sum(counts, 0)
    sizes[0] = 0
    kept = muscle.copy()
    for z in chunks:
        beside = (parts[z] == np.argmax(sizes)).any((1, 2), keepdims=True)
        small = (sizes < MIN_COMPONENT_SHARE * np.max(sizes))[parts[z]]
        kept[z] &= ~(beside & small)
    return kept


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


def _chunks(slices: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, slices, _CHUNK))


def per_muscle(step: Callable[[Muscle], Muscle]) -> Step:
    """Return a function that applies a step per muscle and side."""

    def apply(labels: Labels, sides: Sides) -> None:
        for side in sorted({side for plane in sides for side in np.unique(plane)}):
            for label, box in _find_muscles(labels, sides, side).items():
                part = labels[box]
                before = (part == label) & (sides[box] == side)
                after = step(before)
                part[before & ~after] = 0
                part[after & (part == 0)] = label

    return apply


def within_slices(step: Callable[[Muscle], Muscle]) -> Step:
    """Return a function that applies a step per muscle and side, to a few slices at once."""
    whole = per_muscle(step)

    def apply(labels: Labels, sides: Sides) -> None:
        for z in _chunks(len(labels)):
            whole(labels[z], sides[z])

    return apply


def _find_muscles(
    labels: Labels, sides: Sides, side: object
) -> dict[int, tuple[slice, slice, slice]]:
    """Return the box around each label of a side."""
    least, most = np.full((256, 3), max(labels.shape)), np.zeros((256, 3), int)
    for z, plane in enumerate(labels):
        own = np.where(sides[z] == side, plane, 0)
        for label, box in enumerate(ndi.find_objects(own), 1):
            if box is not None:
                rows, columns = box
                least[label] = np.minimum(least[label], (z, rows.start, columns.start))
                most[label] = np.maximum(most[label], (z + 1, rows.stop, columns.stop))
    found = np.flatnonzero(most[:, 0]).tolist()
    boxes = ([*map(slice, least[n].tolist(), most[n].tolist())] for n in found)
    return {n: (z, rows, columns) for n, (z, rows, columns) in zip(found, boxes, strict=True)}


STEPS: dict[str, Step] = {
    "components": per_muscle(remove_small_components),
    "slice_components": within_slices(remove_small_slice_components),
    # After small components, which may lie in another muscle.
    "holes": within_slices(fill_holes),
}
"""In the order in which they are applied, in place."""


def postprocess(
    labels: UInt8[np.ndarray, "i j k"],
    sides: Shaped[np.ndarray, "i j k"],
    axial_axis: int,
    steps: Collection[str] = tuple(STEPS),
) -> None:
    """Remove small connected components and fill holes, in place.

    Args:
        labels: Muscle numbers, 0 elsewhere.
        sides: Side of every voxel: a muscle has one large component per limb.
        axial_axis: Axis along which slices follow one another.
        steps: Which of `STEPS` to apply.
    """
    slices, side_of = (np.moveaxis(a, axial_axis, 0) for a in (labels, sides))
    for name, step in STEPS.items():
        if name in steps:
            step(slices, side_of)
