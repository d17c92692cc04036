"""Primitives of oneDNN on memory that XLA owns: descriptors, operands, scratch memory.

Source: https://uxlfoundation.github.io/oneDNN; the numbers are those of `dnnl_types.h` and hold for
all of 3.x.
"""

import ctypes
import mmap
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from musclejax.models.cpu.onednn_library import do, engine, library, run, stream

F32, BF16 = 3, 2
FORWARD_TRAINING, FORWARD_INFERENCE = 64, 96
ARGUMENT = {"src": 1, "dst": 17, "weights": 33, "mean": 49, "variance": 50, "scale": 51}
ARGUMENT |= {"bias": 41, "shift": 52, "scratchpad": 80, "diff_src": 129, "diff_dst": 145}
ARGUMENT |= {"diff_weights": 161, "diff_scale": 255, "diff_shift": 256}
"""Name of an operand -> its number."""
_ANY = 1
_SCRATCHPAD_DESCRIPTOR = 136
_HANDED_OVER = 1
_RELU = 0x20
_PAGE = 4096
_at = ctypes.byref


class Step(NamedTuple):
    """A primitive with its operands, and the scratch memory that it wants: object and bytes."""

    primitive: ctypes.c_void_p
    operands: Sequence[tuple[int, ctypes.c_void_p]]
    scratch: ctypes.c_void_p
    size: int


def step(primitive_descriptor: Any, operands: Sequence[tuple[int, ctypes.c_void_p]]) -> Step:
    """Return the primitive that is described, with its operands."""
    primitive = ctypes.c_void_p()
    do("primitive_create", _at(primitive), primitive_descriptor)
    wanted = ctypes.c_void_p(
        library().dnnl_primitive_desc_query_md(primitive_descriptor, _SCRATCHPAD_DESCRIPTOR, 0)
    )
    size = library().dnnl_memory_desc_get_size(wanted) if wanted else 0
    if not size:
        return Step(primitive, operands, ctypes.c_void_p(), 0)
    scratch = memory_of(wanted)
    return Step(primitive, [*operands, (ARGUMENT["scratchpad"], scratch)], scratch, size)


def reorder(
    source: Any, target: Any, source_memory: ctypes.c_void_p, target_memory: ctypes.c_void_p
) -> Step:
    """Return the primitive that copies from one layout and type to another."""
    descriptor = ctypes.c_void_p()
    do(
        "reorder_primitive_desc_create",
        _at(descriptor),
        source,
        engine(),
        target,
        engine(),
        attributes(),
    )
    operands = (ARGUMENT["src"], source_memory), (ARGUMENT["dst"], target_memory)
    return step(descriptor, operands)


class Room(NamedTuple):
    """Memory in the workspace: bytes, and the objects that lie there by turns."""

    size: int
    objects: Sequence[ctypes.c_void_p]


def execute(steps: Sequence[Step], rooms: Sequence[Room] = ()) -> None:
    """Run steps in order, one call at a time: all share one workspace.

    Args:
        steps: What to run; their other operands have addresses.
        rooms: What is to lie in the workspace.
    """
    # The rooms at the beginning, scratch memory behind them.
    *begins, behind = accumulate((-(-r.size // _PAGE) * _PAGE for r in rooms), initial=0)
    start = _workspace(behind + max(step.size for step in steps))
    for begin, room in zip(begins, rooms, strict=True):
        for memory in room.objects:
            place(memory, start + begin)
    for step in steps:
        if step.size:
            place(step.scratch, start + behind)
        run(step.primitive, step.operands)
    do("stream_wait", stream())


def dims(sizes: Sequence[int]) -> Any:
    """Return sizes as oneDNN takes them."""
    return (ctypes.c_int64 * 12)(*sizes)


def described(
    sizes: Sequence[int], strides: Sequence[int] | None = None, dtype: int = F32
) -> ctypes.c_void_p:
    """Return a memory descriptor: with strides in elements, or of any layout."""
    described = ctypes.c_void_p()
    if strides is None:
        do("memory_desc_create_with_tag", _at(described), len(sizes), dims(sizes), dtype, _ANY)
    else:
        do(
            "memory_desc_create_with_strides",
            _at(described),
            len(sizes),
            dims(sizes),
            dtype,
            dims(strides),
        )
    return described


def kernel_strides(c: int, d: int, k: int) -> tuple[int, int, int, int]:
    """Return the strides of [k, k, c, d] in memory; oneDNN names the axes d, c, row, column."""
    return 1, d, k * c * d, c * d


def image_of(b: int, c: int, h: int, w: int, dtype: int) -> ctypes.c_void_p:
    """Describe [b, h, w, c] in memory; oneDNN names the axes b, c, h, w."""
    return described((b, c, h, w), (h * w * c, 1, w * c, c), dtype)


def memory_of(described: Any) -> ctypes.c_void_p:
    """Return a memory object that `place` has still to give an address."""
    memory = ctypes.c_void_p()
    do("memory_create", _at(memory), described, engine(), None)
    return memory


def place(memory: ctypes.c_void_p, address: int) -> None:
    """Give a memory object its address."""
    do("memory_set_data_handle", memory, ctypes.c_void_p(address))


_grown: list[mmap.mmap] = []


def _workspace(size: int) -> int:
    """Return the address of a buffer of at least `size` bytes, the same for every caller."""
    if not _grown or len(_grown[0]) < size:
        _grown[:] = [mmap.mmap(-1, max(size, _PAGE))]
    return ctypes.addressof(ctypes.c_char.from_buffer(_grown[0]))


@lru_cache(maxsize=4)
def attributes(*, add: bool = False, rectify: bool = False) -> ctypes.c_void_p:
    """Return the attributes of a primitive: scratch memory is handed over at each call.

    oneDNN's own belongs to the thread that made the primitive, and XLA calls from any.

    Args:
        add: Whether the result is added to what is there.
        rectify: Whether the sum is rectified.
    """
    attributes, after = ctypes.c_void_p(), ctypes.c_void_p()
    do("primitive_attr_create", _at(attributes))
    do("primitive_attr_set_scratchpad_mode", attributes, _HANDED_OVER)
    do("post_ops_create", _at(after))
    if add:
        do("post_ops_append_sum", after, ctypes.c_float(1), 0, 0)
    if rectify:
        do("post_ops_append_eltwise", after, _RELU, ctypes.c_float(0), ctypes.c_float(0))
    do("primitive_attr_set_post_ops", attributes, after)
    return attributes
