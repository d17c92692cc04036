"""A convolution of one shape, or one of its gradients, as oneDNN computes it."""

import ctypes
from collections.abc import Sequence
from typing import Any

from musclejax.models.cpu.onednn_library import do, engine, library
from musclejax.models.cpu.onednn_primitive import (
    ARGUMENT,
    F32,
    FORWARD_TRAINING,
    Room,
    Step,
    attributes,
    described,
    dims,
    execute,
    image_of,
    kernel_strides,
    memory_of,
    place,
    reorder,
    step,
)

_DIRECT = 1
_DESCRIPTOR_OF = {"src": 129, "diff_src": 130, "weights": 131, "diff_weights": 132}
_DESCRIPTOR_OF |= {"dst": 133, "diff_dst": 134}
OPERANDS = {
    "forward": ("src", "weights", "dst"),
    "backward_data": ("diff_dst", "weights", "diff_src"),
    "backward_weights": ("src", "diff_dst", "diff_weights"),
}
"""Kind -> arguments and result."""


_at = ctypes.byref


class Convolution:
    """A k x k convolution of one shape, k being odd, or one of its gradients.

    Outside, images are [b, h, w, c] and kernels [k, k, c, d], as XLA holds them; inside, the kernel
    has the layout that oneDNN likes best. In bfloat16 the kernel is rounded inside; outside, it and
    its gradient are float32.
    """

    def __init__(
        self,
        kind: str,
        sizes: Sequence[int],
        dtype: int = F32,
        result: int = F32,
    ) -> None:
        """Prepare.

        Args:
            kind: One of `OPERANDS`.
            sizes: Batch, height, width, channels of input and output, size of the kernel.
            dtype: Of the images, `F32` or `BF16`.
            result: Of the output; gradients have the type that goes with the images.
        """
        b, h, w, c, d, k = sizes
        image = image_of(b, c, h, w, dtype)
        output = image_of(b, d, h, w, result if kind == "forward" else dtype)
        any_kernel, kernel = (
            described((d, c, k, k), dtype=dtype),
            described((d, c, k, k), kernel_strides(c, d, k)),
        )
        one, none, pad = dims((1, 1)), dims((0, 0)), dims((k // 2, k // 2))
        geometry = (one, none, pad, pad)
        forward, chosen = ctypes.c_void_p(), ctypes.c_void_p()
        shapes: tuple[Any, ...] = (image, any_kernel, None, output, *geometry, attributes())
        do(
            "convolution_forward_primitive_desc_create",
            _at(forward),
            engine(),
            FORWARD_TRAINING,
            _DIRECT,
            *shapes,
        )
        if kind == "forward":
            chosen = forward
        elif kind == "backward_data":
            shapes = (image, any_kernel, output, *geometry, forward, attributes())
            do(
                "convolution_backward_data_primitive_desc_create",
                _at(chosen),
                engine(),
                _DIRECT,
                *shapes,
            )
        else:
            any_gradient = described((d, c, k, k))  # sums over all pixels: float32
            shapes = (image, any_gradient, None, output, *geometry, forward, attributes())
            do(
                "convolution_backward_weights_primitive_desc_create",
                _at(chosen),
                engine(),
                _DIRECT,
                *shapes,
            )
        outside = {"src": image, "diff_src": image, "dst": output, "diff_dst": output}
        self._memory: list[ctypes.c_void_p] = []
        self._rooms: list[Room] = []
        operands: list[tuple[int, ctypes.c_void_p]] = []
        before: list[Step] = []
        after: list[Step] = []
        for name in OPERANDS[kind]:
            is_result = name == OPERANDS[kind][-1]
            memory, reordering = self._bind(
                name, outside.get(name, kernel), chosen, is_result=is_result
            )
            operands.append((ARGUMENT[name], memory))
            (after if is_result else before).extend(reordering)
        self._steps = [*before, step(chosen, operands), *after]

    def _bind(
        self, name: str, given: Any, chosen: Any, *, is_result: bool
    ) -> tuple[ctypes.c_void_p, list[Step]]:
        """Return what the primitive is given: an operand as XLA holds it, or a reordered copy."""
        user = memory_of(given)
        self._memory.append(user)
        wanted = ctypes.c_void_p(
            library().dnnl_primitive_desc_query_md(chosen, _DESCRIPTOR_OF[name], 0)
        )
        if library().dnnl_memory_desc_equal(given, wanted):
            return user, []
        copy = memory_of(wanted)
        self._rooms.append(Room(library().dnnl_memory_desc_get_size(wanted), [copy]))
        if is_result:
            return copy, [reorder(wanted, given, copy, user)]
        return copy, [reorder(given, wanted, user, copy)]

    def __call__(self, addresses: Sequence[int]) -> None:
        """Compute.

        Args:
            addresses: Of the arguments, then of the result, as in `OPERANDS`.
        """
        for memory, address in zip(self._memory, addresses, strict=True):
            place(memory, address)
        execute(self._steps, self._rooms)
