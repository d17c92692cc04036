"""Post-processing of labels: what no muscle looks like is taken away.

What each step is worth on which scans: docs/weights.md.
"""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from scipy import ndimage as ndi

from musclejax.anatomy import Region

ISLAND_SHARE = 0.2
"""A part of a muscle smaller than this share of its largest part is an island, in the whole limb as
in a slice. Source: ours."""
SMALLEST = {
    **{"VL": 2.78, "VM": 0.37, "VI": 5.71, "RF": 0.36, "SAR": 0.61, "GRA": 0.54},
    **{"AM": 1.44, "SM": 0.23, "ST": 0.61, "BFL": 0.35, "BFS": 0.16, "AL": 0.51},
    **{"SOL": 15.73, "GM": 0.87, "GL": 0.51, "TA": 1.63, "EDL": 3.4, "PE": 3.61},
}
"""Smallest section of a muscle in any template, as a percentage of all muscle of its limb in the
slice. Source: the templates, which `tests/test_clean.py` measures."""
CRUMB = 0.8
CRUMB_PERCENT = (0.2, 1.2)
"""A section smaller than this share of the smallest is a crumb, within these bounds: disease leaves
less of large muscles than templates have. Source: ours."""
HOLE_SHARE = 0.1
"""A hole of a smaller share of its section is filled; the femur inside vastus intermedius has 0.3
of it. Source: ours."""
Muscle = Bool[np.ndarray, "z i j"]
Labels = UInt8[np.ndarray, "z i j"]
Sides = Shaped[np.ndarray, "z i j"]
Step = Callable[[Labels, Sides, Region], Labels]


def without_islands(muscle: Muscle) -> Muscle:
    """Return a muscle without small parts beside its body, in the slices that show the body.

    Where the body is not seen, a part may be all that there is of it: between slices that are far
    apart a muscle need not be joined to itself.
    """
    parts, _ = ndi.label(muscle, np.ones((3, 3, 3), bool))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    beside = (parts == sizes.argmax()).any((1, 2), keepdims=True)
    small = (sizes < ISLAND_SHARE * sizes.max())[parts]
    return muscle & ~(beside & small)


def without_slice_islands(muscle: Muscle) -> Muscle:
    """Return a muscle without the parts that are far smaller than the largest in their slice."""
    return np.stack([without_islands(section[None])[0] for section in muscle])


def without_holes(muscle: Muscle) -> Muscle:
    """Return a muscle whose holes within slices are filled, but for holes as large as a bone."""
    filled = muscle.copy()
    for section in filled:
        holes, _ = ndi.label(ndi.binary_fill_holes(section) & ~section)
        sizes = np.bincount(holes.ravel())
        sizes[0] = 0
        section |= ((sizes > 0) & (sizes < HOLE_SHARE * section.sum()))[holes]
    return filled


def without_crumbs(labels: Labels, sides: Sides, region: Region) -> Labels:
    """Return labels without sections of muscles that are too small to be any."""
    least = np.zeros(1 + len(region.muscles))
    for muscle in region.muscles:
        least[muscle.number] = np.clip(CRUMB * SMALLEST[muscle.abbreviation], *CRUMB_PERCENT) / 100
    changed = labels.copy()
    for section, side_of in zip(changed, sides, strict=True):
        for side in np.unique(side_of):
            own = np.where(side_of == side, section, 0)
            areas = np.bincount(own.ravel(), minlength=len(least))
            areas[0] = 0
            section[(areas < least * areas.sum())[own] & (own > 0)] = 0
    return changed


def of_each_muscle(step: Callable[[Muscle], Muscle]) -> Step:
    """Return what takes a step for every muscle of either side by itself."""

    def take(labels: Labels, sides: Sides, _: Region) -> Labels:
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

    return take


STEPS: dict[str, Step] = {
    "islands": of_each_muscle(without_islands),
    "slice_islands": of_each_muscle(without_slice_islands),
    # After islands, which may lie in another muscle.
    "holes": of_each_muscle(without_holes),
    "crumbs": without_crumbs,
}
"""In the order in which they are taken."""


def clean(
    labels: UInt8[np.ndarray, "i j k"],
    sides: Shaped[np.ndarray, "i j k"],
    axial_axis: int,
    region: Region,
    steps: Collection[str] = tuple(STEPS),
) -> UInt8[np.ndarray, "i j k"]:
    """Return labels without islands, holes and crumbs.

    Args:
        labels: Muscle numbers, 0 elsewhere.
        sides: Side of every voxel: a muscle has one body in each limb.
        axial_axis: Axis along which slices follow one another.
        region: Whose muscles they are.
        steps: Which of `STEPS` to take.
    """
    slices, side_of = (np.moveaxis(a, axial_axis, 0) for a in (labels, sides))
    for name, step in STEPS.items():
        if name in steps:
            slices = step(slices, side_of, region)
    return np.ascontiguousarray(np.moveaxis(slices, 0, axial_axis))
