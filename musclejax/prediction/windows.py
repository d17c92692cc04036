"""Windows of slices, as large as the network's training images, in place of whole slices.

Air costs as much time as muscle, and a network that was trained on windows (`data.crop_px`) has
never met a wide margin of it.
"""

import math
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from musclejax.anatomy import SLICE_PX
from musclejax.data.slices import limb_box
from musclejax.loops import Advance
from musclejax.models.network import Network
from musclejax.prediction.batches import SlicePrediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.tta import Totals, predict_steps
from musclejax.scan.slices import Computed, Slices

TakeWindow = Callable[[int, SlicePrediction, tuple[slice, slice]], object]
"""What takes the prediction for a slice: in a window, and which rows and columns that shows."""
STEP_PX = 48
"""Windows grow in such steps, or in larger ones that a network needs: few sizes are compiled."""


class Windows(NamedTuple):
    """Windows of the slices of one scan.

    Attributes:
        size: Rows and columns, the same for all slices.
        corners: First row and first column in each slice.
    """

    size: tuple[int, int]
    corners: Int[np.ndarray, "z 2"]

    def inside(self, z: int) -> tuple[slice, slice]:
        """Return the rows and columns of a slice that its window shows."""
        (first, left), (height, width) = self.corners[z].tolist(), self.size
        return slice(first, first + height), slice(left, left + width)


def find_windows(body: Slices, least: tuple[int, int], step: int = STEP_PX) -> Windows:
    """Return windows around the body, in each slice around its middle there.

    Args:
        body: Which pixels of the model slices show the body.
        least: Minimum of rows and columns; more where the body of any slice needs more.
        step: Larger sizes are multiples of it.
    """
    whole = np.array([0, SLICE_PX - 1] * 2, np.float32)
    found = np.array([limb_box(body[z]) for z in range(len(body))])
    shown = np.isfinite(found).all(1)
    boxes = np.where(shown[:, None], found, whole)
    first, last = boxes[:, ::2], boxes[:, 1::2]
    most = (last - first + 1)[shown].max(0, initial=0)
    size = [
        min(SLICE_PX, max(axis, step * math.ceil(need / step)))
        for axis, need in zip(least, most, strict=True)
    ]
    corners = np.round((first + last + 1 - size) / 2).astype(int)
    return Windows((size[0], size[1]), np.clip(corners, 0, SLICE_PX - np.array(size)))


def predict_in_windows_steps(
    network: Network, slices: Slices, body: Slices, options: SegmentOptions, take: TakeWindow
) -> Generator[Advance, None, Totals]:
    """Segment slices in windows as large as the network's training images; beyond is background.

    Args:
        network: A segmentation network.
        slices: On the model grid, normalized.
        body: Which of their pixels show the body.
        options: Engine, precision, batch size, and whether to augment at test time.
        take: Takes the prediction for each slice.

    Yields:
        Slices done and their total, which grows by the slices with test-time augmentation.
    """
    step = math.lcm(STEP_PX, network.spec.size_multiple)
    windows = find_windows(body, tuple(network.config.data.crop_px), step)
    cut = Computed(len(slices), lambda z: slices[z][windows.inside(z)])

    def place(z: int, part: SlicePrediction) -> None:
        take(z, part, windows.inside(z))

    return (yield from predict_steps(network, cut, options, place))


def paste(part: SlicePrediction, inside: tuple[slice, slice]) -> SlicePrediction:
    """Put a window back into a slice that is background elsewhere."""
    probabilities = np.zeros((SLICE_PX, SLICE_PX, part.probabilities.shape[-1]), np.uint8)
    probabilities[..., 0] = STEPS
    labels, confidence = np.zeros_like(probabilities[..., 0]), probabilities[..., 0].copy()
    whole = SlicePrediction(labels, confidence, probabilities)
    for slice_values, values in zip(whole, part, strict=True):
        slice_values[inside] = values
    return whole
