"""Test-time augmentation (TTA): slices that the network is uncertain of are seen in a mirror too.

Most slices are left as they are. Where fat has replaced muscle, images tell the network little and
its confidence is low: there the mean with its prediction for the mirror image is better. What other
augmentations gave, and why they went: docs/development/weights-log.md.
"""

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from musclejax.loops import Advance
from musclejax.models.network import Network
from musclejax.prediction.batches import SlicePrediction, batch_size, predict_batch
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.scan.slices import Slices

CERTAIN = 0.94
"""Mean probability of the labels of a slice from which on it is left alone. Source: ours, chosen on
synthetic and real scans; docs/development/weights-log.md."""
MIN_PX = 100
"""Slices with fewer labeled pixels are left alone."""


Take = Callable[[int, SlicePrediction], object]
"""What takes the prediction for a slice, in any order of slices."""


class Totals(NamedTuple):
    """What was predicted of a scan.

    Attributes:
        confidence: Mean probability of the muscles' labels before augmentation; 0 of none.
        tta_slices: Number of slices with test-time augmentation.
    """

    confidence: float
    tta_slices: int


def predict_steps(
    network: Network, slices: Slices, options: SegmentOptions, take: Take
) -> Generator[Advance, None, Totals]:
    """Segment slices in full batches: mirror images of uncertain ones fill the next batch.

    No more than a batch of predictions is kept.

    Args:
        network: A segmentation network.
        slices: Normalized; height and width multiples of the network's `size_multiple`.
        options: Engine, precision, batch size, and whether to augment at test time.
        take: Takes the prediction for each slice.

    Yields:
        Slices done and their total, which grows by the uncertain ones.
    """
    size, count = batch_size(len(slices), options), len(slices)
    uncertain: dict[int, SlicePrediction] = {}
    begun = augmented = certainty = pixels = 0
    while begun < count or uncertain:
        again, uncertain = uncertain, {}
        fresh = range(begun, min(count, begun + size - len(again)))
        images = [slices[z][:, ::-1] for z in again] + [slices[z] for z in fresh]
        predicted = predict_batch(network, np.stack(images), size, options)
        parts = list(map(SlicePrediction, *predicted))
        for (z, first), mirrored in zip(again.items(), parts, strict=False):
            take(z, _mean(first, mirrored))
        for z, part in zip(fresh, parts[len(again) :], strict=True):
            muscle = part.confidence[part.labels > 0]
            certainty, pixels = certainty + int(muscle.sum()), pixels + muscle.size
            if options.tta and is_uncertain(muscle):
                uncertain[z] = part
            else:
                take(z, part)
        begun, augmented = fresh.stop, augmented + len(uncertain)
        yield Advance(begun + augmented - len(uncertain), count + augmented)
    return Totals(certainty / max(1, pixels) / STEPS, augmented)


def is_uncertain(muscle: UInt8[np.ndarray, " n"]) -> bool:
    """Return whether the network is uncertain of a slice, by its confidence in the muscles."""
    return len(muscle) >= MIN_PX and float(muscle.mean()) / STEPS < CERTAIN


def _mean(first: SlicePrediction, mirrored: SlicePrediction) -> SlicePrediction:
    """Return the mean of the predictions for a slice and for its mirror image."""
    mean = (first.probabilities.astype(np.float32) + mirrored.probabilities[:, ::-1]) / 2
    steps = np.round(mean).astype(np.uint8)
    return SlicePrediction(mean.argmax(-1).astype(np.uint8), steps.max(-1), steps)
