"""Matrix forms of the resampling convolutions against Flax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.models import layers

SHAPES = {
    "stride": st.integers(1, 4),
    "rows": st.integers(1, 3),
    "columns": st.integers(1, 4),
    "channels": st.integers(1, 5),
    "features": st.integers(1, 6),
    "seed": st.integers(0, 2**31),
}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(**SHAPES)
def test_strided_convolution_is_flax_conv(
    stride: int, rows: int, columns: int, channels: int, features: int, seed: int
) -> None:
    x = normal(seed, 2, rows * stride, columns * stride, channels)
    kernel = normal(seed, stride, stride, channels, features)
    conv = nn.Conv(features, (stride, stride), (stride, stride), "VALID", use_bias=False)
    expected = lambda x, k: conv.apply({"params": {"kernel": k}}, x)
    assert_same_value_and_gradient(layers.strided_convolution, expected, x, kernel)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(**SHAPES)
def test_transposed_convolution_is_flax_conv_transpose(
    stride: int, rows: int, columns: int, channels: int, features: int, seed: int
) -> None:
    x = normal(seed, 2, rows, columns, channels)
    kernel = normal(seed, stride, stride, channels, features)
    conv = nn.ConvTranspose(features, (stride, stride), (stride, stride), "VALID", use_bias=False)
    expected = lambda x, k: conv.apply({"params": {"kernel": k[::-1, ::-1]}}, x)
    assert_same_value_and_gradient(layers.transposed_convolution, expected, x, kernel)


def test_convolution_is_flax_conv() -> None:
    x, kernel = normal(0, 2, 6, 7, 3), normal(1, 3, 3, 3, 4)
    conv = nn.Conv(4, (3, 3), padding="SAME", use_bias=False)
    expected = lambda x, k: conv.apply({"params": {"kernel": k}}, x)
    assert_same_value_and_gradient(layers.convolution, expected, x, kernel)


def test_nearest_upsampling_repeats_before_or_after() -> None:
    x, kernel = normal(0, 2, 3, 4, 3), normal(1, 1, 1, 3, 5)
    expected = lambda x, k: jnp.repeat(jnp.repeat(x, 3, 1), 3, 2) @ k[0, 0]
    found = lambda x, k: layers.nearest_upsampling_convolution(x, k, 3)
    assert_same_value_and_gradient(found, expected, x, kernel)


@given(stride=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_depth_to_space_undoes_space_to_depth(stride: int, seed: int) -> None:
    x = normal(seed, 2, 3 * stride, 2 * stride, 3)
    there = layers.space_to_depth(jnp.asarray(x), stride)
    assert there.shape == (2, 3, 2, 3 * stride**2)
    np.testing.assert_array_equal(layers.depth_to_space(there, stride), x)


@pytest.mark.parametrize(("kind", "norm"), [("wrong", "batch"), ("plain", "wrong")])
def test_unknown_choices_are_named(kind: str, norm: str) -> None:
    unit = layers.ConvolutionUnit(4, kind, norm)
    with pytest.raises(ValueError, match="wrong"):
        unit.init(jax.random.key(0), jnp.ones((1, 4, 4, 2)), train=False)


def assert_same_value_and_gradient(found, expected, x: np.ndarray, kernel: np.ndarray) -> None:
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    np.testing.assert_allclose(found(x, kernel), expected(x, kernel), rtol=1e-5, atol=1e-5)
    # A cosine, so that the gradient differs from pixel to pixel.
    gradients = [
        jax.grad(lambda x, k, f=f: jnp.cos(f(x, k)).sum(), argnums=(0, 1))(x, kernel)
        for f in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
