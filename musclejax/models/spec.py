"""What distinguishes one network from another: plain data."""

import math
from dataclasses import dataclass

NORMS = ("batch", "group", "none")
UPSAMPLINGS = ("transposed", "nearest")
PRECISIONS = ("float32", "bfloat16")
CONVOLUTIONS = ("xla", "onednn")


@dataclass(frozen=True)
class NetworkSpec:
    """The choices that make a variant.

    Attributes:
        widths: Channels of each level, finest first.
        strides: Downsampling factor into each level (= kernel size of the resampling
            convolution). The paper's first is 1; with s, the finest level sees patches of s x s
            pixels and the last layer gives the classes of a patch at once.
        units: 3x3 convolutions in a block.
        norm: "batch", "group", or "none" (a network with its batch norm folded).
        residual: Whether a block adds its shortcut; without it the network is a U-Net.
        upsampling: "transposed" convolution or "nearest" neighbour.
        dropout: Input dropout rate while training.
        momentum: Share of the old running statistics that batch norm keeps at each step (2021 code:
            Keras's default).
        reference: Use the plain forms of all layers, which are slow, instead of the fast ones.
        convolutions: What computes the 3x3 convolutions of the fast form: "xla" or "onednn".
        recompute: Whether training computes a layer's input again for its gradient rather than keep
            it; on one device only, see `recompute`.
        precision: "float32", or "bfloat16": operands of matrix products while predicting.

    Raises:
        ValueError: If a field is outside what is listed here.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    strides: tuple[int, ...] = (1, 2, 2, 2, 2, 3)
    units: int = 2
    norm: str = "batch"
    residual: bool = True
    upsampling: str = "transposed"
    dropout: float = 0.2
    momentum: float = 0.99
    reference: bool = False
    convolutions: str = "xla"
    recompute: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check in Python, so that nothing inside a jitted function has to."""
        # JSON gives lists; the module must stay hashable.
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "strides", tuple(self.strides))
        checks = {
            f"widths={self.widths}: give at least one positive width": min(self.widths, default=0)
            > 0,
            f"strides={self.strides}: give one per width, {len(self.widths)}": len(self.strides)
            == len(self.widths),
            f"strides={self.strides}: all at least 1": min(self.strides, default=0) > 0,
            f"units={self.units}: give at least 1": self.units > 0,
            f"norm={self.norm!r}: use one of {NORMS}": self.norm in NORMS,
            f"upsampling={self.upsampling!r}: use one of {UPSAMPLINGS}": self.upsampling
            in UPSAMPLINGS,
            f"dropout={self.dropout}: give 0 <= dropout < 1": 0 <= self.dropout < 1,
            f"convolutions={self.convolutions!r}: use one of {CONVOLUTIONS}": self.convolutions
            in CONVOLUTIONS,
            f"precision={self.precision!r}: use one of {PRECISIONS}": self.precision in PRECISIONS,
            f"momentum={self.momentum}: give 0 <= momentum < 1": 0 <= self.momentum < 1,
        }
        for message, holds in checks.items():
            if not holds:
                raise ValueError(message)

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return math.prod(self.strides)
