"""3 x 3 convolutions by oneDNN, called by XLA through its foreign-function interface.

oneDNN is what PyTorch, TensorFlow and OpenVINO convolve with on x86. It comes with the extra
`musclejax[onednn]`, a wheel that holds nothing but the library. Any oneDNN 3.x will do that runs on
OpenMP or TBB, such as conda-forge's, if `MUSCLEJAX_ONEDNN` names its `libdnnl.so.3`. It follows the
processor affinity.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from musclejax.models.cpu import onednn_library, xla_ffi
from musclejax.models.cpu.onednn_convolution import OPERANDS, Convolution
from musclejax.models.cpu.onednn_library import all_threads, library
from musclejax.models.cpu.xla_ffi import Buffer

_materialize = lax.optimization_barrier


def unavailable_reason() -> str:
    """Return why JAX cannot convolve with oneDNN here; empty if it can. Starts JAX's backend."""
    backend = jax.default_backend()
    if backend != "cpu":
        return f"a {backend}"
    return onednn_library.unavailable_reason() or xla_ffi.unavailable_reason()


def _convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w d"]:
    """Convolve 3 x 3 with zero padding that keeps height and width.

    Raises:
        OneDNNError: If the library cannot be used here.
    """
    return _call("forward", (*x.shape[:3], kernel.shape[3]), x, kernel)


convolution: jax.custom_vjp[Array] = jax.custom_vjp(_convolution)


def _convolution_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    x = _materialize(x)
    return convolution(x, kernel), (x, kernel)


def _convolution_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dy = _materialize(dy)
    return input_gradient(dy, kernel), kernel_gradient(x, dy)


convolution.defvjp(_convolution_forward, _convolution_backward)


def input_gradient(
    dy: Float[Array, "b h w d"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h w c"]:
    """Return the gradient of a 3 x 3 convolution for its input, given that for its output."""
    return _call("backward_data", (*dy.shape[:3], kernel.shape[2]), dy, kernel)


def kernel_gradient(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h w d"]
) -> Float[Array, "3 3 c d"]:
    """Return the gradient of a 3 x 3 convolution for its kernel, given that for its output."""
    return _call("backward_weights", (3, 3, x.shape[3], dy.shape[3]), x, dy)


def _call(kind: str, shape: tuple[int, ...], *operands: Array) -> Array:
    _register()
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.ffi.ffi_call(_target(kind), result)(*operands)


@lru_cache(maxsize=1)
def _register() -> None:
    """Load the library and make its convolutions callable; once per process."""
    library()
    for kind in OPERANDS:
        xla_ffi.register(_target(kind), _kernel(kind))


def _target(kind: str) -> str:
    return f"musclejax_onednn_{kind}"


_lock = threading.Lock()  # a primitive has one set of operands; each call uses all processors


def _kernel(kind: str) -> xla_ffi.Kernel:
    def run(arguments: Sequence[Buffer], result: Buffer) -> None:
        (*size, channels), (*_, inputs, outputs) = (buffer.shape for buffer in arguments)
        if kind != "backward_data":
            inputs = channels  # and both second arguments end in the output's channels
        with _lock, all_threads():
            convolve = _primitive(kind, *size, inputs, outputs)
            convolve([buffer.address for buffer in (*arguments, result)])

    return run


@lru_cache(maxsize=128)
def _primitive(kind: str, *sizes: int) -> Convolution:
    return Convolution(kind, *sizes)
