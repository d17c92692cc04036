"""A 3 x 3 convolution of one shape, or one of its gradients, as oneDNN computes it.

Source: https://uxlfoundation.github.io/oneDNN; the numbers are those of `dnnl_types.h` and hold for
all of 3.x.
"""

import ctypes
import mmap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from musclejax.models.cpu.onednn_library import do, engine, library, run, stream

_F32, _ANY, _DIRECT, _TRAINING = 3, 1, 1, 64
_DESCRIPTOR_OF = {"src": 129, "diff_src": 130, "weights": 131, "diff_weights": 132}
_DESCRIPTOR_OF |= {"dst": 133, "diff_dst": 134, "scratchpad": 136}
_ARGUMENT = {"src": 1, "diff_src": 129, "weights": 33, "diff_weights": 161}
_ARGUMENT |= {"dst": 17, "diff_dst": 145, "scratchpad": 80}
_HANDED_OVER = 1
_PAGE = 4096
OPERANDS = {
    "forward": ("src", "weights", "dst"),
    "backward_data": ("diff_dst", "weights", "diff_src"),
    "backward_weights": ("src", "diff_dst", "diff_weights"),
}
"""Kind -> arguments and result."""


_at = ctypes.byref


class _Step(NamedTuple):
    """A primitive with its operands, and the scratch memory that it wants: object and bytes."""

    primitive: ctypes.c_void_p
    operands: Sequence[tuple[int, ctypes.c_void_p]]
    scratch: ctypes.c_void_p
    size: int


class Convolution:
    """A 3 x 3 convolution of one shape, or one of its gradients.

    Outside, images are [b, h, w, c] and kernels [3, 3, c, d], as XLA holds them; inside, the kernel
    has the layout that oneDNN likes best.
    """

    def __init__(self, kind: str, b: int, h: int, w: int, c: int, d: int) -> None:
        image, output = _image(b, c, h, w), _image(b, d, h, w)
        any_kernel, kernel = (
            _described((d, c, 3, 3)),
            _described((d, c, 3, 3), _kernel_strides(c, d)),
        )
        one, none, pad = _dims((1, 1)), _dims((0, 0)), _dims((1, 1))
        geometry = (one, none, pad, pad)
        forward, chosen = ctypes.c_void_p(), ctypes.c_void_p()
        shapes: tuple[Any, ...] = (image, any_kernel, None, output, *geometry, _attributes())
        do(
            "convolution_forward_primitive_desc_create",
            _at(forward),
            engine(),
            _TRAINING,
            _DIRECT,
            *shapes,
        )
        if kind == "forward":
            chosen = forward
        elif kind == "backward_data":
            shapes = (image, any_kernel, output, *geometry, forward, _attributes())
            do(
                "convolution_backward_data_primitive_desc_create",
                _at(chosen),
                engine(),
                _DIRECT,
                *shapes,
            )
        else:
            shapes = (image, any_kernel, None, output, *geometry, forward, _attributes())
            do(
                "convolution_backward_weights_primitive_desc_create",
                _at(chosen),
                engine(),
                _DIRECT,
                *shapes,
            )
        outside = {"src": image, "diff_src": image, "dst": output, "diff_dst": output}
        self._memory: list[ctypes.c_void_p] = []
        self._copy: tuple[ctypes.c_void_p | None, int] = (None, 0)
        operands: list[tuple[int, ctypes.c_void_p]] = []
        before: list[_Step] = []
        after: list[_Step] = []
        for name in OPERANDS[kind]:
            is_result = name == OPERANDS[kind][-1]
            memory, reorder = self._bind(
                name, outside.get(name, kernel), chosen, is_result=is_result
            )
            operands.append((_ARGUMENT[name], memory))
            (after if is_result else before).extend(reorder)
        self._steps = [*before, _step(chosen, operands), *after]

    def _bind(
        self, name: str, given: Any, chosen: Any, *, is_result: bool
    ) -> tuple[ctypes.c_void_p, list[_Step]]:
        """Return what the primitive is given: an operand as XLA holds it, or a reordered copy."""
        user = _memory(given)
        self._memory.append(user)
        wanted = ctypes.c_void_p(
            library().dnnl_primitive_desc_query_md(chosen, _DESCRIPTOR_OF[name], 0)
        )
        if library().dnnl_memory_desc_equal(given, wanted):
            return user, []
        copy = _memory(wanted)
        self._copy = copy, library().dnnl_memory_desc_get_size(wanted)
        if is_result:
            return copy, [_reorder(wanted, given, copy, user)]
        return copy, [_reorder(given, wanted, user, copy)]

    def __call__(self, addresses: Sequence[int]) -> None:
        """Compute, one call at a time: all share one workspace.

        Args:
            addresses: Of the arguments, then of the result, as in `OPERANDS`.
        """
        for memory, address in zip(self._memory, addresses, strict=True):
            _place(memory, address)
        copy, size = self._copy
        # The copy at the beginning, scratch memory behind it.
        behind = -(-size // _PAGE) * _PAGE
        begin = _workspace(behind + max(step.size for step in self._steps))
        if copy:
            _place(copy, begin)
        for step in self._steps:
            if step.size:
                _place(step.scratch, begin + behind)
            run(step.primitive, step.operands)
        do("stream_wait", stream())


def _dims(sizes: Sequence[int]) -> Any:
    return (ctypes.c_int64 * 12)(*sizes)


def _described(sizes: Sequence[int], strides: Sequence[int] | None = None) -> ctypes.c_void_p:
    """Return a memory descriptor: with strides in elements, or of any layout."""
    described = ctypes.c_void_p()
    if strides is None:
        do("memory_desc_create_with_tag", _at(described), len(sizes), _dims(sizes), _F32, _ANY)
    else:
        do(
            "memory_desc_create_with_strides",
            _at(described),
            len(sizes),
            _dims(sizes),
            _F32,
            _dims(strides),
        )
    return described


def _image(b: int, c: int, h: int, w: int) -> ctypes.c_void_p:
    """Describe [b, h, w, c] in memory; oneDNN names the axes b, c, h, w."""
    return _described((b, c, h, w), (h * w * c, 1, w * c, c))


def _kernel_strides(c: int, d: int) -> tuple[int, int, int, int]:
    """Return the strides of [3, 3, c, d] in memory; oneDNN names the axes d, c, row, column."""
    return 1, d, 3 * c * d, c * d


def _memory(described: Any) -> ctypes.c_void_p:
    """Return a memory object that `_place` has still to give an address."""
    memory = ctypes.c_void_p()
    do("memory_create", _at(memory), described, engine(), None)
    return memory


def _place(memory: ctypes.c_void_p, address: int) -> None:
    do("memory_set_data_handle", memory, ctypes.c_void_p(address))


_grown: list[mmap.mmap] = []


def _workspace(size: int) -> int:
    """Return the address of at least so many bytes, the same for every caller."""
    if not _grown or len(_grown[0]) < size:
        _grown[:] = [mmap.mmap(-1, max(size, _PAGE))]
    return ctypes.addressof(ctypes.c_char.from_buffer(_grown[0]))


@lru_cache(maxsize=1)
def _attributes() -> ctypes.c_void_p:
    """Return the attributes of all primitives: scratch memory is handed over at each call.

    oneDNN's own belongs to the thread that made the primitive, and XLA calls from any.
    """
    attributes = ctypes.c_void_p()
    do("primitive_attr_create", _at(attributes))
    do("primitive_attr_set_scratchpad_mode", attributes, _HANDED_OVER)
    return attributes


def _step(described: ctypes.c_void_p, operands: Sequence[tuple[int, ctypes.c_void_p]]) -> _Step:
    primitive = ctypes.c_void_p()
    do("primitive_create", _at(primitive), described)
    wanted = ctypes.c_void_p(
        library().dnnl_primitive_desc_query_md(described, _DESCRIPTOR_OF["scratchpad"], 0)
    )
    size = library().dnnl_memory_desc_get_size(wanted) if wanted else 0
    if not size:
        return _Step(primitive, operands, ctypes.c_void_p(), 0)
    scratch = _memory(wanted)
    return _Step(primitive, [*operands, (_ARGUMENT["scratchpad"], scratch)], scratch, size)


def _reorder(
    source: Any, target: Any, source_memory: ctypes.c_void_p, target_memory: ctypes.c_void_p
) -> _Step:
    described = ctypes.c_void_p()
    do(
        "reorder_primitive_desc_create",
        _at(described),
        source,
        engine(),
        target,
        engine(),
        _attributes(),
    )
    operands = (_ARGUMENT["src"], source_memory), (_ARGUMENT["dst"], target_memory)
    return _step(described, operands)
