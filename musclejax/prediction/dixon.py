"""Water and fat images of one scan: fat fraction, exchanged water and fat, an early echo."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from musclejax.anatomy import SIDES
from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import (
    WHOLE,
    FatFraction,
    Place,
    check_place,
    outside_muscles,
)
from musclejax.prediction.maps import ScanMap, is_single, named, onto_grid
from musclejax.scan.dicom_origin import differs_in
from musclejax.scan.series import Series
from musclejax.scan.source import place_of
from musclejax.scan.study import load
from musclejax.scan.volume import Volume, grids_differ_voxels

ECHO_MS = 1.7
"""Echo time of the synthesized image. Source: paper, first echo of the Dixon sequence."""
PERIOD_MS = 2.3
"""Time in which fat falls behind water by one turn at 3 T: 1 / (3.4 ppm x 127.7 MHz)."""

# All of these: ours, seen on water and fat of two patients (huashan_thigh).
_AIR, _BRIGHT_PERCENT = 0.04, 99
"""Below this share of this percentile of water + fat is air. It leaves out 0.04 % and 0.002 % of
muscle, and what it keeps has 1.11 and 1.22 times the voxels of the body."""
_FAT_SEEN = 0.5
_FEWEST = 100
"""Fewer voxels around the muscles of a limb tell nothing."""
_SAME_GRID_VOXELS = 0.01
_SHOWN = 6
"""Sections that a warning names at most."""


class WaterFat(NamedTuple):
    """Water and fat on the grid of a scan.

    Attributes:
        water: The water image; NaN outside its field of view.
        fat: The fat image; the same.
        sources: Their files or folders.
        warnings: What reading them had to decide.
    """

    water: Volume
    fat: Volume
    sources: tuple[Path, Path]
    warnings: tuple[str, ...] = ()


class Swaps(NamedTuple):
    """Where water and fat are exchanged.

    Attributes:
        sides: Limbs in which they are, as in `SIDES`.
        judged: Limbs that have been judged: those with enough fat around labeled muscles.
        slices: Side and slice where the answer is another one than that of the whole limb.
    """

    sides: tuple[str, ...]
    judged: tuple[str, ...]
    slices: tuple[tuple[str, int], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether they are in all limbs that could be judged."""
        return bool(self.sides) and self.sides == self.judged


def from_series(
    water: str | Path | Series, fat: str | Path | Series, volume: Volume | None = None
) -> WaterFat:
    """Read the water and the fat image of a scan.

    Args:
        water: Anything that `load` reads.
        fat: The same; of another grid than the water image only where a scan is given.
        volume: The scan onto whose grid both are brought; that of the water image if None.

    Raises:
        InputError: If a file is unusable, of another patient, or of another place.
    """
    images: list[Volume] = []
    for path in (water, fat):
        image = load(path)
        target = volume or (images[0] if images else image)
        if differs_in("PatientID", target, image):
            found = "a DICOM image of another patient (PatientID)"
            raise InputError(path, found, "water and fat of the scan's patient")
        values, inside = onto_grid(image, target, np.isfinite(image.data))
        if not inside.any():
            raise InputError(path, "an image that does not overlap the scan", "one that does")
        images.append(replace(image, data=np.maximum(values, 0), affine=target.affine))
    water_image, fat_image = images
    if np.array_equal(water_image.data, fat_image.data, equal_nan=True):
        raise InputError(fat, "the water image itself", "the fat image of this scan")
    texts = dict.fromkeys(text for image in images for text in image.warnings)
    warnings = tuple(f"water and fat: {text}" for text in texts)
    return WaterFat(water_image, fat_image, (_place(water), _place(fat)), warnings)


def _place(image: str | Path | Series) -> Path:
    return Path(place_of(image.path, image) if isinstance(image, Series) else image)


def find_water_fat(water: Path, fat: Path, names: Sequence[str], volume: Volume) -> WaterFat:
    """Read the water and the fat image of a scan from files, or from folders.

    Args:
        water: An image, or a folder with one per scan, named like it.
        fat: The same of fat.
        names: Names of the scan.
        volume: The scan.

    Raises:
        InputError: As of `from_series`; or if a folder has no image of the scan.
    """
    files = [path if is_single(path) else named(path, names) for path in (water, fat)]
    return from_series(files[0], files[1], volume)


def is_one_of(volume: Volume, pair: WaterFat) -> bool:
    """Return whether a scan is the water or the fat image itself."""
    scan = np.maximum(volume.data, 0)
    return any(np.array_equal(scan, image.data) for image in (pair.water, pair.fat))


def synthesize(water: Volume, fat: Volume, echo_ms: float = ECHO_MS) -> Volume:
    """Return an image like a gradient echo at 3 T, from water and fat on one grid.

    |water + fat exp(i phase)| with phase = 2 pi echo_ms / 2.3: one peak of fat, no decay. Exchanged
    water and fat give the same image.

    Args:
        water: The water image; name, header and files of the result are its own.
        fat: The fat image.
        echo_ms: Echo time in ms; the default is that of the paper's first echo.

    Raises:
        InputError: If their grids differ.
    """
    grids = (water.data.shape, water.affine), (fat.data.shape, fat.affine)
    if not grids_differ_voxels(*grids[0], *grids[1]) < _SAME_GRID_VOXELS:
        found, own = (" x ".join(map(str, image.data.shape)) for image in (fat, water))
        raise InputError(fat.name, f"a fat image of {found} voxels", f"the grid of water, {own}")
    phase = 2 * np.pi * echo_ms / PERIOD_MS
    w, f = (np.nan_to_num(np.maximum(image.data, 0)) for image in (water, fat))
    square = w**2 + f**2 + 2 * np.float32(np.cos(phase)) * w * f
    return replace(water, data=np.sqrt(np.maximum(square, 0)).astype(np.float32))


def fat_fraction(water: Volume, fat: Volume) -> Float[np.ndarray, "i j k"]:
    """Return fat / (fat + water), 0 to 1; NaN in air, where it is a quotient of two noises."""
    total = np.nan_to_num(water.data + fat.data)
    threshold = _AIR * np.percentile(total, _BRIGHT_PERCENT)
    body = (total > 0) & (total >= threshold)
    fraction = np.full(total.shape, np.nan, np.float32)
    return np.divide(fat.data, total, out=fraction, where=body)


def find_swaps(fraction: Float[np.ndarray, "i j k"], place: Place) -> Swaps:
    """Find the limbs in which water and fat are exchanged.

    Fat lies under the skin, outside the hull of the labeled muscles. There the median fraction is
    high, and higher than in the muscles; where water and fat are exchanged, it is low, and lower.
    Half of the difference is added to it, so that neither a lean limb, with little under the skin,
    nor a muscle replaced by fat is taken for an exchange. Source: ours.

    Args:
        fraction: As of `fat_fraction`.
        place: Of the labeled muscle.
    """
    known = np.isfinite(fraction)
    outside, inside = known & outside_muscles(place), known & place.muscle
    swapped: dict[str, bool] = {}
    slices = []
    for number, side in enumerate(SIDES, 1):
        masks = [mask & (place.sides == number) for mask in (outside, inside)]
        answer = _is_swapped(fraction, masks)
        if answer is None:
            continue
        swapped[side] = answer
        by_slice = (np.moveaxis(array, place.axial_axis, 0) for array in (fraction, *masks))
        answers = [_is_swapped(v, parts) for v, *parts in zip(*by_slice, strict=True)]
        slices += [(side, z) for z, own in enumerate(answers) if own is (not answer)]
    return Swaps(tuple(side for side in swapped if swapped[side]), tuple(swapped), tuple(slices))


def _is_swapped(values: np.ndarray, masks: Sequence[np.ndarray]) -> bool | None:
    """Return whether water and fat are exchanged, by what lies around and in muscles.

    None where there is too little of either.
    """
    around, inside = (values[mask] for mask in masks)
    if min(around.size, inside.size) < _FEWEST:
        return None
    outer, inner = float(np.median(around)), float(np.median(inside))
    return outer + (outer - inner) / 2 < _FAT_SEEN


def correct_swaps(
    fraction: Float[np.ndarray, "i j k"], swaps: Swaps, place: Place
) -> Float[np.ndarray, "i j k"]:
    """Return the fat fraction with water and fat exchanged back."""
    if swaps.whole:
        return 1 - fraction
    numbers = [SIDES.index(side) + 1 for side in swaps.sides]
    return np.where(np.isin(place.sides, numbers), 1 - fraction, fraction)


def measure_dixon(pair: WaterFat, place: Place) -> tuple[FatFraction, Swaps]:
    """Return the fat fraction of a labeled scan, exchanged water and fat corrected; and where.

    Raises:
        InputError: If water and fat show another place than the labels.
    """
    fraction, warnings = fat_fraction(pair.water, pair.fat), list(pair.warnings)
    known = place.muscle & np.isfinite(fraction)
    if not known.any():
        warnings.append("water and fat show none of the labeled muscle: no fat is measured")
        return FatFraction(fraction, "fraction", 0.0, tuple(warnings)), Swaps((), ())
    inside = np.isfinite(pair.water.data) & np.isfinite(pair.fat.data)
    check_place(ScanMap(Path("water and fat"), fraction, inside), place)
    swaps = find_swaps(fraction, place)
    if swaps.sides:
        where = "the whole image" if swaps.whole else f"the {swaps.sides[0]} limb"
        warnings.append(f"water and fat are exchanged in {where}: corrected, see the fat fraction")
        fraction = correct_swaps(fraction, swaps, place)
    if swaps.slices:
        named = ", ".join(f"{side} {z}" for side, z in swaps.slices[:_SHOWN])
        more = ", ..." if len(swaps.slices) > _SHOWN else ""
        text = f"in {len(swaps.slices)} sections water and fat look exchanged against the rest"
        warnings.append(f"{text} of the limb: not corrected (slices from 0: {named}{more})")
    if not swaps.judged:
        warnings.append("too little around the muscles to see whether water and fat are exchanged")
    coverage = int(known.sum()) / int(place.muscle.sum())
    if coverage < WHOLE:
        text = f"water and fat cover {coverage:.0%} of the labeled muscle"
        warnings.append(f"{text}: see fat_fraction_coverage")
    return FatFraction(fraction, "fraction", coverage, tuple(warnings)), swaps
