"""Batch normalization and ReLU with hand-written gradients, beside their plain references."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

BATCH_NORM_EPSILON = 1e-3
"""Source: 2021 code (Keras's default)."""
_materialize = lax.optimization_barrier


class LazyAffine(NamedTuple):
    """Activations whose channels are scaled and shifted later, where they are used.

    The gradient then needs `values` alone, which the convolution before has written.
    """

    values: Float[Array, "b h w c"]
    gain: Float[Array, " c"] | None = None
    shift: Float[Array, " c"] | None = None

    def evaluate(self) -> Float[Array, "b h w c"]:
        """Return values * gain + shift; a factor or summand that is None is left out."""
        x = self.values if self.gain is None else self.values * self.gain
        return x if self.shift is None else x + self.shift


class Normalized(NamedTuple):
    """Normalized activations, not yet evaluated, and the batch's mean and variance per channel."""

    values: LazyAffine
    mean: Float[Array, " c"]
    variance: Float[Array, " c"]


def plain_relu(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return max(x, 0): the reference."""
    return jax.nn.relu(x)


@jax.custom_vjp
def relu(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return max(x, 0); its gradient needs the output only, which the next layer keeps anyway."""
    return jnp.maximum(x, 0)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    y = _materialize(jnp.maximum(x, 0))
    return y, y


def _relu_backward(y: Array, dy: Array) -> tuple[Array]:
    return (jnp.where(y > 0, dy, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def plain_batch_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], offset: Float[Array, " c"]
) -> Normalized:
    """Normalize every channel by its mean and variance over the batch: the reference."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    values = (x - mean) * lax.rsqrt(variance + BATCH_NORM_EPSILON) * scale + offset
    return Normalized(LazyAffine(values), mean, variance)


def batch_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], offset: Float[Array, " c"]
) -> Normalized:
    """Normalize every channel by its mean and variance over the batch.

    The gradient passes through gain and shift; the mean and the variance that are returned carry
    none: they are for the running statistics.
    """
    x = _materialize(x)
    mean, variance = moments(x)
    gain = scale * lax.rsqrt(variance + BATCH_NORM_EPSILON)
    done = LazyAffine(x, gain, offset - mean * gain)
    return Normalized(done, lax.stop_gradient(mean), lax.stop_gradient(variance))


def moments(x: Float[Array, "b h w c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return the mean and the variance of every channel, in one reading each."""
    count = x.size // x.shape[-1]
    mean = x.sum((0, 1, 2)) / count
    return mean, jnp.maximum((x * x).sum((0, 1, 2)) / count - mean**2, 0)
