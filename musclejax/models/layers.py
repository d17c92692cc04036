"""The convolution-normalization unit that the networks are made of."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from musclejax.models.cpu import convolution as conv
from musclejax.models.cpu import normalization, onednn
from musclejax.models.cpu.normalization import BATCH_NORM_EPSILON, LazyAffine
from musclejax.models.cpu.rematerialization import Layer, rematerialize
from musclejax.models.spec import NetworkSpec

MAX_GROUPS = 8
"""Groups of group normalization where the width allows. Source: ours."""

_KERNEL_INIT = nn.initializers.glorot_normal()  # Source: paper, section "Network architecture"
_FAST: dict[str, Callable[..., jax.Array]] = {
    "strided": conv.strided_convolution,
    "transposed": conv.transposed_convolution,
}
_REFERENCE: dict[str, Callable[..., jax.Array]] = {
    "plain": conv.plain_convolution,
    "strided": conv.plain_strided_convolution,
    "transposed": conv.plain_transposed_convolution,
}
"""Kind of convolution -> its function, in the fast and in the plain form."""
_PLAIN_BY: dict[str, Callable[..., jax.Array]] = {
    "xla": conv.convolution,
    "onednn": onednn.convolution,
}
"""Who computes the 3x3 convolutions of the fast form -> their function."""


class ConvolutionUnit(nn.Module):
    """A convolution, its bias and a normalization.

    Attributes:
        spec: The network's choices: normalization, momentum, how to compute.
        features: Output channels.
        kind: "plain" (3x3, stride 1), "strided" (kernel = stride), "transposed"
            (kernel = stride) or "nearest" (1x1 after nearest-neighbor upsampling).
        stride: Down- or upsampling factor.
    """

    spec: NetworkSpec
    features: int
    kind: str
    stride: int = 1

    @nn.compact
    def __call__(self, *parts: jax.Array | LazyAffine, train: bool) -> LazyAffine:
        """Return the normalized convolution of the parts joined, before any nonlinearity.

        Args:
            *parts: [b, h, w, c] each: an activation as it is, or a unit's output, which is
                normalized and rectified here. The gradient does that again, so that no layer keeps
                its input beside the output of the layer before.
            train: Whether to normalize by the batch.
        """
        size = {"plain": 3, "nearest": 1}.get(self.kind, self.stride)
        channels = sum(_values(part).shape[-1] for part in parts)
        # Flax traces this to compare shapes: drawing is half of the time of tracing a network.
        draw = nn.initializers.zeros if self.has_variable("params", "kernel") else _KERNEL_INIT
        kernel = self.param("kernel", draw, (size, size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        convolve: Layer = partial(self._convolve, train)
        if train and self.spec.rematerialize and not self.spec.reference:
            convolve = rematerialize(convolve)
        return self._normalize(convolve(parts, kernel), bias, train)

    def _convolve(
        self, train: bool, parts: Sequence[jax.Array | LazyAffine], kernel: jax.Array
    ) -> jax.Array:
        inputs = [
            activate(self.spec, part) if isinstance(part, LazyAffine) else part for part in parts
        ]
        x = jnp.concatenate(inputs, -1) if len(inputs) > 1 else inputs[0]
        if self.spec.computes_bfloat16:
            return self._convolve_bfloat16(x, kernel)
        if self.kind == "nearest":
            return conv.nearest_upsampling_convolution(x, kernel, self.stride)
        if self.spec.reference:
            return _REFERENCE[self.kind](x, kernel)
        if self.kind != "plain":
            return _FAST[self.kind](x, kernel)
        if self.spec.precision == "bfloat16" and not train and x.shape[1] <= conv.BFLOAT16_PX:
            return conv.bfloat16_convolution(x, kernel)
        return _PLAIN_BY[self.spec.convolutions](x, kernel)

    def _convolve_bfloat16(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if x.dtype != jnp.bfloat16:  # the image
            return _FAST[self.kind](x, kernel).astype(jnp.bfloat16)
        match self.kind:
            case "strided":
                return onednn.strided_convolution(x, kernel)
            case "transposed":
                return onednn.transposed_convolution(x, kernel)
            case "nearest":
                return onednn.nearest_upsampling_convolution(x, kernel, self.stride)
        return onednn.convolution(x, kernel)

    def _normalize(self, x: jax.Array, bias: jax.Array, train: bool) -> LazyAffine:
        match self.spec.norm:
            case "batch":
                return BatchNorm(self.spec, name="norm")(x, bias, train=train)
            case "group":
                groups = math.gcd(self.features, MAX_GROUPS)
                return LazyAffine(nn.GroupNorm(num_groups=groups, name="norm")(x + bias))
        return LazyAffine(x, None, bias)


class BatchNorm(nn.Module):
    """Normalize by the batch while training, by running statistics otherwise.

    Attributes:
        spec: Momentum, and whether to use the plain forms.
    """

    spec: NetworkSpec

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], bias: Float[Array, " c"], *, train: bool
    ) -> LazyAffine:
        """Return x + bias, to be normalized.

        While training, the batch's mean takes the bias away again: it moves the running mean only,
        and has no gradient but rounding.
        """
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        offset = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            gain = scale * jax.lax.rsqrt(variance.value + BATCH_NORM_EPSILON)
            return LazyAffine(x, gain, (bias - mean.value) * gain + offset)
        bfloat16 = self.spec.computes_bfloat16
        if self.spec.reference:
            done = normalization.plain_batch_norm(x + bias, scale, offset)
        else:
            normalize = onednn.batch_norm if bfloat16 else normalization.batch_norm
            done = normalize(x, scale, offset)
            done = done._replace(mean=done.mean + bias)
        if not self.is_initializing():
            momentum = self.spec.momentum
            mean.value = momentum * mean.value + (1 - momentum) * done.mean
            variance.value = momentum * variance.value + (1 - momentum) * done.variance
        return done.values


def relu(spec: NetworkSpec, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return max(x, 0), in the form that the network uses."""
    return normalization.plain_relu(x) if spec.reference else normalization.relu(x)


def activate(spec: NetworkSpec, x: LazyAffine) -> Float[Array, "b h w c"]:
    """Return a unit's output, normalized and rectified."""
    return relu(spec, rounded(spec, x.evaluate()))


def rounded(spec: NetworkSpec, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return activations in the type that the network keeps them in."""
    return x.astype(jnp.bfloat16) if spec.computes_bfloat16 else x


def _values(part: jax.Array | LazyAffine) -> jax.Array:
    return part.values if isinstance(part, LazyAffine) else part
