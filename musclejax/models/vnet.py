"""The segmentation network: contracting and expanding residual paths (paper, Fig. 2 and 4)."""

from flax import linen as nn
from jaxtyping import Array, Float

from musclejax.models.cpu import onednn
from musclejax.models.cpu.convolution import depth_to_space
from musclejax.models.cpu.normalization import LazyAffine
from musclejax.models.layers import ConvolutionUnit, relu, rounded
from musclejax.models.spec import NetworkSpec


class ContractingBlock(nn.Module):
    """Downsample, then learn a residual with 3x3 convolutions (paper, Fig. 2, RB_l).

    Convolution (kernel = stride), normalization, *shortcut taken here*, then `spec.units`
    times ReLU, 3x3 convolution, normalization; add the shortcut; ReLU.
    """

    spec: NetworkSpec
    level: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww d"]:
        """Return the block's output at 1/stride of the input's height and width."""
        width, stride = self.spec.widths[self.level], self.spec.strides[self.level]
        unit = ConvolutionUnit(self.spec, width, "strided", stride, name="resample")
        shortcut = unit(x, train=train)
        return _residual_units(self.spec, width, shortcut, shortcut, train=train)


class ExpandingBlock(nn.Module):
    """Upsample, join the skip connection, learn a residual (paper, Fig. 2, RB_r).

    Transposed convolution (kernel = stride), normalization, *shortcut taken here*, ReLU,
    concatenation [skip, up] in this order, then as in the contracting block.
    """

    spec: NetworkSpec
    level: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b hh ww d"], *, train: bool
    ) -> Float[Array, "b hh ww d"]:
        """Return the block's output at the height, width and channels of `skip`."""
        width, stride = self.spec.widths[self.level], self.spec.strides[self.level + 1]
        unit = ConvolutionUnit(self.spec, width, self.spec.upsampling, stride, name="resample")
        up = unit(x, train=train)
        return _residual_units(self.spec, width, up, skip, up, train=train)


def _residual_units(
    spec: NetworkSpec, width: int, shortcut: LazyAffine, *parts: Array | LazyAffine, train: bool
) -> Array:
    def unit(number: int, *parts: Array | LazyAffine) -> LazyAffine:
        layer = ConvolutionUnit(spec, width, "plain", name=f"unit_{number}")
        output: LazyAffine = layer(*parts, train=train)
        return output

    x = unit(0, *parts)
    for number in range(1, spec.units):
        x = unit(number, x)
    total = x.evaluate() + shortcut.evaluate() if spec.residual else x.evaluate()
    return relu(spec, rounded(spec, total))


def contract(spec: NetworkSpec, image: Array, *, train: bool) -> list[Array]:
    """Apply the contracting path inside a compact module.

    Returns:
        The output of every level, finest first: level i has `spec.widths[i]` channels.
    """
    x, outputs = image, []
    for level in range(len(spec.widths)):
        x = ContractingBlock(spec, level, name=f"contract_{level}")(x, train=train)
        outputs.append(x)
    return outputs


class VNet(nn.Module):
    """Label every pixel of a slice.

    Attributes:
        spec: Widths, strides and the other choices of the variant.
        num_classes: Outputs per pixel, background included.

    Source: paper, section "Network architecture" and Fig. 4. The expanding path has one block
    fewer than the contracting one (2021 code; the paper's text says six).
    """

    spec: NetworkSpec
    num_classes: int

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 1"], *, train: bool
    ) -> Float[Array, "b h w {self.num_classes}"]:
        """Return logits; height and width must be multiples of `spec.size_multiple`."""
        *skips, x = contract(self.spec, image, train=train)
        for level in reversed(range(len(skips))):
            block = ExpandingBlock(self.spec, level, name=f"expand_{level}")
            x = block(x, skips[level], train=train)
        patch = self.spec.strides[0]
        head = nn.Dense(
            self.num_classes * patch**2,
            kernel_init=nn.initializers.glorot_normal(),
            dot_general=onednn.dot_general if self.spec.computes_bfloat16 else None,
            name="head",
        )
        return depth_to_space(head(x), patch) if patch > 1 else head(x)
