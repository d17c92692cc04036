"""The specification of a network: plain data, which is stored with its weights."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from musclejax.errors import InputError
from musclejax.options import Precision

NORMS = ("batch", "group", "none")
UPSAMPLINGS = ("transposed", "nearest")
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CONVOLUTIONS = ("xla", "onednn")
_CHOICES = {
    "norm": NORMS,
    "upsampling": UPSAMPLINGS,
    "precision": PRECISIONS,
    "convolutions": CONVOLUTIONS,
}

MAX_LEVELS, MAX_WIDTH, MAX_STRIDE, MAX_UNITS = 12, 8192, 16, 16
"""Upper bounds of a specification: a file must not cause unbounded work."""


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
        upsampling: "transposed" convolution or "nearest" neighbor.
        dropout: Input dropout rate while training.
        momentum: Share of the old running statistics that batch norm keeps at each step (2021 code:
            Keras's default).
        reference: Use the plain forms of all layers, which are slow, instead of the fast ones.
        convolutions: What computes the 3x3 convolutions of the fast form: "xla" or "onednn".
        rematerialize: Whether training computes a layer's input again for its gradient rather than
            keep it; on one device only, see `cpu.rematerialization`.
        precision: "float32", or "bfloat16": with oneDNN, activations and their gradients; with
            XLA, operands of matrix products while predicting. Weights and sums are float32.

    Raises:
        InputError: If a field is outside what is listed here.
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
    rematerialize: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check in Python, so that nothing inside a jitted function has to."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError.choice(name, getattr(self, name), choices)
        levels = len(self.widths)
        for name, accepted, holds in (
            ("widths", f"1 to {MAX_LEVELS} widths", 1 <= levels <= MAX_LEVELS),
            ("widths", f"each 1 to {MAX_WIDTH}", _within(self.widths, MAX_WIDTH)),
            ("strides", f"{levels}, one per width", len(self.strides) == levels),
            ("strides", f"each 1 to {MAX_STRIDE}", _within(self.strides, MAX_STRIDE)),
            ("units", f"1 to {MAX_UNITS}", 1 <= self.units <= MAX_UNITS),
            ("dropout", "0 to less than 1", 0 <= self.dropout < 1),
            ("momentum", "0 to less than 1", 0 <= self.momentum < 1),
        ):
            if not holds:
                raise InputError(name, str(getattr(self, name)), accepted)

    @property
    def architecture(self) -> tuple[Any, ...]:
        """The fields that fix the function; the others fix how it is computed and trained."""
        shape = self.widths, self.strides, self.units
        return *shape, self.norm, self.residual, self.upsampling

    @property
    def computes_bfloat16(self) -> bool:
        """Whether activations are kept in bfloat16: what oneDNN convolves in that type."""
        onednn = self.convolutions == "onednn" and not self.reference
        return onednn and self.precision == "bfloat16"

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return math.prod(self.strides)


def _within(values: tuple[int, ...], most: int) -> bool:
    return all(1 <= value <= most for value in values)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KINDS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("an integer", _is_integer),
    float: ("a number", lambda value: isinstance(value, float) or _is_integer(value)),
    str: ("text", lambda value: isinstance(value, str)),
    tuple: ("integers", lambda value: isinstance(value, list) and all(map(_is_integer, value))),
}
"""Type of a field's default -> its name in errors, and what JSON may hold for it."""


def spec_from_json(values: Mapping[str, Any]) -> NetworkSpec:
    """Return the specification in a file; fields that are left out have their defaults.

    Raises:
        InputError: If it has a field that does not exist (the nearest one is named), or one of
            another type or beyond its bounds.
    """
    defaults = {field.name: field.default for field in fields(NetworkSpec)}
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in defaults:
            raise InputError.choice("field", name, defaults)
        accepted, fits = _KINDS[type(defaults[name])]
        if not fits(value):
            raise InputError(name, repr(value)[:60], accepted)
        made[name] = tuple(value) if isinstance(value, list) else value
    return NetworkSpec(**made)
