"""A fat-fraction map on the grid of a segmented scan: does it lie there, and what is its unit?

The unit is decided in labeled muscle and in the body around it, never over air, where a quotient of
two noises takes any value.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import ConvexHull

from musclejax.errors import InputError
from musclejax.prediction.maps import ScanMap, read_map
from musclejax.prediction.result import Segmentation

UNITS = {"fraction": 1.0, "percent": 100.0, "per mille": 1000.0}
"""Unit of a map -> its value of pure fat."""
_ACCEPTED = "fractions 0 to 1, percent 0 to 100, or per mille 0 to 1000"
_REMEDY = "Give fat / (fat + water), in one of these units."

# All of these: ours. Maps of two real patients and seven kinds of image in place of a map
# (tests/test_input_fat_fraction.py gives the numbers).
_TOP, _BOTTOM = 1.3, -0.3
"""Noise and bias reach these times the value of pure fat; values beyond them are unknown."""
_LEAST_PERCENT = 3.0
"""Maps whose muscle and fat stay below this, and above `_TOP`, are in no known unit."""
_FAT_SPREAD = 0.24
"""Interquartile range over median of the fat around the muscles, see `outside_muscles`: 0.07 and
0.09 in fractions of two patients, in which fat has one value; 0.27 to 0.40 in images, which coils
shade."""
_FAT_SPREAD_SEEN = 0.2
"""From here on a warning: 0.22 in the map of one patient on the scan of another."""
_FAT_SEEN = 0.5
"""Fat around the muscles has at least this share of the value of pure fat."""
_JUDGED = 0.3
"""From this share on, what is bright around the muscles is judged by its spread: above muscle,
below the fat of an image that was divided by its maximum."""
_FEWEST = 100
"""Fewer known voxels around the muscles tell nothing."""
_MASKED = 0.25
"""Nor does a map that knows less than this share of the body around the muscles."""
_ON_SCAN = 0.5
"""Share of the muscle within its field of view, of the limbs and slices that a map reaches."""
_ON_BODY = 0.7
"""Share of the body that it knows there, unless it is a map of muscle only."""
_FLAT = 1e-9
"""Rounding of a border, in pixels."""
WHOLE = 0.99
"""A map that knows less of the muscle has a warning."""


Sample = Float[np.ndarray, " _"]
"""Values of some voxels."""


class Place(NamedTuple):
    """Where a map must lie, on the scan's grid.

    Attributes:
        muscle: The labeled voxels.
        body: Those of the body; the muscle alone if no more of it is known.
        sides: 1 + index into `anatomy.SIDES`.
        axial_axis: Axis of the slices.
    """

    muscle: Bool[np.ndarray, "i j k"]
    body: Bool[np.ndarray, "i j k"]
    sides: UInt8[np.ndarray, "i j k"]
    axial_axis: int


@dataclass(frozen=True, eq=False)
class FatFraction:
    """Fat fractions of a labeled scan.

    Attributes:
        values: 0 to 1 but for noise, on the scan's grid; NaN where unknown.
        unit: Of the map: one of `UNITS`.
        coverage: Known share of the labeled muscle.
        warnings: To be read before relying on the figures.
    """

    values: Float[np.ndarray, "i j k"]
    unit: str
    coverage: float
    warnings: tuple[str, ...]


def load_fat_fraction(path: str | Path, result: Segmentation) -> Float[np.ndarray, "i j k"]:
    """Load a fat-fraction map onto the grid of a segmented scan.

    Args:
        path: Anything that `scan.study.load` reads: a NIfTI file, a DICOM file or folder. Values
            in one of `UNITS`, NaN where unknown.
        result: The segmented scan. A map on another grid is interpolated linearly.

    Returns:
        Values 0 to 1, NaN where the map is unknown.

    Raises:
        InputError: If the file is unusable, its values are no fractions, or it shows another
            place.
    """
    return to_fractions(read_map(path, result.volume), place_of(result)).values


def place_of(result: Segmentation) -> Place:
    """Return where the map of a segmented scan must lie."""
    lps = result.volume.lps
    body = lps.to_file(lps.body)
    return Place(result.labels > 0, body, result.sides.voxels, result.volume.axial_axis)


def to_fractions(fat_map: ScanMap, place: Place) -> FatFraction:
    """Decide the unit of a map from the labels, and check that it lies on the scan.

    Raises:
        InputError: If the values are no fractions, or the map lies beside the muscles.
    """
    values, muscle, body = fat_map.values, place.muscle, place.body
    known = muscle & np.isfinite(values)
    if not known.any():
        if muscle.any():
            found = "a map that knows none of the labeled muscle"
            raise InputError(fat_map.source, found, "a map of the same place")
        return FatFraction(values, "fraction", 0.0, ("no muscle is labeled: no fat is measured",))
    check_place(fat_map, place)
    inner, around = values[known], _known_values(values[body & ~muscle])
    unit = _find_unit(inner, around, fat_map.source)
    outer = _known_values(values[outside_muscles(place)])
    fat = outer if outer.size else around
    warnings = [*fat_map.warnings, *_check_fat(inner, fat, unit, fat_map.source)]
    scaled = values / np.float32(UNITS[unit])
    scaled[(scaled < _BOTTOM) | (scaled > _TOP)] = np.nan
    coverage = int((muscle & np.isfinite(scaled)).sum()) / int(muscle.sum())
    if coverage < WHOLE:
        text = f"the fat-fraction map covers {coverage:.0%} of the labeled muscle"
        warnings.append(f"{text}: see fat_fraction_coverage")
    return FatFraction(scaled, unit, coverage, tuple(warnings))


def check_place(fat_map: ScanMap, place: Place) -> None:
    """Check that a map shows the muscle and the body in every limb and slice that it reaches."""

    def share(seen: Bool[np.ndarray, "i j k"], of: Bool[np.ndarray, "i j k"]) -> float:
        shown, whole = (_by_limb_and_slice(mask, place) for mask in (seen & of, of))
        return int(shown.sum()) / max(1, int(whole[shown > 0].sum()))

    muscle, body = place.muscle, place.body
    known, remedy = np.isfinite(fat_map.values), "Give a map of the same place."
    in_view, rest = share(fat_map.inside, muscle), body & ~muscle
    if in_view < _ON_SCAN:
        found = f"a map that shows {in_view:.0%} of the muscle in the slices that it reaches"
        raise InputError(fat_map.source, found, f"{_ON_SCAN:.0%} at least", remedy)
    on_body = share(known, body)
    if (known & rest).sum() >= _MASKED * rest.sum() and on_body < _ON_BODY:
        found = f"a map that shows {on_body:.0%} of the body in the slices that it reaches"
        raise InputError(fat_map.source, found, f"{_ON_BODY:.0%} at least", remedy)


def _by_limb_and_slice(mask: Bool[np.ndarray, "i j k"], place: Place) -> Int[np.ndarray, "sides z"]:
    planes = tuple({0, 1, 2} - {place.axial_axis})
    return np.stack([(mask & (place.sides == side)).sum(planes) for side in (1, 2)])


def outside_muscles(place: Place) -> Bool[np.ndarray, "i j k"]:
    """Return the body outside the convex hull of each limb's labeled muscle, slice by slice.

    There is the fat under the skin. Within are other muscles, and in severe disease their fat is
    anything: in true maps of synthetic legs its spread is 0.32, and 0.01 without them.
    """
    outside = np.zeros_like(place.body)
    arrays = (outside, place.body, place.muscle, place.sides)
    for rim, body, muscle, sides in zip(
        *(np.moveaxis(a, place.axial_axis, 0) for a in arrays), strict=True
    ):
        for side in (1, 2):
            own = muscle & (sides == side)
            if own.any():
                rim |= body & (sides == side) & ~convex_hull(own)
    return outside


def convex_hull(mask: Bool[np.ndarray, "r c"]) -> Bool[np.ndarray, "r c"]:
    """Return the pixels whose centers lie in the convex hull of a mask.

    Of the middles of its pixels' edges, as in `skimage.morphology.convex_hull_image`, which takes
    twice as long.
    """
    rows = np.flatnonzero(mask.any(1))
    first = mask[rows].argmax(1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    steps = ((0, -0.5), (0, 0.5), (-0.5, 0), (0.5, 0))
    ends = np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])
    slope, across, offset = ConvexHull(np.concatenate([ends + step for step in steps])).equations.T
    within = np.arange(rows[0], rows[-1] + 1)
    low, high = across < -_FLAT, across > _FLAT
    # A border is where slope * row + across * column + offset = 0; inside it is less.
    column = -(slope * within[:, None] + offset) / np.where(low | high, across, 1)
    left = column[:, low].max(1, keepdims=True)
    right = column[:, high].min(1, keepdims=True)
    hull, columns = np.zeros_like(mask), np.arange(mask.shape[1])
    hull[within] = (columns >= left - _FLAT) & (columns <= right + _FLAT)
    return hull


def _known_values(values: Sample) -> Sample:
    """Return the known values of a place; none if the map knows too little there."""
    known = values[np.isfinite(values)]
    return known if known.size >= max(_FEWEST, _MASKED * values.size) else known[:0]


def _find_unit(inner: Sample, around: Sample, source: Path) -> str:
    """Return the smallest unit that the values fit, in muscle and in the body around it."""
    low, top = (float(p) for p in np.percentile(inner, (5, 95)))
    highest = max(top, float(np.percentile(around, 90)) if around.size else top)
    for unit, pure in UNITS.items():
        fits = highest <= _TOP * pure and low >= _BOTTOM * pure
        if fits and (unit == "fraction" or highest >= _LEAST_PERCENT):
            return unit
    found = f"values from {low:.3g} to {highest:.3g} in and around the muscles"
    raise InputError(source, found, _ACCEPTED, _REMEDY)


class _Fat(NamedTuple):
    """The fat in a sample of voxels: its median, and its interquartile range over that; else 0."""

    level: float
    spread: float


def _fat_of(values: Sample) -> _Fat:
    if not values.size:
        return _Fat(0.0, 0.0)
    fat = values[values > 0.5 * np.percentile(values, 95)]
    low, level, high = np.percentile(fat if fat.size else values, (25, 50, 75))
    return _Fat(float(level), float((high - low) / max(level, 1e-9)))


def _check_fat(inner: Sample, around: Sample, unit: str, source: Path) -> list[str]:
    """Check that pure fat looks like it in the map: one value, near that of its unit.

    Returns:
        Warnings.

    Raises:
        InputError: If the map looks like an image, or like a water fraction.
    """
    pure = UNITS[unit]
    fat = _fat_of(around)
    if fat.level >= _JUDGED * pure:
        if fat.spread > _FAT_SPREAD:
            found = "uneven fat around the muscles, as in an image, or in a map of another place"
            raise InputError(source, found, _ACCEPTED, _REMEDY)
        if fat.spread > _FAT_SPREAD_SEEN:
            uneven = "the fat around the muscles is uneven in the fat-fraction map"
            return [f"{uneven}: see that it fits"]
    if fat.level >= _FAT_SEEN * pure:
        return []
    if unit == "per mille":
        found = f"values up to {np.percentile(inner, 95):.3g} in muscle and no fat around it"
        raise InputError(source, found, _ACCEPTED, "Give percent.")
    if around.size:
        return ["the fat-fraction map shows no fat around the muscles: is it a fat fraction?"]
    return []
