"""Layers that compute their input again: same values, same gradients, less memory planned."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from musclejax.models import layers
from musclejax.models.cpu.convolution import convolution
from musclejax.models.cpu.rematerialization import rematerialize
from musclejax.models.spec import NetworkSpec
from tests.networks import assert_close, normal

LAYERS, SHAPE = 3, (1, 24, 24, 8)


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
        jax.jit(jax.value_and_grad(lambda k, x, f=form: loss(f, k, x), argnums=(0, 1)))(*problem)
        for form in (layer, rematerialize(layer))
    )
    assert_close(again[0], plain[0], 1e-6)
    for one, other in zip(again[1], plain[1], strict=True):
        assert_close(one, other, 1e-5)


def test_inputs_are_computed_again(problem: tuple[jax.Array, jax.Array]) -> None:
    """XLA must not find the second computation equal to the first and keep that one's result."""

    def rectifications(form) -> int:
        gradient = jax.jit(jax.grad(lambda k, x: loss(form, k, x)))
        return gradient.lower(*problem).compile().as_text().count(" maximum(")

    assert rectifications(layer) == LAYERS
    assert rectifications(rematerialize(layer)) == 2 * LAYERS


def test_units_are_rematerialized_while_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(layers, "rematerialize", lambda layer: seen.append(layer) or layer)
    image = jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)
    for train, spec, expected in (
        (True, NetworkSpec(), 1),
        (False, NetworkSpec(), 0),
        (True, NetworkSpec(rematerialize=False), 0),
        (True, NetworkSpec(reference=True), 0),
    ):
        seen.clear()
        unit = layers.ConvolutionUnit(spec, 2, "plain")
        jax.eval_shape(lambda x, u=unit, t=train: u.init(jax.random.key(0), x, train=t), image)
        assert len(seen) == expected
