"""Test-time augmentation (TTA): slices that the network is uncertain of are seen in a mirror too.

Most slices are left as they are. Where fat has replaced muscle, images tell the network little and
its confidence is low: there the mean with its prediction for the mirror image is better. What other
augmentations gave, and why they went: docs/development/weights-log.md.
"""

from collections.abc import Generator

import numpy as np
from jaxtyping import Float, Int

from musclejax.loops import Advance
from musclejax.models.network import Network
from musclejax.prediction.batches import Prediction, predict_labels
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions

CERTAIN = 0.94
"""Mean probability of the labels of a slice from which on it is left alone. Source: ours, chosen on
synthetic and real scans; docs/development/weights-log.md."""
MIN_PX = 100
"""Slices with fewer labeled pixels are left alone."""


def augment_steps(
    network: Network,
    images: Float[np.ndarray, "z r c"],
    predicted: Prediction,
    options: SegmentOptions,
) -> Generator[Advance, None, int]:
    """Change a prediction, in place, where it is uncertain.

    Args:
        network: A segmentation network.
        images: Its input.
        predicted: Its output for them.
        options: As they were for `predict_labels`.

    Yields:
        Slices done and their total, `images` and the uncertain ones added up.

    Returns:
        The number of uncertain slices.
    """
    indices = find_uncertain(predicted)
    size = max(1, min(options.batch_size, len(images)))
    total = len(images) + len(indices)
    for start in range(0, len(indices), size):
        yield Advance(len(images) + start, total)
        chosen = indices[start : start + size]
        # As many as there were in a batch, so that no other shape is compiled.
        full = images[np.resize(chosen, size), :, ::-1]
        mirrored = predict_labels(network, full, options).probabilities[: len(chosen), :, ::-1]
        mean = (predicted.probabilities[chosen].astype(np.float32) + mirrored) / 2
        predicted.labels[chosen] = mean.argmax(-1)
        predicted.probabilities[chosen] = np.round(mean)
        predicted.confidence[chosen] = predicted.probabilities[chosen].max(-1)
    if len(indices):
        yield Advance(total, total)
    return len(indices)


def find_uncertain(predicted: Prediction) -> Int[np.ndarray, " n"]:
    """Return the slices that the network is uncertain of."""
    muscle = predicted.labels > 0
    pixels = muscle.sum((1, 2))
    mean = np.where(muscle, predicted.confidence, 0).sum((1, 2)) / np.maximum(pixels, 1) / STEPS
    return np.flatnonzero((pixels >= MIN_PX) & (mean < CERTAIN))
