"""A fat-fraction map on the grid of a segmented scan: does it lie there, and what is its unit?

The unit is decided in labeled muscle and in the body around it, never over air, where a quotient of
two noises takes any value.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage
from skimage.morphology import convex_hull_image

from musclejax.errors import InputError
from musclejax.files import reading
from musclejax.prediction.result import Segmentation
from musclejax.scan.dicom_origin import differs_in
from musclejax.scan.study import read_volume
from musclejax.scan.volume import Volume, check_affine, grids_differ_voxels

UNITS = {"fraction": 1.0, "percent": 100.0, "per mille": 1000.0}
"""Unit of a map -> its value of pure fat."""
_ACCEPTED = "fractions 0 to 1, percent 0 to 100, or per mille 0 to 1000"
_REMEDY = "Give fat / (fat + water), in one of these units."

# All of these: ours. Maps of two real patients and seven kinds of image in place of a map
# (tests/test_input_fat_fraction.py gives the numbers).
_SAME_GRID_VOXELS = 0.01
_TOP, _BOTTOM = 1.3, -0.3
"""Noise and bias reach these times the value of pure fat; values beyond them are unknown."""
_LEAST_PERCENT = 3.0
"""Maps whose muscle and fat stay below this, and above `_TOP`, are in no known unit."""
_FAT_SPREAD = 0.24
"""Interquartile range over median of the fat around the muscles, see `_outside`: 0.07 and 0.09 in
fractions of two patients, in which fat has one value; 0.27 to 0.40 in images, which coils shade."""
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
_ZERO_BLOCK_PX = 3
"""Zeros that join the rim of a slice by ways of this width are a mask: unknown, not free of fat."""
_ON_SCAN = 0.5
"""Share of the muscle within its field of view, of the limbs and slices that a map reaches."""
_ON_BODY = 0.7
"""Share of the body that it knows there, unless it is a map of muscle only."""
_WHOLE = 0.99


Sample = Float[np.ndarray, " _"]
"""Values of some voxels."""


class FatMap(NamedTuple):
    """A map on the scan's grid, in its own unit.

    Attributes:
        source: The file or folder.
        values: NaN where unknown.
        inside: The voxels in its field of view.
        warnings: What its header leaves open.
    """

    source: Path
    values: Float[np.ndarray, "i j k"]
    inside: Bool[np.ndarray, "i j k"]
    warnings: tuple[str, ...] = ()


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


def read_map(path: str | Path, volume: Volume) -> FatMap:
    """Read a map and bring it onto a scan's grid.

    Raises:
        InputError: If the file is unusable, of another patient, or of another place.
    """
    path = Path(path)
    with reading(path, "map"):
        image = read_volume(path)
    check_affine(image, path)
    values, inside = _onto_grid(image, volume)
    if not inside.any():
        raise InputError(path, "a map that does not overlap the scan", "a map of the same place")
    if not np.isfinite(values).any():
        raise InputError(path, "no value on the scan", _ACCEPTED)
    if differs_in("PatientID", volume, image):
        found = "a DICOM map of another patient (PatientID)"
        raise InputError(path, found, "a map of the scan's patient")
    return FatMap(path, values, inside, tuple(_reading_warnings(image, volume)))


def place_of(result: Segmentation) -> Place:
    """Return where the map of a segmented scan must lie."""
    lps = result.volume.lps
    body = lps.to_file(lps.body)
    return Place(result.labels > 0, body, result.sides.voxels, result.volume.axial_axis)


def to_fractions(fat_map: FatMap, place: Place) -> FatFraction:
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
    _check_place(fat_map, place)
    inner, around = values[known], _known_values(values[body & ~muscle])
    unit = _find_unit(inner, around, fat_map.source)
    outer = _known_values(values[_outside(place)])
    fat = outer if outer.size else around
    warnings = [*fat_map.warnings, *_check_fat(inner, fat, unit, fat_map.source)]
    scaled = values / np.float32(UNITS[unit])
    scaled[(scaled < _BOTTOM) | (scaled > _TOP)] = np.nan
    coverage = int((muscle & np.isfinite(scaled)).sum()) / int(muscle.sum())
    if coverage < _WHOLE:
        text = f"the fat-fraction map covers {coverage:.0%} of the labeled muscle"
        warnings.append(f"{text}: see fat_fraction_coverage")
    return FatFraction(scaled, unit, coverage, tuple(warnings))


def _reading_warnings(image: Volume, volume: Volume) -> list[str]:
    warnings = [f"fat-fraction map: {text}" for text in image.warnings]
    if differs_in("FrameOfReferenceUID", volume, image):
        text = "the fat-fraction map has another frame of reference than the scan"
        warnings.append(f"{text}: see that they overlay")
    return warnings


def _onto_grid(
    image: Volume, volume: Volume
) -> tuple[Float[np.ndarray, "i j k"], Bool[np.ndarray, "i j k"]]:
    """Interpolate an image linearly at a scan's voxels.

    A voxel of the image reaches to its faces, so that rounded affines lose no rim, and a single
    slice has its thickness. Unknown neighbors do not count unless they have most of the weight.

    Returns:
        The values, NaN where unknown; and the voxels within the image's field of view.
    """
    data = np.where(_is_known(image), image.data, np.float32(np.nan)).astype(np.float32)
    apart = grids_differ_voxels(volume.data.shape, volume.affine, data.shape, image.affine)
    if apart < _SAME_GRID_VOXELS:
        return data, np.ones(data.shape, bool)
    known = np.isfinite(data).astype(np.float32)
    filled = np.where(known > 0, data, np.float32(0))
    matrix = np.linalg.solve(image.affine, volume.affine)
    last, edge = np.array(data.shape)[:, None] - 1, 0.5 + _SAME_GRID_VOXELS
    i, j, depth = volume.data.shape
    plane = np.stack([n.ravel() for n in np.indices((i, j, 1))]).astype(float)
    values = np.full(volume.data.shape, np.nan, np.float32)
    inside = np.zeros(volume.data.shape, bool)
    for k in range(depth):
        plane[2] = k
        at = matrix[:3, :3] @ plane + matrix[:3, 3:]
        within = ((at >= -edge) & (at <= last + edge)).all(0)
        at = np.clip(at, 0, last)[:, within]
        total, share = (ndimage.map_coordinates(a, at, order=1) for a in (filled, known))
        inside[..., k] = within.reshape(i, j)
        values[..., k][inside[..., k]] = np.where(
            share >= 0.5, total / np.maximum(share, 0.5), np.float32(np.nan)
        )
    return values, inside


def _is_known(image: Volume) -> Bool[np.ndarray, "i j k"]:
    """Return where a map has values: not NaN, and not the zeros of a mask around the body."""
    axis = image.axial_axis
    zeros = np.moveaxis(image.data == 0, axis, 0)
    block, in_plane = np.ones((1, _ZERO_BLOCK_PX, _ZERO_BLOCK_PX)), np.zeros((3, 3, 3))
    in_plane[1] = 1
    # What lies beyond the rim counts as zero, so that a mask of one pixel is one.
    padded = np.pad(zeros, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    parts, _ = ndimage.label(ndimage.binary_opening(padded, block), in_plane)
    rim = np.ones(parts.shape[1:], bool)
    rim[1:-1, 1:-1] = False
    masked = np.isin(parts, parts[:, rim]) & (parts > 0)
    masked = masked[:, 1:-1, 1:-1]
    return np.isfinite(image.data) & ~np.moveaxis(masked, 0, axis)


def _check_place(fat_map: FatMap, place: Place) -> None:
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


def _outside(place: Place) -> Bool[np.ndarray, "i j k"]:
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
                box = ndimage.find_objects(own.astype(np.uint8))[0]
                hull = np.zeros_like(own)
                hull[box] = convex_hull_image(own[box])
                rim |= body & (sides == side) & ~hull
    return outside


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
