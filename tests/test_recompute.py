"""Layers that compute their input again: same values, same gradients, less memory planned."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from musclejax.models import layers
from musclejax.models.convolution import convolution
from musclejax.models.recompute import recomputed
from musclejax.models.spec import NetworkSpec
from musclejax.models.vnet import VNet
from tests.test_convolution import assert_close, normal

LAYERS, SHAPE = 3, (1, 24, 24, 8)
PX, WIDTH, UNITS = 96, 16, 6


def layer(inputs: tuple[jax.Array, ...], kernel: jax.Array) -> jax.Array:
    x, gain = inputs
    return convolution(lax.optimization_barrier(jnp.maximum(x * gain, 0)), kernel)


def loss(form, kernels: jax.Array, image: jax.Array) -> jax.Array:
    for kernel in kernels:
        image = form((image, jnp.full(SHAPE[-1], 1.5)), kernel)
    return jnp.cos(image).sum()


@pytest.fixture
def problem() -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(normal(0, LAYERS, 3, 3, 8, 8)) / 6, jnp.asarray(normal(1, *SHAPE))


def test_gradients_are_those_of_the_plain_layer(problem: tuple[jax.Array, jax.Array]) -> None:
    plain, again = (
        jax.value_and_grad(lambda k, x, f=form: loss(f, k, x), argnums=(0, 1))(*problem)
        for form in (layer, recomputed(layer))
    )
    assert_close(again[0], plain[0], 1e-6)
    for one, other in zip(again[1], plain[1], strict=True):
        assert_close(one, other, 1e-5)


def test_activations_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA must not find the second computation equal to the first and keep that one's result."""
    again = planned_bytes()
    monkeypatch.setattr(layers, "recomputed", lambda layer: layer)
    activation = 4 * PX * PX * WIDTH
    assert planned_bytes() - again > (UNITS - 3) * activation


def planned_bytes() -> int:
    """Return what XLA plans for a gradient, beside its arguments and results."""
    module = VNet(NetworkSpec(widths=(WIDTH,), strides=(1,), units=UNITS, dropout=0.0), 3)
    image = jnp.asarray(normal(2, 1, PX, PX, 1))
    variables = module.init(jax.random.key(0), image, train=False)

    def loss(params: dict, image: jax.Array) -> jax.Array:
        whole = {**variables, "params": params}
        logits, _ = module.apply(whole, image, train=True, mutable=["batch_stats"])
        return jnp.cos(logits).sum()

    compiled = jax.jit(jax.grad(loss)).lower(variables["params"], image).compile()
    return compiled.memory_analysis().temp_size_in_bytes
