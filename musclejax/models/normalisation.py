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


class Pending(NamedTuple):
    """Activations of which every channel has still to be scaled and shifted.

    Kept apart so that the gradient needs `values` alone, which the convolution before wrote.
    """

    values: Float[Array, "b h w c"]
    gain: Float[Array, " c"] | None = None
    shift: Float[Array, " c"] | None = None

    def finished(self) -> Float[Array, "b h w c"]:
        """Return values * gain + shift; what is None is left out."""
        x = self.values if self.gain is None else self.values * self.gain
        return x if self.shift is None else x + self.shift


class Normalised(NamedTuple):
    """Activations to be normalised, and the batch's mean and variance of every channel."""

    values: Pending
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
    return Normalised(Pending(values), mean, variance)


def batch_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], offset: Float[Array, " c"]
) -> Normalised:
    """Normalise every channel by its mean and variance over the batch.

    The gradient passes through gain and shift; the mean and the variance that are returned carry
    none: they are for the running statistics.
    """
    x = _materialise(x)
    mean, variance = moments(x)
    gain = scale * lax.rsqrt(variance + BATCH_NORM_EPSILON)
    done = Pending(x, gain, offset - mean * gain)
    return Normalised(done, lax.stop_gradient(mean), lax.stop_gradient(variance))


def moments(x: Float[Array, "b h w c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return the mean and the variance of every channel, in one reading each."""
    count = x.size // x.shape[-1]
    mean = x.sum((0, 1, 2)) / count
    return mean, jnp.maximum((x * x).sum((0, 1, 2)) / count - mean**2, 0)
