"""Batch normalization of one shape, or its gradient, as oneDNN computes it."""

import ctypes
from collections.abc import Sequence

from musclejax.models.cpu.onednn_library import do, engine
from musclejax.models.cpu.onednn_primitive import (
    ARGUMENT,
    FORWARD_TRAINING,
    attributes,
    described,
    execute,
    image_of,
    memory_of,
    place,
    step,
)

_BACKWARD = 128
_WITH_SCALE, _WITH_SHIFT = 2, 4
OPERANDS = {
    "normalize": ("src", "scale", "shift", "dst", "mean", "variance"),
    "normalize_backward": (
        *("src", "diff_dst", "mean", "variance", "scale"),
        *("diff_src", "diff_scale", "diff_shift"),
    ),
}
"""Kind -> arguments and results: images [b, h, w, c], and float32 [c]."""
_at = ctypes.byref


class Normalization:
    """Batch normalization while training, or its gradient."""

    def __init__(self, kind: str, sizes: Sequence[int], dtype: int, epsilon: float) -> None:
        """Prepare.

        Args:
            kind: One of `OPERANDS`.
            sizes: Batch, height, width, channels.
            dtype: Of the images.
            epsilon: Added to the variance.
        """
        b, h, w, c = sizes
        image, channel = image_of(b, c, h, w, dtype), described((c,), (1,))
        how = ctypes.c_float(epsilon), ctypes.c_uint(_WITH_SCALE | _WITH_SHIFT)
        chosen, forward = ctypes.c_void_p(), ctypes.c_void_p()
        do(
            "batch_normalization_forward_primitive_desc_create",
            _at(forward),
            engine(),
            FORWARD_TRAINING,
            image,
            image,
            *how,
            attributes(),
        )
        chosen = forward
        if kind == "normalize_backward":
            chosen = ctypes.c_void_p()
            do(
                "batch_normalization_backward_primitive_desc_create",
                _at(chosen),
                engine(),
                _BACKWARD,
                image,
                image,
                image,
                *how,
                forward,
                attributes(),
            )
        images = {"src", "dst", "diff_src", "diff_dst"}
        names = OPERANDS[kind]
        self._memory = [memory_of(image if name in images else channel) for name in names]
        numbers = [ARGUMENT[name] for name in names]
        self._steps = [step(chosen, list(zip(numbers, self._memory, strict=True)))]

    def __call__(self, addresses: Sequence[int]) -> None:
        """Compute.

        Args:
            addresses: Of the arguments, then of the results, as in `OPERANDS`.
        """
        for memory, address in zip(self._memory, addresses, strict=True):
            place(memory, address)
        execute(self._steps)
