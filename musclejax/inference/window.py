"""The part of a slice that a network is given: as large as what it was trained on.

Air costs as much as muscle, and a network that was trained on windows (`data.crop_px`) has never
met a wide margin of it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from musclejax.config import SLICE_PX
from musclejax.data.slices import limb_box
from musclejax.inference.engines import STEPS
from musclejax.inference.predictor import predict_labels
from musclejax.inference.second_look import find_splits, look_again
from musclejax.models.weights import Network
from musclejax.scan.intensity import body_mask

STEP_PX = 48
"""Windows grow in such steps, or in larger ones that a network needs: few sizes are compiled."""


class Slice(NamedTuple):
    """What is said of a slice of the model grid.

    Attributes:
        labels: Most probable class.
        confidence: Its probability, in steps of 1/255.
        probabilities: Of every class, in such steps.
    """

    labels: UInt8[np.ndarray, "r c"]
    confidence: UInt8[np.ndarray, "r c"]
    probabilities: UInt8[np.ndarray, "r c k"]


class Predicted(NamedTuple):
    """What is said of a scan.

    Attributes:
        slices: Each put back into the model grid as it is asked for.
        twice: How many of them have a limb that was looked at twice.
        certainty: Mean probability of the muscles' labels at first sight; 0 of none.
    """

    slices: Iterator[Slice]
    twice: int
    certainty: float


class Windows(NamedTuple):
    """Windows of the slices of one scan.

    Attributes:
        size: Rows and columns, the same for all slices.
        corners: First row and first column in each slice.
    """

    size: tuple[int, int]
    corners: Int[np.ndarray, "z 2"]


def find_windows(
    body: Bool[np.ndarray, "z r c"], least: tuple[int, int], step: int = STEP_PX
) -> Windows:
    """Return windows around the body, in each slice around its middle there.

    Args:
        body: Which pixels of the model slices show the body.
        least: Rows and columns to have at least; more where the body of any slice needs more.
        step: What larger sizes are multiples of.
    """
    whole = np.array([0, SLICE_PX - 1] * 2, np.float32)
    boxes = np.array([limb_box(mask) if mask.any() else whole for mask in body])
    first, last = boxes[:, ::2], boxes[:, 1::2]
    shown = body.any((1, 2))
    most = (last - first + 1)[shown].max(0, initial=0)
    size = [
        min(SLICE_PX, max(axis, step * math.ceil(need / step)))
        for axis, need in zip(least, most, strict=True)
    ]
    corners = np.round((first + last + 1 - size) / 2).astype(int)
    return Windows((size[0], size[1]), np.clip(corners, 0, SLICE_PX - np.array(size)))


def predict_in_windows(
    network: Network,
    slices: Float[np.ndarray, "z r c"],
    scaled: Float[np.ndarray, "z r c"],
    *,
    second_look: bool = False,
    extend: Callable[[int], None] = lambda slices: None,
    advance: Callable[[int], None] = lambda slices: None,
    **options: Any,
) -> Predicted:
    """Segment slices in the windows that the network was trained on; beyond is background.

    Args:
        network: A segmentation network.
        slices: On the model grid, in the scanner's intensities.
        scaled: The same, normalised.
        second_look: Whether to look twice at limbs of which the network is not sure; see
            `inference.second_look`.
        extend: Called with the number of slices to be looked at twice.
        advance: Called with the number of slices done, after each batch; with one that is looked
            at twice as often.
        options: As for `predictor.predict_labels`.
    """
    body = body_mask(slices)
    step = math.lcm(STEP_PX, network.spec.size_multiple)
    windows = find_windows(body, tuple(network.config.data.crop_px), step)
    cut = _cut(scaled, windows)
    seen = predict_labels(network, cut, advance=advance, **options)
    sure = seen.confidence[seen.labels > 0]
    certainty = float(sure.mean() / STEPS) if sure.size else 0.0
    twice = 0
    if second_look:
        splits = find_splits(body, windows.corners[:, 1])
        twice = look_again(network, cut, seen, splits, extend=extend, advance=advance, **options)
    parts = map(Slice, seen.labels, seen.confidence, seen.probabilities)
    pasted = (_paste(*pair) for pair in zip(parts, windows.corners, strict=True))
    return Predicted(pasted, twice, certainty)


def _cut(slices: Shaped[np.ndarray, "z r c"], windows: Windows) -> Shaped[np.ndarray, "z h w"]:
    height, width = windows.size
    pairs = zip(slices, windows.corners, strict=True)
    return np.stack([image[r : r + height, c : c + width] for image, (r, c) in pairs])


def _paste(part: Slice, corner: Int[np.ndarray, " 2"]) -> Slice:
    """Put a window back into a slice that is background elsewhere."""
    every = np.zeros((SLICE_PX, SLICE_PX, part.probabilities.shape[-1]), np.uint8)
    every[..., 0] = STEPS
    labels, confidence = np.zeros_like(every[..., 0]), every[..., 0].copy()
    (first, left), (height, width) = corner, part.labels.shape
    inside = slice(first, first + height), slice(left, left + width)
    whole = Slice(labels, confidence, every)
    for slice_values, values in zip(whole, part, strict=True):
        slice_values[inside] = values
    return whole
