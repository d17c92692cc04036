"""Trading time for memory: compute a layer's input again when its gradient needs it."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from musclejax.models.cpu.normalization import LazyAffine

Layer = Callable[[Any, Array], Array]


def rematerialize(layer: Layer) -> Layer:
    """Return the same function of (inputs, kernel), whose gradient keeps these two and no more.

    `jax.checkpoint` does not do it on a CPU: XLA drops its barriers, finds the two computations
    equal, and keeps the first one's result after all. Here the second one is different: zero times
    the gradient is added to its inputs, which also keeps it from being done too early. For one
    device: several would have to send that element around, in no fixed order among the rest.

    Args:
        layer: (pytree of arrays, kernel) -> [b, h, w, c]. What it does with its inputs before the
            convolution is cheap enough to do twice.
    """

    @jax.custom_vjp
    def call(inputs: Any, kernel: Array) -> Array:
        return layer(inputs, kernel)

    def forward(inputs: Any, kernel: Array) -> tuple[Array, tuple[Any, Array]]:
        return layer(inputs, kernel), (inputs, kernel)

    def backward(saved: tuple[Any, Array], dy: Array) -> tuple[Any, Array]:
        inputs, kernel = saved
        _, pull = jax.vjp(layer, _after(dy, inputs), kernel)
        d_inputs, d_kernel = pull(dy)
        return d_inputs, d_kernel

    call.defvjp(forward, backward)
    return call


def _after(first: Array, then: Any) -> Any:
    """Return `then` such that what uses it must wait for `first`: small arrays where there are."""
    nothing = 0 * first[(0,) * first.ndim]

    def wait(part: Array | LazyAffine) -> Array | LazyAffine:
        if isinstance(part, LazyAffine) and part.shift is not None:
            return part._replace(shift=part.shift + nothing)
        return jax.tree.map(lambda a: a + nothing, part)

    return jax.tree.map(wait, then, is_leaf=lambda part: isinstance(part, LazyAffine))
