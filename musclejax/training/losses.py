"""The loss that training minimizes."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from musclejax.training.metrics import soft_dice

KINDS = ("cross_entropy", "dice_cross_entropy")
REDUCTIONS = ("sum", "mean")


def weighted_cross_entropy(
    logits: Float[Array, "b *pixels k"],
    labels: Int[Array, " b *pixels"],
    weights: Float[Array, " b *pixels"],
    mask: Bool[Array, " b"],
) -> Float[Array, ""]:
    """Return -sum of w log p[label] over pixels and the real rows of the batch.

    With all weights 1 and no pixel axes this is the categorical cross-entropy of the classifier.

    Source: paper, Eq. 1; a sum, as in the 2021 code. That code clips p at 1e-7; the logarithm of
    the softmax needs no clipping.
    """
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    rows = (weights * entropy).reshape(len(mask), -1).sum(1)
    return jnp.where(mask, rows, 0).sum()


def dice_loss(
    logits: Float[Array, "b *pixels k"],
    labels: Int[Array, " b *pixels"],
    weights: Float[Array, " b *pixels"],
    mask: Bool[Array, " b"],
) -> Float[Array, ""]:
    """Return 1 - soft Dice over the batch, averaged over the muscles; unknown pixels left out.

    Source: Milletari et al. 2016, "V-Net"; without background and with nnU-Net's sum over the
    batch: ours.
    """
    known = (weights > 0) & mask.reshape(-1, *[1] * (labels.ndim - 1))
    return 1 - soft_dice(jax.nn.softmax(logits), labels, known)[1:].mean()


def data_loss(
    logits: Float[Array, "b *pixels k"],
    labels: Int[Array, " b *pixels"],
    weights: Float[Array, " b *pixels"],
    mask: Bool[Array, " b"],
    kind: str,
    reduction: str,
) -> Float[Array, ""]:
    """Return the loss without its L2 term.

    Args:
        logits: Network output.
        labels: True class.
        weights: Eq. 2; 0 where unknown.
        mask: False for rows of padding.
        kind: See `config.loss.kind`.
        reduction: "sum", or "mean": over all pixels of the batch.
    """
    loss = weighted_cross_entropy(logits, labels, weights, mask)
    if kind == "dice_cross_entropy":
        # Both of the size of a sum over pixels, so that neither drowns the other.
        loss += dice_loss(logits, labels, weights, mask) * weights.sum()
    return loss / labels.size if reduction == "mean" else loss


def kernel_penalty(params: object) -> Float[Array, ""]:
    """Return the sum of squares of all kernels (2021 code: kernels only, no half)."""
    leaves = jax.tree.leaves_with_path(params)
    return sum((jnp.sum(a**2) for path, a in leaves if is_kernel(path)), start=jnp.zeros(()))


def is_kernel(path: tuple) -> bool:
    """Return whether a parameter is the kernel of a convolution or dense layer."""
    return str(path[-1].key) == "kernel"
