"""oneDNN through its C API: the library, and a convolution of one shape.

Source: https://uxlfoundation.github.io/oneDNN; the numbers are those of `dnnl_types.h` and hold for
all of 3.x.
"""

import ctypes
import ctypes.util
import mmap
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

PACKAGE = "onednn-cpu-gomp"
PATH_VARIABLE = "MUSCLEJAX_ONEDNN"
MAJOR = 3

_CPU, _F32, _ANY, _DIRECT, _TRAINING = 1, 3, 1, 1, 64
_DESCRIPTOR_OF = {"src": 129, "diff_src": 130, "weights": 131, "diff_weights": 132}
_DESCRIPTOR_OF |= {"dst": 133, "diff_dst": 134}
_ARGUMENT = {"src": 1, "diff_src": 129, "weights": 33, "diff_weights": 161}
_ARGUMENT |= {"dst": 17, "diff_dst": 145}
OPERANDS = {
    "forward": ("src", "weights", "dst"),
    "backward_data": ("diff_dst", "weights", "diff_src"),
    "backward_weights": ("src", "diff_dst", "diff_weights"),
}
"""Kind -> arguments and result."""


class _Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


class OneDNNError(RuntimeError):
    """The library is absent, of another version, or refused a call."""


@lru_cache(maxsize=1)
def obstacle() -> str:
    """Return why oneDNN cannot be used here; empty if it can."""
    try:
        library()
    except (OneDNNError, OSError) as error:
        return str(error)
    return ""


def version() -> str:
    """Return the version of the library, as "3.2.0".

    Raises:
        OneDNNError: If it cannot be used here.
    """

    class Version(ctypes.Structure):
        _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int)]

    describe = library().dnnl_version
    describe.restype = ctypes.POINTER(Version)
    found = describe().contents
    return f"{found.major}.{found.minor}.{found.patch}"


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
        shapes: tuple[Any, ...] = (image, any_kernel, None, output, *geometry, None)
        _do(
            "convolution_forward_primitive_desc_create",
            _at(forward),
            _engine(),
            _TRAINING,
            _DIRECT,
            *shapes,
        )
        if kind == "forward":
            chosen = forward
        elif kind == "backward_data":
            shapes = (image, any_kernel, output, *geometry, forward, None)
            _do(
                "convolution_backward_data_primitive_desc_create",
                _at(chosen),
                _engine(),
                _DIRECT,
                *shapes,
            )
        else:
            shapes = (image, any_kernel, None, output, *geometry, forward, None)
            _do(
                "convolution_backward_weights_primitive_desc_create",
                _at(chosen),
                _engine(),
                _DIRECT,
                *shapes,
            )
        self._convolve = _created(chosen)
        outside = {"src": image, "diff_src": image, "dst": output, "diff_dst": output}
        self._memory: list[ctypes.c_void_p] = []
        self._copy: tuple[ctypes.c_void_p | None, int] = (None, 0)
        self._operands: list[tuple[int, ctypes.c_void_p]] = []
        self._before: list[tuple[ctypes.c_void_p, ...]] = []
        self._after: list[tuple[ctypes.c_void_p, ...]] = []
        for name in OPERANDS[kind]:
            self._bind(
                name, outside.get(name, kernel), chosen, is_result=name == OPERANDS[kind][-1]
            )

    def _bind(self, name: str, given: Any, chosen: Any, *, is_result: bool) -> None:
        """Give an operand to the primitive: as XLA holds it, or by way of a reordered copy."""
        user = _memory(given)
        self._memory.append(user)
        wanted = ctypes.c_void_p(
            library().dnnl_primitive_desc_query_md(chosen, _DESCRIPTOR_OF[name], 0)
        )
        if library().dnnl_memory_desc_equal(given, wanted):
            self._operands.append((_ARGUMENT[name], user))
            return
        copy = _memory(wanted)
        self._copy = copy, library().dnnl_memory_desc_get_size(wanted)
        self._operands.append((_ARGUMENT[name], copy))
        if is_result:
            self._after.append((_reorder(wanted, given), copy, user))
        else:
            self._before.append((_reorder(given, wanted), user, copy))

    def __call__(self, addresses: Sequence[int]) -> None:
        """Compute, one call at a time: all share one workspace.

        Args:
            addresses: Of the arguments, then of the result, as in `OPERANDS`.
        """
        for memory, address in zip(self._memory, addresses, strict=True):
            _place(memory, address)
        copy, size = self._copy
        if copy:
            _place(copy, _workspace(size))
        for reorder, source, target in self._before:
            _execute(reorder, ((1, source), (17, target)))
        _execute(self._convolve, self._operands)
        for reorder, source, target in self._after:
            _execute(reorder, ((1, source), (17, target)))
        _do("stream_wait", _stream())


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Load oneDNN.

    Raises:
        OneDNNError: If none is installed, or of another major version.
        OSError: If it cannot be loaded.
    """
    # Threads that wait must not spin: XLA's own threads have work meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    library = ctypes.CDLL(str(_path()))
    library.dnnl_version.restype = ctypes.POINTER(ctypes.c_int)
    major = library.dnnl_version()[0]
    if major != MAJOR:
        raise OneDNNError(f"{_path()} is oneDNN {major}, not {MAJOR}.x")
    library.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
    library.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
    return library


def _path() -> Path | str:
    named = os.environ.get(PATH_VARIABLE)
    if named:
        return named
    try:
        inside = [f for f in files(PACKAGE) or [] if f.name == f"libdnnl.so.{MAJOR}"]
    except PackageNotFoundError:
        inside = []
    if inside:
        return Path(str(inside[0].locate())).resolve()
    found = ctypes.util.find_library("dnnl")
    if not found:
        raise OneDNNError(f"no oneDNN {MAJOR}.x is installed")
    return found


def _do(name: str, *arguments: Any) -> None:
    status = getattr(library(), f"dnnl_{name}")(*arguments)
    if status:
        raise OneDNNError(f"dnnl_{name} failed with status {status}")


_at = ctypes.byref


@lru_cache(maxsize=1)
def _engine() -> ctypes.c_void_p:
    engine = ctypes.c_void_p()
    _do("engine_create", _at(engine), _CPU, ctypes.c_size_t(0))
    return engine


@lru_cache(maxsize=1)
def _stream() -> ctypes.c_void_p:
    stream = ctypes.c_void_p()
    _do("stream_create", _at(stream), _engine(), 1)
    return stream


def _dims(sizes: Sequence[int]) -> Any:
    return (ctypes.c_int64 * 12)(*sizes)


def _described(sizes: Sequence[int], strides: Sequence[int] | None = None) -> ctypes.c_void_p:
    """Return a memory descriptor: with strides in elements, or of any layout."""
    described = ctypes.c_void_p()
    if strides is None:
        _do("memory_desc_create_with_tag", _at(described), len(sizes), _dims(sizes), _F32, _ANY)
    else:
        _do(
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
    _do("memory_create", _at(memory), described, _engine(), None)
    return memory


def _place(memory: ctypes.c_void_p, address: int) -> None:
    _do("memory_set_data_handle", memory, ctypes.c_void_p(address))


_grown: list[mmap.mmap] = []


def _workspace(size: int) -> int:
    """Return the address of at least so many bytes, the same for every caller."""
    if not _grown or len(_grown[0]) < size:
        _grown[:] = [mmap.mmap(-1, size)]
    return ctypes.addressof(ctypes.c_char.from_buffer(_grown[0]))


def _created(described: ctypes.c_void_p) -> ctypes.c_void_p:
    primitive = ctypes.c_void_p()
    _do("primitive_create", _at(primitive), described)
    return primitive


def _reorder(source: Any, target: Any) -> ctypes.c_void_p:
    described = ctypes.c_void_p()
    _do(
        "reorder_primitive_desc_create",
        _at(described),
        source,
        _engine(),
        target,
        _engine(),
        None,
    )
    return _created(described)


def _execute(primitive: ctypes.c_void_p, operands: Sequence[tuple[int, ctypes.c_void_p]]) -> None:
    arguments = (_Argument * len(operands))(*(_Argument(*operand) for operand in operands))
    _do("primitive_execute", primitive, _stream(), len(operands), arguments)
