"""Fast batch normalization and ReLU against their plain references and Flax."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.models.cpu import normalization
from musclejax.models.layers import BatchNorm
from musclejax.models.spec import NetworkSpec
from tests.conftest import quick_jit
from tests.networks import assert_close, normal


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(2, 9),
    channels=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_batch_norm_is_plain(rows: int, columns: int, channels: int, seed: int) -> None:
    x = jnp.asarray(3 + 2 * normal(seed, 2, rows, columns, channels))
    scale = jnp.asarray(1 + 0.1 * normal(seed, channels))
    offset = jnp.asarray(normal(seed + 1, channels))

    def compute(batch_norm):
        def objective(*arguments):
            done = batch_norm(*arguments)
            values = done.values.evaluate()
            return jnp.cos(values).sum(), (values, done.mean, done.variance)

        return quick_jit(jax.grad(objective, argnums=(0, 1, 2), has_aux=True))(x, scale, offset)

    (ours, values), (theirs, references) = (
        compute(form) for form in (normalization.batch_norm, normalization.plain_batch_norm)
    )
    for value, reference in zip(values, references, strict=True):
        assert_close(value, reference, 2e-5)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other, 1e-3)


def test_batch_norm_moves_running_statistics_as_flax_does() -> None:
    x, bias = jnp.asarray(3 + 2 * normal(0, 2, 5, 6, 4)), jnp.asarray(normal(1, 4))
    flax = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-3)
    variables = flax.init(jax.random.key(0), x)
    expected, changed = flax.apply(variables, x + bias, mutable=["batch_stats"])
    for reference in (False, True):
        ours = BatchNorm(NetworkSpec(momentum=0.9, reference=reference))
        found, state = ours.apply(variables, x, bias, train=True, mutable=["batch_stats"])
        assert_close(found.evaluate(), expected, 1e-5)
        for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(changed), strict=True):
            assert_close(one, other, 1e-5)
    using = nn.BatchNorm(use_running_average=True, epsilon=1e-3)
    later = {**variables, **changed}
    assert_close(
        BatchNorm(NetworkSpec()).apply(later, x, bias, train=False).evaluate(),
        using.apply(later, x + bias),
        1e-5,
    )


def test_relu_is_plain_at_zero_too() -> None:
    x = jnp.asarray([[-2.0, -0.0, 0.0, 3.0]]).reshape(1, 1, 4, 1)
    for form in (normalization.relu, normalization.plain_relu):
        gradient = jax.grad(lambda x, f=form: (f(x) * 2).sum())(x)
        np.testing.assert_array_equal(form(x).ravel(), [0, 0, 0, 3])
        np.testing.assert_array_equal(gradient.ravel(), [0, 0, 0, 2])
