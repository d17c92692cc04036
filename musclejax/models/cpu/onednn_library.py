"""oneDNN's library through its C API: where it is, its threads, its engine, its calls.

Source: https://uxlfoundation.github.io/oneDNN; the numbers are those of `dnnl_types.h` and hold for
all of 3.x.
"""

import ctypes
import ctypes.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from musclejax.system import available_threads

PACKAGE = "onednn-cpu-gomp"
PATH_VARIABLE = "MUSCLEJAX_ONEDNN"
MAJOR = 3
_CPU = 1
_SYCL = 512
_AVX512_BF16 = 0xE7
"""Bits of `dnnl_cpu_isa_t`; a processor with AMX has them too."""
_at = ctypes.byref


class _Version(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
        ("patch", ctypes.c_int),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    ]


class _Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


class OneDNNError(RuntimeError):
    """The library is absent, of another version, or refused a call."""


@lru_cache(maxsize=1)
def unavailable_reason() -> str:
    """Return why oneDNN cannot be used here, on one line; empty if it can."""
    try:
        library()
    except (OneDNNError, OSError) as error:
        return " ".join(str(error).split())[:200]
    return ""


def bfloat16_unavailable_reason() -> str:
    """Return what the processor lacks for bfloat16, on one line; empty if nothing.

    oneDNN computes it on older processors too, more slowly than float32.
    """
    features = library().dnnl_get_effective_cpu_isa()
    fits = features & _AVX512_BF16 == _AVX512_BF16
    return "" if fits else "a processor without avx512_bf16 and AMX"


def version() -> str:
    """Return the version of the library, as "3.2.0".

    Raises:
        OneDNNError: If it cannot be used here.
    """
    found = library().dnnl_version().contents
    return f"{found.major}.{found.minor}.{found.patch}"


@contextmanager
def all_threads() -> Iterator[None]:
    """Use as many threads as there were processors at the first call, whoever calls.

    A convolution is planned for a number of threads, on which its last digits depend, and OpenMP's
    own number is the calling thread's: others in the process, such as PyTorch, may have changed it.
    """
    if not hasattr(library(), "omp_set_num_threads"):
        yield  # a oneDNN that is built on other threads
        return
    before = library().omp_get_max_threads()
    library().omp_set_num_threads(_threads())
    try:
        yield
    finally:
        library().omp_set_num_threads(before)


@lru_cache(maxsize=1)
def _threads() -> int:
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal():
        return int(limit)
    return available_threads()


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Load oneDNN.

    Raises:
        OneDNNError: If none is installed, or one of another major version or on SYCL, whose memory
            is no plain address.
        OSError: If it cannot be loaded.
    """
    # Threads that wait must not spin: XLA's own threads have work meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    library = ctypes.CDLL(str(_path()))
    library.dnnl_version.restype = ctypes.POINTER(_Version)
    found = library.dnnl_version().contents
    if found.major != MAJOR:
        raise OneDNNError(f"{_path()} is oneDNN {found.major}, not {MAJOR}.x")
    if found.cpu_runtime == _SYCL:
        raise OneDNNError(f"{_path()} runs on SYCL, not on OpenMP or TBB")
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


def do(name: str, *arguments: Any) -> None:
    """Call a function of the library.

    Raises:
        OneDNNError: If it reports failure.
    """
    status = getattr(library(), f"dnnl_{name}")(*arguments)
    if status:
        raise OneDNNError(f"dnnl_{name} failed with status {status}")


@lru_cache(maxsize=1)
def engine() -> ctypes.c_void_p:
    """Return the processor, as oneDNN sees it."""
    engine = ctypes.c_void_p()
    do("engine_create", _at(engine), _CPU, ctypes.c_size_t(0))
    return engine


@lru_cache(maxsize=1)
def stream() -> ctypes.c_void_p:
    """Return the queue that all calls go to."""
    stream = ctypes.c_void_p()
    do("stream_create", _at(stream), engine(), 1)
    return stream


def run(primitive: ctypes.c_void_p, operands: Sequence[tuple[int, ctypes.c_void_p]]) -> None:
    """Execute a primitive on operands: pairs of argument number and memory object."""
    arguments = (_Argument * len(operands))(*(_Argument(*operand) for operand in operands))
    do("primitive_execute", primitive, stream(), len(operands), arguments)
