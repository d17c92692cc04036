"""Places along a limb, as studies report them: shares of its length, distances from a joint.

Where both joints are in view, the length is measured; else it is estimated from the levels, and
where one joint is in view, places at fixed distances from it are given too.
"""

from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, Int

from musclejax import anatomy
from musclejax.scan.volume import Volume

PERCENT = (30, 50, 70)
"""Of the length from the upper joint to the lower one."""
DISTANCES_MM = (100, 150, 200)
"""From a joint."""
JOINTS = {"thigh": ("hip", "knee"), "leg": ("knee", "ankle")}
"""Region -> the joint above and the joint below."""


class Place(NamedTuple):
    """Where a section is.

    Attributes:
        at: In words.
        percent: Of the length from the upper joint; NaN for a distance.
        joint: That it is a distance from; "" for a percentage.
        distance_mm: From it; NaN for a percentage.
        length: "measured" (both joints in view), "estimated", or "" for a distance.
        height_mm: Along the scan, of its slices' `heights_mm`.
    """

    at: str
    percent: float
    joint: str
    distance_mm: float
    length: str
    height_mm: float


def heights_mm(volume: Volume) -> Float[np.ndarray, " z"]:
    """Return the height in the scanner of the middle of each axial slice."""
    middle = (np.array(volume.data.shape, float) - 1) / 2
    at = np.tile(middle, (volume.data.shape[volume.axial_axis], 1))
    at[:, volume.axial_axis] = np.arange(len(at))
    return np.asarray(nib.affines.apply_affine(volume.affine, at)[:, 2])


def find_places(
    level: Float[np.ndarray, " z"], heights: Float[np.ndarray, " z"], region: str
) -> list[Place]:
    """Return the places in view of one limb.

    Args:
        level: Of each slice; NaN where the limb is not in view.
        heights: In the scanner, in mm.
        region: "thigh" or "leg".
    """
    upper, lower = JOINTS[region]
    top = list(anatomy.REGIONS).index(region)
    joints = {
        name: _height_of(float(top + n), level, heights) for n, name in enumerate((upper, lower))
    }
    length = "estimated" if None in joints.values() else "measured"
    places = []
    for percent in PERCENT:
        height = _height_of(top + percent / 100, level, heights)
        if height is not None:
            at = f"{percent} % of the {anatomy.REGIONS[region].title.lower()}"
            places.append(Place(at, percent, "", np.nan, length, height))
    seen = [name for name, height in joints.items() if height is not None]
    if len(seen) != 1:
        return places
    [joint] = seen
    word, sign = ("below", -1) if joint == upper else ("above", 1)
    low, high = (f(heights[np.isfinite(level)]) for f in (np.min, np.max))
    for mm in DISTANCES_MM:
        height = (joints[joint] or 0.0) + sign * mm
        if low <= height <= high:
            at = f"{mm} mm {word} the {joint} joint"
            places.append(Place(at, np.nan, joint, mm, "", height))
    return places


def _height_of(
    wanted: float, level: Float[np.ndarray, " z"], heights: Float[np.ndarray, " z"]
) -> float | None:
    """Return the height of a level; None if it is not in view."""
    seen = np.isfinite(level)
    if not seen.any() or not level[seen].min() <= wanted <= level[seen].max():
        return None
    order = np.argsort(level[seen])
    return float(np.interp(wanted, level[seen][order], heights[seen][order]))


def between(
    height_mm: float, heights: Float[np.ndarray, " z"]
) -> tuple[Int[np.ndarray, " near"], Float[np.ndarray, " near"]]:
    """Return the two slices nearest to a height, one of a single slice, and their weights."""
    order = np.argsort(heights)
    position = np.interp(height_mm, heights[order], np.arange(len(order)))
    before = min(int(position), max(len(order) - 2, 0))
    near = order[before : before + 2]
    return near, np.array([1 - (position - before), position - before])[: len(near)]
