"""A function in Python as an XLA custom call: XLA's foreign-function interface through ctypes.

Needs no compiler and copies no array: the function is given the addresses of XLA's own buffers.

Source: `xla/ffi/api/c_api.h`, which jaxlib ships. The structures are those of version 0.1 (jaxlib
0.8); 0.3 (0.10) and 0.5 (0.12) keep the offsets used here.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax

VERSION = (0, 1)
"""Major and minor version that the structures below were copied from: the oldest that is met, so
that XLA, which refuses what is younger than itself, takes it everywhere."""
_EXECUTE = 3
_METADATA = 1
_INTERNAL = 13
"""Of `XLA_FFI_ExecutionStage`, `XLA_FFI_Extension_Type`, `XLA_FFI_Error_Code`."""


class VersionError(RuntimeError):
    """XLA's interface has another major version than the structures here, or refuses theirs."""


BF16 = 16
"""Of `XLA_FFI_DataType`."""


class Buffer(NamedTuple):
    """An array that XLA owns: its address, its shape and its type's number."""

    address: int
    shape: tuple[int, ...]
    dtype: int


Kernel = Callable[[Sequence[Buffer], Sequence[Buffer]], None]


class _Version(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    ]


class _Metadata(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32)]


class _Extension(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),
    ]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    ]


class _Buffers(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("buffers", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    ]


class _ErrorArguments(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    ]


_CreateError = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))


class _Api(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("create_error", _CreateError),
    ]


class _CallFrame(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("extension", ctypes.POINTER(_Extension)),
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
    ]


_Handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_CallFrame))
_registered: list[object] = []  # XLA calls them for as long as the process lives


@lru_cache(maxsize=1)
def unavailable_reason() -> str:
    """Return why XLA calls no Python function here; empty if it does. Starts JAX's backend."""
    try:
        register("musclejax_probe_{}_{}".format(*VERSION), lambda arguments, results: None)
    except VersionError as error:
        return str(error)
    return ""


def register(name: str, kernel: Kernel) -> None:
    """Make a function callable by `jax.ffi.ffi_call(name, ...)` on the CPU; starts JAX's backend.

    Args:
        name: Of the custom call.
        kernel: Called with the arguments and the results, from any thread, maybe from several
            at once. What it raises becomes an error of the computation.

    Raises:
        VersionError: If XLA's interface has another major version, or XLA refuses the function.
    """
    # XLA asks for the version at once only if it runs; later a refusal would stop JAX itself.
    jax.devices("cpu")
    theirs: list[tuple[int, int]] = []

    def handle(pointer: "ctypes._Pointer[_CallFrame]") -> int | None:
        frame = pointer.contents
        if frame.extension and frame.extension.contents.type == _METADATA:
            answer = frame.extension.contents.metadata.contents
            answer.version.major, answer.version.minor = VERSION
            answer.traits = 0
            if frame.api:  # XLA 0.1 does not tell its own
                version = frame.api.contents.version
                theirs.append((version.major, version.minor))
            return None
        if frame.stage != _EXECUTE:
            return None
        try:
            kernel(_buffers(frame.arguments), _buffers(frame.results))
        except Exception as error:  # it must not pass through C
            return _error(frame, f"{name}: {type(error).__name__}: {error}")
        return None

    handler = _Handler(handle)
    _registered.append(handler)
    reason = ""
    try:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
    for major, minor in theirs:
        if major != VERSION[0]:
            reason = f"version {major}.{minor}, not {VERSION[0]}.x"
    if reason:
        raise VersionError(f"XLA's foreign-function interface: {reason}")


def _buffers(found: _Buffers) -> list[Buffer]:
    buffers = [found.buffers[n].contents for n in range(found.count)]
    return [Buffer(b.data or 0, tuple(b.dims[: b.rank]), b.dtype) for b in buffers]


def _error(frame: _CallFrame, message: str) -> int | None:
    arguments = _ErrorArguments(
        ctypes.sizeof(_ErrorArguments), None, message.encode()[:500], _INTERNAL
    )
    created: int | None = frame.api.contents.create_error(ctypes.byref(arguments))
    return created
