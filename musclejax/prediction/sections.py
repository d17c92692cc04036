"""Cross-sections at shares of a limb's length, as studies report them.

Where both joints are in view, the length is measured; else it is estimated from the levels, and
where one joint is in view, sections at fixed distances from it are given too.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from musclejax import anatomy
from musclejax.prediction.measurement import FatFraction, heights_mm, measure_slices
from musclejax.prediction.result import Segmentation

PERCENT = (30, 50, 70)
"""Of the length from the upper joint to the lower one."""
DISTANCES_MM = (100, 150, 200)
"""From a joint."""
JOINTS = {"thigh": ("hip", "knee"), "leg": ("knee", "ankle")}
"""Region -> the joint above and the joint below."""
SECTION_COLUMNS = [
    *("side", "at", "percent", "joint", "distance_mm", "length", "level", "level_sd", "z_mm"),
    *("muscle", "name", "label", "area_cm2", "fat_fraction", "warnings"),
]


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


def measure_sections(result: Segmentation, fat_fraction: FatFraction | None = None) -> pd.DataFrame:
    """Measure cross-sections at 30, 50 and 70 % of a limb's length, and at distances from a joint.

    Args:
        result: A segmented scan.
        fat_fraction: As for `measure_muscles`.

    Returns:
        A row per side, place and muscle, none without levels: side, at (in words), percent, joint
        and distance_mm, length ("measured" or "estimated"), level and level_sd, z_mm, muscle,
        name, label, area_cm2 and fat_fraction (between the two nearest slices), warnings. A
        muscle that is not there has 0 cm2. Places out of view have no row.
    """
    rows: list[dict[str, object]] = []
    if result.levels is not None:
        table = measure_slices(result, fat_fraction)
        heights = heights_mm(result.volume)
        for index, side in enumerate(anatomy.SIDES):
            level, sd = result.levels.level[:, index], result.levels.sd[:, index]
            own = table[(table["side"] == side) & (table["label"] > 0)]
            for place in find_places(level, heights, result.region):
                found = _rows(result, own, place, heights, (level, sd))
                rows += [{"side": side, **row} for row in found]
    return pd.DataFrame(rows, columns=SECTION_COLUMNS)


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


def _rows(
    result: Segmentation,
    own: pd.DataFrame,
    place: Place,
    heights: Float[np.ndarray, " z"],
    levels: tuple[np.ndarray, np.ndarray],
) -> list[dict[str, object]]:
    """Return the rows of one place: figures between the two nearest slices."""
    order = np.argsort(heights)
    position = np.interp(place.height_mm, heights[order], np.arange(len(order)))
    before = min(int(position), max(len(order) - 2, 0))
    near = order[before : before + 2]
    shares = np.array([1 - (position - before), position - before])[: len(near)]
    known = {"z_mm": place.height_mm}
    for name, values in zip(("level", "level_sd"), levels, strict=True):
        known[name] = float(np.nansum(values[near] * shares))
    rows = []
    for muscle in result.shown_muscles:
        here = own[own["label"] == muscle.number].set_index("slice").reindex(near)
        area = here["area_cm2"].fillna(0).to_numpy(float)
        weights = shares * area
        fat = here["fat_fraction"].fillna(0).to_numpy(float)
        mean = float(weights @ fat / weights.sum()) if weights.sum() else np.nan
        rows.append(
            {
                **place._asdict(),
                **known,
                "muscle": muscle.abbreviation,
                "name": muscle.name,
                "label": muscle.number,
                "area_cm2": float(shares @ area),
                "fat_fraction": mean if here["fat_fraction"].notna().any() else np.nan,
                "warnings": "; ".join(result.warnings),
            }
        )
    return rows
