"""Batch normalisation and ReLU with hand-written gradients, beside their plain references."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

BATCH_NORM_EPSILON = 1e-3
"""Source: 2021 code (Keras's default)."""
_materialise = lax.optimization_barrier


class Normalised(NamedTuple):
    """Normalised activations, and the batch's mean and variance of every channel."""

    values: Float[Array, "b h w c"]
    mean: Float[Array, " c"]
    variance: Float[Array, " c"]


def plain_relu(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return max(x, 0): the reference."""
    return nn.relu(x)


@jax.custom_vjp
def relu(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return max(x, 0); its gradient needs the output only, which the next layer keeps anyway."""
    return jnp.maximum(x, 0)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    y = _materialise(jnp.maximum(x, 0))
    return y, y


def _relu_backward(y: Array, dy: Array) -> tuple[Array]:
    return (jnp.where(y > 0, dy, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def plain_batch_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], offset: Float[Array, " c"]
) -> Normalised:
    """Normalise every channel by its mean and variance over the batch: the reference."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    values = (x - mean) * lax.rsqrt(variance + BATCH_NORM_EPSILON) * scale + offset
    return Normalised(values, mean, variance)


@jax.custom_vjp
def batch_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], offset: Float[Array, " c"]
) -> Normalised:
    """Normalise every channel by its mean and variance over the batch.

    Mean and variance carry no gradient of their own: they are for the running statistics.
    """
    return _batch_norm_forward(x, scale, offset)[0]


def _batch_norm_forward(x: Array, scale: Array, offset: Array) -> tuple[Normalised, tuple]:
    x = _materialise(x)
    mean, variance = moments(x)
    inverse = lax.rsqrt(variance + BATCH_NORM_EPSILON)
    gain = scale * inverse
    values = x * gain + (offset - mean * gain)
    return Normalised(values, mean, variance), (x, scale, mean, inverse)


def _batch_norm_backward(saved: tuple, gradient: Normalised) -> tuple[Array, Array, Array]:
    x, scale, mean, inverse = saved
    dy = _materialise(gradient.values)
    # Two reductions, not one of pairs: XLA's reduction of pairs is six times slower.
    d_offset, product = dy.sum((0, 1, 2)), (dy * x).sum((0, 1, 2))
    d_scale = (product - mean * d_offset) * inverse
    count = x.size // x.shape[-1]
    # dx = gain (dy - mean(dy) - x_hat mean(dy x_hat)), gathered by powers of x.
    gain = scale * inverse
    slope = -gain * inverse * d_scale / count
    return dy * gain + x * slope - (gain * d_offset / count + mean * slope), d_scale, d_offset


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def moments(x: Float[Array, "b h w c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return the mean and the variance of every channel, in one reading each."""
    count = x.size // x.shape[-1]
    mean = x.sum((0, 1, 2)) / count
    return mean, jnp.maximum((x * x).sum((0, 1, 2)) / count - mean**2, 0)
