"""Post-processing of label maps: small connected components, holes and too small sections.

The gain of each step by scan: docs/development/weights-log.md.
"""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from scipy import ndimage as ndi

from musclejax.anatomy import Region

MIN_COMPONENT_SHARE = 0.2
"""A connected component of a muscle is small below this share of the largest one, in the whole limb
as in a slice. Source: ours."""
SMALLEST_SECTION = {
    **{"VL": 2.78, "VM": 0.37, "VI": 5.71, "RF": 0.36, "SAR": 0.61, "GRA": 0.54},
    **{"AM": 1.44, "SM": 0.23, "ST": 0.61, "BFL": 0.35, "BFS": 0.16, "AL": 0.51},
    **{"SOL": 15.73, "GM": 0.87, "GL": 0.51, "TA": 1.63, "EDL": 3.4, "PE": 3.61},
}
"""Smallest section of a muscle in any template, as a percentage of all muscle of its limb in the
slice. Source: the templates, which `tests/test_postprocess.py` measures."""
SECTION_SHARE = 0.8
SECTION_PERCENT = (0.2, 1.2)
"""The minimum section is this share of the smallest one, within these bounds: disease leaves less
of large muscles than templates have. Source: ours."""
MAX_HOLE_SHARE = 0.1
"""Holes below this share of their section are filled; the femur inside vastus intermedius has 0.3
of it. Source: ours."""
Muscle = Bool[np.ndarray, "z i j"]
Labels = UInt8[np.ndarray, "z i j"]
Sides = Shaped[np.ndarray, "z i j"]
Step = Callable[[Labels, Sides, Region], Labels]


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


def remove_small_sections(labels: Labels, sides: Sides, region: Region) -> Labels:
    """Remove sections of muscles, one per slice and side, below the minimum section."""
    least = np.zeros(1 + len(region.muscles))
    for muscle in region.muscles:
        percent = SECTION_SHARE * SMALLEST_SECTION[muscle.abbreviation]
        least[muscle.number] = np.clip(percent, *SECTION_PERCENT) / 100
    changed = labels.copy()
    for section, side_of in zip(changed, sides, strict=True):
        for side in np.unique(side_of):
            own = np.where(side_of == side, section, 0)
            areas = np.bincount(own.ravel(), minlength=len(least))
            areas[0] = 0
            section[(areas < least * areas.sum())[own] & (own > 0)] = 0
    return changed


def per_muscle(step: Callable[[Muscle], Muscle]) -> Step:
    """Return a function that applies a step per muscle and side."""

    def apply(labels: Labels, sides: Sides, _: Region) -> Labels:
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
    "sections": remove_small_sections,
}
"""In the order in which they are applied."""


def postprocess(
    labels: UInt8[np.ndarray, "i j k"],
    sides: Shaped[np.ndarray, "i j k"],
    axial_axis: int,
    region: Region,
    steps: Collection[str] = tuple(STEPS),
) -> UInt8[np.ndarray, "i j k"]:
    """Return labels without small connected components, holes and sections below the minimum.

    Args:
        labels: Muscle numbers, 0 elsewhere.
        sides: Side of every voxel: a muscle has one large component per limb.
        axial_axis: Axis along which slices follow one another.
        region: The region of the muscles.
        steps: Which of `STEPS` to apply.
    """
    slices, side_of = (np.moveaxis(a, axial_axis, 0) for a in (labels, sides))
    for name, step in STEPS.items():
        if name in steps:
            slices = step(slices, side_of, region)
    return np.ascontiguousarray(np.moveaxis(slices, 0, axial_axis))
