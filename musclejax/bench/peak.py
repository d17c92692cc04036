"""The fastest arithmetic of this machine: the peak that the rates of networks are shares of."""

import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from musclejax.bench.record import Peak
from musclejax.models.cpu import onednn

SIZES = (1024, 2048)
"""Rows and columns of the matrices."""
IMAGES = ((2, 108, 128), (2, 54, 256))
"""Images, their height and width, and channels of 3x3 convolutions."""
CALLS = 4
CONVOLUTION, PRODUCT = "convolution by oneDNN", "matrix product by XLA"


@jax.jit
def _product(a: jax.Array) -> jax.Array:
    return jnp.dot(a, a, preferred_element_type=jnp.float32)


def measure_peak(precision: str) -> Peak:
    """Return the best of convolutions by oneDNN, where it is installed, and products by XLA.

    Source: ours; oneDNN's convolution reached 15 to 18 % more on two Zen 4 cores, 5 % on two Zen 5.
    """
    best = Peak(0.0, "")
    for by, gflop, call in _candidates(precision):
        best = max(best, Peak(gflop / _shortest(call), by))
    return best


def _candidates(precision: str) -> Iterator[tuple[str, float, Callable[[], jax.Array]]]:
    """Yield names, 10^9 floating-point operations, and what to call."""
    for size in SIZES:
        matrix = jnp.ones((size, size), precision)
        yield PRODUCT, 2 * size**3 / 1e9, lambda a=matrix: _product(a)  # type: ignore[misc]
    if _convolves(precision):
        convolve = jax.jit(onednn.convolution)
        for count, side, channels in IMAGES:
            image = jnp.ones((count, side, side, channels), precision)
            kernel = jnp.ones((3, 3, channels, channels))
            gflop = 2 * 9 * count * side**2 * channels**2 / 1e9
            yield CONVOLUTION, gflop, lambda x=image, k=kernel: convolve(x, k)  # type: ignore[misc]


def _convolves(precision: str) -> bool:
    if precision == "bfloat16":
        return not onednn.bfloat16_unavailable_reason()
    return not onednn.unavailable_reason()


def _shortest(call: Callable[[], jax.Array]) -> float:
    """Return the seconds of the fastest of some calls, the first of which is not counted."""
    seconds = []
    for _ in range(CALLS + 1):
        start = time.perf_counter()
        call().block_until_ready()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
