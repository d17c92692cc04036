"""The thigh-or-leg classifier (paper, Fig. 3)."""

from flax import linen as nn
from jaxtyping import Array, Float

from musclejax.models.spec import NetworkSpec
from musclejax.models.vnet import contract


class RegionClassifier(nn.Module):
    """Tell the region of a thumbnail: a contracting path, flattened, and one dense layer.

    Attributes:
        spec: Widths, strides and the other choices of the variant (its classifier levels).
        num_classes: Number of regions; class 0 is the thigh, 1 the leg.

    Source: paper, section "Classification Network"; flattening in row, column, channel order
    and the dense layer on the last level only: 2021 code.
    """

    spec: NetworkSpec
    num_classes: int

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 1"], *, train: bool
    ) -> Float[Array, "b {self.num_classes}"]:
        """Return logits; the dense layer fixes height and width at initialization."""
        x = contract(self.spec, image, train=train)[-1]
        x = x.reshape(x.shape[0], -1).astype(image.dtype)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.glorot_normal(), name="head")(
            x
        )
