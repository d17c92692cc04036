"""The best matrix product of this machine: the peak that arithmetic rates are shares of."""

import time

import jax
import jax.numpy as jnp

SIZES = (1024, 2048, 3072)
"""Rows and columns of the matrices."""
CALLS = 4


@jax.jit
def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def matmul_peak(precision: str) -> float:
    """Return GFLOP/s of the best matrix product of XLA here; bfloat16 sums in float32."""
    best = 0.0
    for size in SIZES:
        a = jnp.ones((size, size), precision)
        _product(a, a).block_until_ready()
        for _ in range(CALLS):
            start = time.perf_counter()
            _product(a, a).block_until_ready()
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best
