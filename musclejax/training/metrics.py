"""Figures of the curves: soft Dice with background, hard Dice of muscles, accuracy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

_EPSILON = 1e-6
"""Source: facts-2021, Loss and metrics."""


def soft_dice(
    probs: Float[Array, "b *pixels k"], labels: Int[Array, " b *pixels"], known: Bool[Array, "..."]
) -> Float[Array, " k"]:
    """Return 2 sum(p y) / (sum p + sum y + 1e-6) of each class over the whole batch.

    Its mean over all classes *with background* is the "DSC" of the paper's curves (2021 code).

    Args:
        probs: Softmax output.
        labels: True class.
        known: Which pixels count.
    """
    axes = tuple(range(labels.ndim))
    hot = jax.nn.one_hot(labels, probs.shape[-1]) * known[..., None]
    probs = probs * known[..., None]
    return 2 * (probs * hot).sum(axes) / (probs.sum(axes) + hot.sum(axes) + _EPSILON)


class Counts(NamedTuple):
    """Pixels of each class: in both, in the prediction, in the reference."""

    both: Shaped[Array | np.ndarray, " k"]
    predicted: Shaped[Array | np.ndarray, " k"]
    reference: Shaped[Array | np.ndarray, " k"]


def count_pixels(
    logits: Float[Array, "b *pixels k"], labels: Int[Array, " b *pixels"], known: Bool[Array, "..."]
) -> Counts:
    """Count the pixels of each class where the label is known."""
    classes, axes = jnp.arange(logits.shape[-1]), tuple(range(labels.ndim))
    predicted = (jnp.argmax(logits, -1)[..., None] == classes) & known[..., None]
    reference = (labels[..., None] == classes) & known[..., None]
    return Counts(*(a.sum(axes) for a in (predicted & reference, predicted, reference)))


def hard_dice(counts: Counts) -> Float[np.ndarray, " k"]:
    """Return 2 TP / (FP + 2 TP + FN) of each class; NaN where it is in neither.

    Source: paper, "Hyperparameters optimization, training and evaluation".
    """
    both, predicted, reference = (np.asarray(a, np.float64) for a in counts)
    total = predicted + reference
    return np.where(total > 0, 2 * both / np.maximum(total, 1), np.nan)
