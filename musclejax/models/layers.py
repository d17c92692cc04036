"""Convolutions in the forms that are fast on a CPU, and the convolution-normalisation unit."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from musclejax.models.spec import NetworkSpec

BATCH_NORM_EPSILON = 1e-3
"""Source: 2021 code (Keras's default)."""
MAX_GROUPS = 8
"""Groups of group normalisation where the width allows. Source: ours."""

_KERNEL_INIT = nn.initializers.glorot_normal()  # Source: paper, section "Network architecture"


def space_to_depth(
    x: Float[Array, "b h w c"], stride: int
) -> Float[Array, "b h//{stride} w//{stride} c*{stride}**2"]:
    """Move each stride x stride patch into the channels, in row, column, channel order."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // stride, stride, w // stride, stride, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // stride, w // stride, -1)


def depth_to_space(
    x: Float[Array, "b h w c"], stride: int
) -> Float[Array, "b h*{stride} w*{stride} c//{stride}**2"]:
    """Undo `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, stride, stride, c // stride**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * stride, w * stride, -1)


def strided_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h//k w//k d"]:
    """Convolve with stride = kernel size, without padding, as one matrix product.

    Height and width must be multiples of the kernel size.

    Source: 2021 code (the first convolution of a contracting block). Equals
    `flax.linen.Conv(d, (k, k), strides=(k, k), padding="VALID")` without its bias.
    """
    k, _, c, d = kernel.shape
    patches = space_to_depth(x, k) if k > 1 else x
    return patches @ kernel.reshape(k * k * c, d)


def transposed_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h*k w*k d"]:
    """Spread every pixel over a k x k patch (stride = kernel size) as one matrix product.

    XLA's own transposed convolution is far slower on a CPU, because it convolves zeros.

    Source: 2021 code (the first layer of an expanding block; Keras stores the kernel as
    (k, k, d, c)). Equals `flax.linen.ConvTranspose(d, (k, k), strides=(k, k))` with the kernel
    flipped in both directions, without its bias.
    """
    k, _, c, d = kernel.shape
    spread = x @ kernel.transpose(2, 0, 1, 3).reshape(c, k * k * d)
    return depth_to_space(spread, k) if k > 1 else spread


def nearest_upsampling_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c d"], stride: int
) -> Float[Array, "b h*{stride} w*{stride} d"]:
    """Convolve 1 x 1, then repeat every pixel stride x stride times.

    The two commute, and this order costs stride squared times less.
    """
    y = x @ kernel[0, 0]
    return jnp.repeat(jnp.repeat(y, stride, axis=1), stride, axis=2)


def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h w d"]:
    """Convolve with stride 1 and zero padding that keeps height and width."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class ConvolutionUnit(nn.Module):
    """A convolution, its bias and a normalisation: the unit that networks are made of.

    Attributes:
        features: Output channels.
        kind: "plain" (3x3, stride 1), "strided" (kernel = stride), "transposed"
            (kernel = stride) or "nearest" (1x1 after nearest-neighbour upsampling).
        norm: "batch", "group" or "none" (what a folded network has).
        stride: Down- or upsampling factor.
        momentum: Of batch norm's running statistics; see `NetworkSpec`.
    """

    features: int
    kind: str
    norm: str
    stride: int = 1
    momentum: float = NetworkSpec.momentum

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww d"]:
        """Return the normalised convolution of `x`, before any nonlinearity."""
        size = {"plain": 3, "nearest": 1}.get(self.kind, self.stride)
        kernel = self.param("kernel", _KERNEL_INIT, (size, size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return self._normalise(self._convolve(x, kernel) + bias, train)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        match self.kind:
            case "plain":
                return convolution(x, kernel)
            case "strided":
                return strided_convolution(x, kernel)
            case "transposed":
                return transposed_convolution(x, kernel)
            case "nearest":
                return nearest_upsampling_convolution(x, kernel, self.stride)
        raise ValueError(f"kind={self.kind!r}: use plain, strided, transposed or nearest")

    def _normalise(self, x: jax.Array, train: bool) -> jax.Array:
        match self.norm:
            case "batch":
                return nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.momentum,
                    epsilon=BATCH_NORM_EPSILON,
                    name="norm",
                )(x)
            case "group":
                groups = math.gcd(self.features, MAX_GROUPS)
                return nn.GroupNorm(num_groups=groups, name="norm")(x)
            case "none":
                return x
        raise ValueError(f"norm={self.norm!r}: use batch, group or none")
