"""Windows of slices, as large as the network's training images, in place of whole slices.

Air costs as much time as muscle, and a network that was trained on windows (`data.crop_px`) has
never met a wide margin of it.
"""

import math
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from musclejax.anatomy import SLICE_PX
from musclejax.data.slices import limb_box
from musclejax.loops import Advance, result_of
from musclejax.models.network import Network
from musclejax.prediction.batches import predict_labels_steps
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.tta import augment_steps

STEP_PX = 48
"""Windows grow in such steps, or in larger ones that a network needs: few sizes are compiled."""


class SlicePrediction(NamedTuple):
    """Output of a segmentation network for one slice of the model grid.

    Attributes:
        labels: Most probable class.
        confidence: Its probability, in steps of 1/255.
        probabilities: Of every class, in such steps.
    """

    labels: UInt8[np.ndarray, "r c"]
    confidence: UInt8[np.ndarray, "r c"]
    probabilities: UInt8[np.ndarray, "r c k"]


class ScanPrediction(NamedTuple):
    """Output of a segmentation network for a scan.

    Attributes:
        slices: Each put back into the model grid when it is requested.
        tta_slices: Number of slices with test-time augmentation.
        confidence: Mean probability of the muscles' labels before augmentation; 0 of none.
    """

    slices: Iterator[SlicePrediction]
    tta_slices: int
    confidence: float


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
        least: Minimum of rows and columns; more where the body of any slice needs more.
        step: Larger sizes are multiples of it.
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
    body: Bool[np.ndarray, "z r c"],
    options: SegmentOptions,
) -> ScanPrediction:
    """Segment slices in windows; see `predict_in_windows_steps`."""
    return result_of(predict_in_windows_steps(network, slices, body, options))


def predict_in_windows_steps(
    network: Network,
    slices: Float[np.ndarray, "z r c"],
    body: Bool[np.ndarray, "z r c"],
    options: SegmentOptions,
) -> Generator[Advance, None, ScanPrediction]:
    """Segment slices in windows as large as the network's training images; beyond is background.

    Args:
        network: A segmentation network.
        slices: On the model grid, normalized.
        body: Which of their pixels show the body.
        options: Engine, precision, batch size, and whether to augment at test time.

    Yields:
        Slices done and their total, which grows by the slices with test-time augmentation.
    """
    step = math.lcm(STEP_PX, network.spec.size_multiple)
    windows = find_windows(body, tuple(network.config.data.crop_px), step)
    cut = _cut(slices, windows)
    predicted = yield from predict_labels_steps(network, cut, options)
    muscle = predicted.confidence[predicted.labels > 0]
    confidence = float(muscle.mean() / STEPS) if muscle.size else 0.0
    augmented = 0
    if options.tta:
        augmented = yield from augment_steps(network, cut, predicted, options)
    parts = map(SlicePrediction, *predicted)
    pasted = (_paste(*pair) for pair in zip(parts, windows.corners, strict=True))
    return ScanPrediction(pasted, augmented, confidence)


def _cut(slices: Shaped[np.ndarray, "z r c"], windows: Windows) -> Shaped[np.ndarray, "z h w"]:
    height, width = windows.size
    pairs = zip(slices, windows.corners, strict=True)
    return np.stack([image[r : r + height, c : c + width] for image, (r, c) in pairs])


def _paste(part: SlicePrediction, corner: Int[np.ndarray, " 2"]) -> SlicePrediction:
    """Put a window back into a slice that is background elsewhere."""
    probabilities = np.zeros((SLICE_PX, SLICE_PX, part.probabilities.shape[-1]), np.uint8)
    probabilities[..., 0] = STEPS
    labels, confidence = np.zeros_like(probabilities[..., 0]), probabilities[..., 0].copy()
    (first, left), (height, width) = corner, part.labels.shape
    inside = slice(first, first + height), slice(left, left + width)
    whole = SlicePrediction(labels, confidence, probabilities)
    for slice_values, values in zip(whole, part, strict=True):
        slice_values[inside] = values
    return whole
