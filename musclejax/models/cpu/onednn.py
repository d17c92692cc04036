"""Convolutions and batch normalization by oneDNN, which XLA calls as foreign functions.

oneDNN is what PyTorch, TensorFlow and OpenVINO convolve with on x86. It comes with the extra
`musclejax[onednn]`, a wheel that holds nothing but the library. Any oneDNN 3.x will do that runs on
OpenMP or TBB, such as conda-forge's, if `MUSCLEJAX_ONEDNN` names its `libdnnl.so.3`. It follows the
processor affinity.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from musclejax.models.cpu import (
    onednn_convolution,
    onednn_library,
    onednn_normalization,
    xla_ffi,
)
from musclejax.models.cpu.convolution import depth_to_space, space_to_depth
from musclejax.models.cpu.normalization import BATCH_NORM_EPSILON, LazyAffine, Normalized
from musclejax.models.cpu.onednn_convolution import Convolution
from musclejax.models.cpu.onednn_library import all_threads, library
from musclejax.models.cpu.onednn_normalization import Normalization
from musclejax.models.cpu.onednn_primitive import BF16, F32
from musclejax.models.cpu.xla_ffi import Buffer

_materialize = lax.optimization_barrier


def unavailable_reason() -> str:
    """Return why JAX cannot convolve with oneDNN here; empty if it can. Starts JAX's backend."""
    backend = jax.default_backend()
    if backend != "cpu":
        return f"a {backend}"
    return onednn_library.unavailable_reason() or xla_ffi.unavailable_reason()


def bfloat16_unavailable_reason() -> str:
    """Return why bfloat16 gains nothing here; empty if it does. Starts JAX's backend."""
    return unavailable_reason() or onednn_library.bfloat16_unavailable_reason()


def _convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h w d"]:
    """Convolve with zero padding that keeps height and width; the kernel's size is odd.

    In bfloat16 if the input is: then the kernel is rounded, sums are float32, the output and the
    input's gradient are bfloat16, and the kernel's gradient is float32.

    Raises:
        OneDNNError: If the library cannot be used here.
    """
    like = jax.ShapeDtypeStruct((*x.shape[:3], kernel.shape[3]), x.dtype)
    return _call("forward", [like], x, kernel)[0]


convolution: jax.custom_vjp[Array] = jax.custom_vjp(_convolution)


def _convolution_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _materialize(x)
    return convolution(x, kernel), (x, kernel)


def _convolution_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dy = _materialize(dy)
    return input_gradient(dy, kernel), kernel_gradient(x, dy, kernel.shape[0])


convolution.defvjp(_convolution_forward, _convolution_backward)


def input_gradient(
    dy: Float[Array, "b h w d"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h w c"]:
    """Return the gradient of a convolution for its input, given that for its output."""
    like = jax.ShapeDtypeStruct((*dy.shape[:3], kernel.shape[2]), dy.dtype)
    return _call("backward_data", [like], dy, kernel)[0]


def kernel_gradient(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h w d"], size: int = 3
) -> Float[Array, "{size} {size} c d"]:
    """Return the gradient of a convolution for its kernel, given that for its output."""
    like = _float32((size, size, x.shape[3], dy.shape[3]))
    return _call("backward_weights", [like], x, dy)[0]


def strided_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h//k w//k d"]:
    """Convolve as `cpu.convolution.strided_convolution`, the matrix product being oneDNN's."""
    k, _, c, d = kernel.shape
    return convolution(space_to_depth(x, k), kernel.reshape(1, 1, k * k * c, d))


def transposed_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h*k w*k d"]:
    """Convolve as `cpu.convolution.transposed_convolution`, the matrix product being oneDNN's."""
    k, _, c, d = kernel.shape
    matrix = kernel.transpose(2, 0, 1, 3).reshape(1, 1, c, k * k * d)
    return depth_to_space(convolution(x, matrix), k)


def nearest_upsampling_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c d"], stride: int
) -> Float[Array, "b h*{stride} w*{stride} d"]:
    """Convolve as `cpu.convolution.nearest_upsampling_convolution`, the product being oneDNN's."""
    y = convolution(x, kernel)
    return jnp.repeat(jnp.repeat(y, stride, axis=1), stride, axis=2)


@jax.custom_vjp
def batch_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], offset: Float[Array, " c"]
) -> Normalized:
    """Normalize every channel as `cpu.normalization.batch_norm`, the values evaluated.

    In bfloat16 if the input is; the moments and the gradients of scale and offset are float32.
    """
    moment = _float32(scale.shape)
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    values, mean, variance = _call("normalize", [like, moment, moment], x, scale, offset)
    return Normalized(LazyAffine(values), mean, variance)


def _norm_forward(x: Array, scale: Array, offset: Array) -> tuple[Normalized, tuple[Array, ...]]:
    x = _materialize(x)
    done = batch_norm(x, scale, offset)
    return done, (x, done.mean, done.variance, scale)


def _norm_backward(saved: tuple[Array, ...], d_done: Normalized) -> tuple[Array, ...]:
    x, mean, variance, scale = saved
    dy = _materialize(d_done.values.values)
    moment = _float32(scale.shape)
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return _call("normalize_backward", [like, moment, moment], x, dy, mean, variance, scale)


batch_norm.defvjp(_norm_forward, _norm_backward)


def dot_general(
    x: Float[Array, "b h w c"], matrix: Float[Array, "c d"], *_: Any, **__: Any
) -> Float[Array, "b h w d"]:
    """Multiply the channels of every pixel, rounded to bfloat16, with a matrix; float32 comes out.

    What a Flax layer takes in place of `lax.dot_general`, whose other arguments are not looked at.
    """
    return _logits(x.astype(jnp.bfloat16), matrix[None, None])


@jax.custom_vjp
def _logits(x: Array, kernel: Array) -> Array:
    return _call("forward", [_float32((*x.shape[:3], kernel.shape[3]))], x, kernel)[0]


def _logits_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _materialize(x)
    return _logits(x, kernel), (x, kernel)


def _logits_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    return _convolution_backward(saved, dy.astype(saved[0].dtype))


_logits.defvjp(_logits_forward, _logits_backward)


def _float32(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _call(kind: str, results: list[jax.ShapeDtypeStruct], *operands: Array) -> tuple[Array, ...]:
    _register()
    return tuple(jax.ffi.ffi_call(_target(kind), results)(*operands))


@lru_cache(maxsize=1)
def _register() -> None:
    """Load the library and make its primitives callable; once per process."""
    library()
    for kind in (*onednn_convolution.OPERANDS, *onednn_normalization.OPERANDS):
        xla_ffi.register(_target(kind), partial(_run, kind))


def _target(kind: str) -> str:
    return f"musclejax_onednn_{kind}"


_lock = threading.Lock()


@contextmanager
def alone() -> Iterator[None]:
    """Wait for the others: a primitive has one set of operands; each call uses all processors."""
    with _lock, all_threads():
        yield


def _run(kind: str, arguments: Sequence[Buffer], results: Sequence[Buffer]) -> None:
    types = [BF16 if b.dtype == xla_ffi.BF16 else F32 for b in (arguments[0], results[0])]
    with alone():
        primitive: Convolution | Normalization
        if kind in onednn_normalization.OPERANDS:
            primitive = _normalization_primitive(kind, arguments[0].shape, types[0])
        else:
            primitive = _convolution_primitive(kind, _sizes(kind, arguments, results[0]), *types)
        primitive([buffer.address for buffer in (*arguments, *results)])


def _sizes(kind: str, arguments: Sequence[Buffer], result: Buffer) -> tuple[int, ...]:
    """Return batch, height, width, channels of input and output, size of the kernel."""
    (*size, channels), (*_, inputs, outputs) = (buffer.shape for buffer in arguments)
    if kind != "backward_data":
        inputs = channels  # and both second arguments end in the output's channels
    kernel = result if kind == "backward_weights" else arguments[1]
    return *size, inputs, outputs, kernel.shape[0]


@lru_cache(maxsize=512)
def _convolution_primitive(
    kind: str, sizes: tuple[int, ...], dtype: int, result: int
) -> Convolution:
    return Convolution(kind, sizes, dtype, result)


@lru_cache(maxsize=128)
def _normalization_primitive(kind: str, sizes: tuple[int, ...], dtype: int) -> Normalization:
    return Normalization(kind, sizes, dtype, BATCH_NORM_EPSILON)
