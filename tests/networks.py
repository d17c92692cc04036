"""Small networks and arrays for the tests of models and exports."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musclejax.config import default_config
from musclejax.models.cpu import onednn_library
from musclejax.models.initialization import draw_variables
from musclejax.models.network import Network
from musclejax.models.shapes import expected_shapes, nest_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import VARIANTS
from tests.conftest import quick_jit

needs_library = pytest.mark.skipif(
    bool(onednn_library.unavailable_reason()),
    reason=f"oneDNN: {onednn_library.unavailable_reason()}",
)
_NO_BFLOAT16 = onednn_library.unavailable_reason() or onednn_library.bfloat16_unavailable_reason()
needs_bfloat16 = pytest.mark.skipif(bool(_NO_BFLOAT16), reason=f"bfloat16: {_NO_BFLOAT16}")


def shrunk(spec: NetworkSpec) -> NetworkSpec:
    """The same network with its finest and its coarsest level only, 4 and 5 channels wide."""
    return replace(spec, widths=(4, 5), strides=(spec.strides[0], spec.strides[-1]))


def shrunk_classifier(spec: NetworkSpec) -> NetworkSpec:
    """The same with its two finest levels: a classifier's, whose input they divide."""
    return replace(spec, widths=(4, 5), strides=spec.strides[:2])


_FIRST = {shrunk(spec): name for name, spec in reversed(VARIANTS.items())}
STRUCTURES = {name: spec for spec, name in reversed(_FIRST.items())}
"""First name in the table -> variant, shrunk; widths and depth apart, several are the same."""


def network_of(spec: NetworkSpec, task: str, variables: Any = None) -> Network:
    """A network of some variables; fresh ones if none are given."""
    config = default_config()
    config.task = task
    return Network(config, spec, variables or draw_variables(spec, task, 0))


def drawn(spec: NetworkSpec, task: str) -> dict[str, Any]:
    """Random variables, none of which is at a value that would hide a mistake, as 0 or 1 would."""
    rng = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "kernel":
            return rng.normal(0, np.sqrt(4 / np.prod(shape[:-1])), shape).astype(np.float32)
        low = 0.5 if name in ("scale", "var") else -0.3
        return rng.uniform(low, low + 0.8, shape).astype(np.float32)

    shapes = expected_shapes(spec, task)
    return nest_arrays({path: draw(path[-1], shape) for path, shape in shapes.items()})


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def assert_same_value_and_gradient(
    found: Callable[..., jax.Array],
    x: np.ndarray,
    kernel: np.ndarray,
    *references: Callable[..., jax.Array],
) -> None:
    """Compare functions of an image and a kernel, each compiled once: values and gradients."""

    def compute(function: Callable[..., jax.Array]) -> Any:
        # A cosine, so that the gradient differs from pixel to pixel.
        def objective(x: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
            value = function(x, k)
            return jnp.cos(value).sum(), value

        both = jax.grad(objective, argnums=(0, 1), has_aux=True)
        return quick_jit(both)(jnp.asarray(x), jnp.asarray(kernel))

    ours, value = compute(found)
    for reference in references:
        theirs, expected = compute(reference)
        assert_close(value, expected, 1e-5)
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other, 1e-3)


def assert_close(found: Any, expected: Any, relative: float) -> None:
    """Compare relative to the largest value: single ones may cancel to nothing."""
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=relative, atol=relative * max(scale, 1e-6))
