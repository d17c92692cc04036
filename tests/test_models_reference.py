"""The whole network on the fast and on the plain forms: values, gradients and training."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musclejax.config import default_config
from musclejax.data.batches import Batch
from musclejax.models.cpu import onednn_library
from musclejax.models.initialization import draw_variables
from musclejax.models.network import build
from musclejax.models.spec import CONVOLUTIONS, NetworkSpec
from musclejax.models.variants import VARIANTS
from musclejax.training.step import Steps, initial_state, make_steps

ROWS, PX = 2, 48
TINY = NetworkSpec(widths=(4, 8), strides=(1, 4))
"""Levels of 48 and 12 pixels: the fast forms differ at fine and at coarse levels."""
EVERY = 7
STORED = (13016.6, 12383.3, 11724.0, 11137.7, 10674.1, 10236.5, 9846.3, 9505.5)
"""Loss of every seventh step, no dropout. Origin: commit b0663d8, JAX 0.12.0, before rates became
arguments of the step; its curve with dropout was that of f2719fd, before optax's optimizer."""


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """A row of the table, compiled with little optimization."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", TINY)
        yield
    jax.config.update("jax_disable_most_optimizations", before)


def batch(step: int) -> Batch:
    """Return images of two disks, told apart by their brightness, under noise."""
    rng = np.random.default_rng(step)
    y, x = np.mgrid[:PX, :PX] - PX / 2
    labels = np.zeros((ROWS, PX, PX), np.int32)
    for row in labels:
        for muscle in (1, 2):
            center = rng.uniform(-12, 12, 2)
            row[(y - center[0]) ** 2 + (x - center[1]) ** 2 < 64] = muscle
    image = labels + rng.normal(0, 0.3, labels.shape)
    return Batch(
        image=image[..., None].astype(np.float32),
        labels=labels,
        weights=np.ones(labels.shape, np.float32),
        mask=np.ones(ROWS, bool),
    )


def steps_of(
    reference: bool, convolutions: str = "xla", precision: str = "float32"
) -> Callable[[int], list[float]]:
    """Return a function from a number of steps to the loss at each."""
    config = default_config()
    config.variant = "tiny"
    config.models.reference = reference
    config.models.convolutions = convolutions
    config.models.precision = precision
    config.optim.learning_rate = 1e-3
    config.optim.dropout = 0.0
    pixels = ROWS * PX * PX
    steps: Steps = make_steps(config, pixels)

    def train(count: int) -> list[float]:
        # Placed, or the second step would be compiled again.
        state = steps.place(initial_state(config, draw_variables(TINY, "thigh", 0), pixels))
        losses = []
        for step in range(count):
            state, metrics = steps.train(state, batch(step), jnp.float32(1e-3))
            losses.append(float(metrics.data_loss))
        return losses

    return train


@pytest.fixture(scope="module")
def plain() -> list[float]:
    """The training curve of the plain forms."""
    return steps_of(reference=True)(50)


@pytest.mark.parametrize("convolutions", CONVOLUTIONS)
def test_training_curves_of_fast_and_plain_forms_coincide(
    convolutions: str, plain: list[float]
) -> None:
    if convolutions == "onednn" and onednn_library.unavailable_reason():
        pytest.skip(onednn_library.unavailable_reason())
    fast = steps_of(reference=False, convolutions=convolutions)(50)
    assert np.mean(plain[-5:]) < 0.8 * np.mean(plain[:5])  # it does learn
    # Rounding grows along the way: the first steps agree closely, the last ones as curves do.
    np.testing.assert_allclose(fast[:5], plain[:5], rtol=1e-3)
    np.testing.assert_allclose(fast, plain, rtol=0.05)


def test_training_is_what_it_was(plain: list[float]) -> None:
    np.testing.assert_allclose(plain[:22:EVERY], STORED[:4], rtol=1e-4)
    np.testing.assert_allclose(plain[::EVERY], STORED, rtol=0.01)


def test_training_curve_in_bfloat16_is_that_of_float32(plain: list[float]) -> None:
    """At first within its rounding: 12 steps of slim32 differed by 0.2 %."""
    reason = onednn_library.unavailable_reason() or onednn_library.bfloat16_unavailable_reason()
    if reason:
        pytest.skip(reason)
    found = steps_of(reference=False, convolutions="onednn", precision="bfloat16")(50)
    np.testing.assert_allclose(found[:12], plain[:12], rtol=5e-3)
    np.testing.assert_allclose(found, plain, rtol=0.05)


def test_network_on_fast_forms_is_that_on_plain_forms() -> None:
    """In float64: in float32, ReLU's gradient jumps where a value lies within rounding of 0."""
    with jax.enable_x64(True):
        to_double = partial(jax.tree.map, lambda a: jnp.asarray(a, jnp.float64))
        variables = to_double(draw_variables(TINY, "thigh", 0))
        image = to_double(batch(0).image)

        def objective(params: dict, reference: bool) -> jax.Array:
            module = build(replace(TINY, reference=reference, dropout=0.0), "thigh")
            given = {**variables, "params": params}
            logits = module.apply(given, image, train=True, mutable=["batch_stats"])[0]
            return jnp.cos(logits).sum()

        gradient = jax.jit(jax.value_and_grad(objective), static_argnums=1)
        fast, plain = (gradient(variables["params"], reference) for reference in (False, True))
    assert float(fast[0]) == pytest.approx(float(plain[0]), rel=1e-9)
    for (path, one), other in zip(
        jax.tree.leaves_with_path(fast[1]), jax.tree.leaves(plain[1]), strict=True
    ):
        if path[-1].key == "bias" and path[-2].key not in ("norm", "head"):
            assert not one.any()  # batch norm takes it away again; the plain form has rounding here
            continue
        scale = float(np.abs(other).max())
        assert scale > 0, path
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * scale, err_msg=str(path))
