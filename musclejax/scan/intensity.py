"""Scanner intensities to network input, by the weights' own configuration."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from ml_collections import ConfigDict
from scipy import ndimage
from skimage.filters import threshold_otsu

from musclejax.errors import InputError, count_of
from musclejax.scan.slices import Slices, planes

_MARGIN_MM = 12.0
"""Around the body, where a picture is cropped."""
_NEIGHBORS_PX, _OFTEN = 5, 0.1
"""Pixels are those of the body if it has so large a share of all slices there, and in so wide a
square around. Source: ours; noise has 0.01, and over 60 slices half of all pixels show it once."""

# All of these: ours. In no real scan at hand does one of them act (tests/test_input_intensity.py).
_SPIKE_RANGES = 20.0
"""Voxels this many times the scan's range away from it are no signal: a vessel reaches three."""
_SPIKE_SD = 30.0
"""Nothing is a spike unless the brightest or the darkest voxel is so many standard deviations
away; in real scans 5 to 18. Spares the percentiles."""
_RIM_SHARE = 0.5
"""A value that so much of the rim of the slices has is that of a mask or of padding."""
_AIR_LEVEL = 0.1
"""Share of the contrast of body to air by which air may differ from 0; in real scans 0.00."""
_DARKEST_PERCENT = 0.01
_SAMPLE = 250_000
_BINS = 256
"""Of the histogram for Otsu's threshold. Source: scikit-image's default."""

Step = tuple[Float[np.ndarray, "x y z"], str]
"""An image, and the warning about what was done to it; empty if it is the same."""


class Leveled(NamedTuple):
    """Intensities as a magnitude image has them.

    Attributes:
        data: The image itself if nothing was to be done.
        body_threshold: Intensity of `data` from which a voxel shows the body; see the function.
        warnings: What was done, a line each.
    """

    data: Float[np.ndarray, "x y z"]
    body_threshold: float
    warnings: tuple[str, ...] = ()


def level(image: Float[np.ndarray, "x y z"]) -> Leveled:
    """Bring air to 0, as the networks know it; other scans are returned as they are.

    Three things that scanners do not write but programs do: voxels far beyond all others, a mask
    or padding of another value than air, and an offset or a z-score.

    Args:
        image: Axial slices along the last axis.
    """
    warnings = []
    for step in (_cut_spikes, _fill_padding, _fill_mask):
        image, warning = step(image)
        warnings.append(warning)
    threshold = body_threshold(image)
    air = _find_air(image, threshold)
    if air:
        image, threshold = image - np.float32(air), threshold - air
        warnings.append(f"air has intensity {air:.4g}, not 0: it was subtracted")
    return Leveled(image, threshold, tuple(filter(None, warnings)))


def _cut_spikes(image: Float[np.ndarray, "x y z"]) -> Step:
    low, high = float(image.min()), float(image.max())
    mean = mean_of(planes(image))
    # Slice by slice: NumPy's own takes the memory of two more images.
    sd = math.sqrt(mean_of(np.square(plane - mean) for plane in planes(image)))
    if max(high - mean, mean - low) <= _SPIKE_SD * sd:
        return image, ""
    bottom, top = (float(p) for p in np.percentile(image, (0.01, 99.99)))
    reach = _SPIKE_RANGES * (top - bottom)
    spikes = (image < bottom - reach) | (image > top + reach)
    count = int(spikes.sum())
    if not count:
        return image, ""
    what = f"{count_of(count, 'voxel')} of up to {max(high, -low):.3g}, far beyond all others"
    cut = np.clip(image, np.float32(bottom), np.float32(top))
    return np.where(spikes, cut, image), f"{what}: cut to {bottom:.4g} to {top:.4g}"


def mean_of(slices: Iterable[Float[np.ndarray, "x y"]]) -> float:
    """Return the mean of slices of one size."""
    return float(np.mean([plane.mean(dtype=np.float64) for plane in slices]))


def _fill_padding(image: Float[np.ndarray, "x y z"]) -> Step:
    """Give padding far below a picture without negative values that of its darkest part."""
    value = image.min()
    if value >= 0:
        return image, ""
    low, high = _range_without(value, image)
    padding = low >= 0 and low - float(value) > high - low
    return _fill(image, value, low) if padding else (image, "")


def _fill_mask(image: Float[np.ndarray, "x y z"]) -> Step:
    """Give a mask that lies within the range of the body the value of its darkest part.

    It comes from a z-score of the body only.
    """
    rim = np.concatenate([image[[0, -1]].ravel(), image[:, [0, -1]].ravel()])
    values, counts = np.unique(rim, return_counts=True)
    value = values[int(np.argmax(counts))]
    if np.max(counts) < _RIM_SHARE * rim.size:
        return image, ""
    low, high = _range_without(value, image)
    within = float(value) - low > _AIR_LEVEL * (high - low)
    return _fill(image, value, low) if within else (image, "")


def _range_without(
    value: np.floating[Any], image: Float[np.ndarray, "x y z"]
) -> tuple[float, float]:
    """Return the lowest and highest intensity, but for 1 %, of voxels of other values."""
    sample = _sample(image)
    rest = sample[sample != value]
    if not rest.size:
        return float(value), float(value)
    low, high = np.percentile(rest, (1, 99))
    return float(low), float(high)


def _fill(image: Float[np.ndarray, "x y z"], value: np.floating[Any], low: float) -> Step:
    warning = f"the background has intensity {value:.4g}: {low:.4g} was taken for it"
    return np.where(image == value, np.float32(low), image), warning


def _find_air(image: Float[np.ndarray, "x y z"], threshold: float) -> float:
    """Return the intensity of air to subtract; 0 if air is dark already."""
    sample = _sample(image)
    body = sample >= threshold
    if body.all() or not body.any():
        return 0.0
    dark = sample[~body]
    air = float(np.percentile(dark, 1))
    limit = _AIR_LEVEL * (float(np.median(sample[body])) - air)
    # A picture without air has dark voxels all the same; overshoots of interpolation lie around 0.
    if np.percentile(sample, _DARKEST_PERCENT) <= limit and np.median(dark) >= -limit:
        return 0.0
    return air


def _sample(image: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "n 1 1"]:
    """Return evenly spaced voxels, enough for percentiles."""
    step = max(1, image.size // _SAMPLE) | 1  # odd, lest it keep to some columns
    return image.flat[::step].reshape(-1, 1, 1)


def normalize(slices: Float[np.ndarray, "z r c"], intensity: ConfigDict) -> np.ndarray:
    """Return the slices as the network expects them.

    Args:
        slices: Model slices of one scan, as the scanner gave them.
        intensity: `config.intensity` of the network: "raw", "divide" or "percentile".

    Returns:
        The same shape, float32. "percentile" maps the given percentile of the voxels above the
        scan's mean to 1: air does not count, and a few bright vessels do not matter.

    Raises:
        InputError: If the mode does not exist.

    Source: "raw" and "divide": facts-2021, section Inference; "percentile": ours.
    """
    return np.asarray(slices / find_scale(slices, intensity))


def find_scale(slices: Slices, intensity: ConfigDict) -> np.float32:
    """Return what the slices of a scan are divided by; see `normalize`."""
    match intensity.mode:
        case "raw":
            return np.float32(1)
        case "divide":
            return np.float32(intensity.divisor)
        case "percentile":
            scale = _bright_percentile(slices, intensity.percentile)
            return np.float32(scale if scale > 0 else 1)
    raise InputError("intensity.mode", repr(intensity.mode), "raw, divide or percentile")


def _bright_percentile(slices: Slices, percent: float) -> float:
    """Return a percentile of the voxels above the mean of a scan; 0 without any."""
    places = range(len(slices))
    mean = np.mean([slices[z].mean(dtype=np.float64) for z in places])
    bright = (plane[plane > mean] for plane in map(slices.__getitem__, places))
    return percentile_of(bright, percent, most=len(slices) * slices[0].size)


def percentile_of(parts: Iterable[Float[np.ndarray, " n"]], percent: float, most: int) -> float:
    """Return the percentile of values that come part by part, as NumPy's; 0 without any.

    Only values that may be as large are kept: few for a high percentile.

    Args:
        parts: The values.
        percent: Which percentile.
        most: Number of values that there may be.
    """
    share, count = percent / 100, 0
    kept, largest, least = math.ceil(most * (1 - share)) + 2, np.zeros(0, np.float32), -np.inf
    for part in parts:
        count += part.size
        largest = np.concatenate([largest, part[part >= least]])
        if largest.size > 1.25 * kept:
            largest = np.partition(largest, -kept)[-kept:].copy()
            least = largest[0]
    if not count:
        return 0.0
    place = (count - 1) * share
    before = min(math.floor(place), max(0, count - 2)) - count
    largest.sort()
    low, high, part_way = largest[before], largest[min(before + 1, -1)], place - count - before
    near, way = (low, part_way) if part_way < 0.5 else (high, part_way - 1)
    return float(near + (high - low) * way)


def body_threshold(image: Shaped[np.ndarray, "i j k"]) -> float:
    """Return the intensity from which a voxel shows the body rather than air.

    Half of Otsu's threshold above the darkest voxel, so that tissue far from the coil counts and
    negative values do no harm. Source: ours.
    """
    darkest = image.min()
    span = image.max() - darkest
    if not span > 0:
        return float(darkest)
    # Part by part: scikit-image takes the memory of three more images.
    parts = np.moveaxis(image, int(np.argmax(np.abs(image.strides))), 0)
    found = [np.histogram(part - darkest, _BINS, (span * 0, span)) for part in parts]
    edges = found[0][1]
    histogram = np.sum([counts for counts, _ in found], 0), (edges[:-1] + edges[1:]) / 2
    return float(darkest + threshold_otsu(hist=histogram) / 2)


def body_mask(image: Shaped[np.ndarray, "i j k"]) -> Bool[np.ndarray, "i j k"]:
    """Return the voxels that show the body; of a scan, `Volume.lps.body` is that already."""
    return np.asarray(image >= body_threshold(image))


def body_box(shown: Float[np.ndarray, "x y"], x_mm: float, y_mm: float) -> tuple[slice, slice]:
    """Return the part of the axial plane that shows anything, with a margin.

    Pixels count that show something in several slices, as their neighbors do: noise does not.

    Args:
        shown: Share of the slices that show something in each pixel.
        x_mm: Distance of pixels along x.
        y_mm: Along y.
    """
    often = (shown > _OFTEN) & (ndimage.uniform_filter(shown, _NEIGHBORS_PX) > _OFTEN)
    body = often if often.any() else shown > 0
    box = []
    for axis, spacing in ((0, x_mm), (1, y_mm)):
        # A share of the pixels, not one: noise and wrap are not the body.
        share = np.cumsum(body.sum(1 - axis)) / max(1, int(body.sum()))
        first, last = np.searchsorted(share, (0.002, 0.998))
        margin = round(_MARGIN_MM / spacing)
        box.append(slice(max(0, int(first) - margin), int(last) + margin + 1))
    return box[0], box[1]
