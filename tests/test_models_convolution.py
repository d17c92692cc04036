"""Fast forms of the convolutions against their plain references and Flax, in value and gradient."""

from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.models.cpu import convolution
from tests.networks import assert_close, assert_same_value_and_gradient, normal

SHAPES = {
    "stride": st.integers(1, 4),
    "rows": st.integers(1, 3),
    "columns": st.integers(1, 4),
    "channels": st.integers(1, 5),
    "features": st.integers(1, 6),
    "seed": st.integers(0, 2**31),
}
properties = settings(max_examples=6, deadline=None, derandomize=True)


@properties
@given(**SHAPES)
def test_strided_convolution_is_plain_and_flax(
    stride: int, rows: int, columns: int, channels: int, features: int, seed: int
) -> None:
    x = normal(seed, 2, rows * stride, columns * stride, channels)
    kernel = normal(seed, stride, stride, channels, features)
    conv = nn.Conv(features, (stride, stride), (stride, stride), "VALID", use_bias=False)
    flax = lambda x, k: conv.apply({"params": {"kernel": k}}, x)
    plain = convolution.plain_strided_convolution
    assert_same_value_and_gradient(convolution.strided_convolution, x, kernel, plain, flax)


@properties
@given(**SHAPES)
def test_transposed_convolution_is_plain_and_flax(
    stride: int, rows: int, columns: int, channels: int, features: int, seed: int
) -> None:
    x = normal(seed, 2, rows, columns, channels)
    kernel = normal(seed, stride, stride, channels, features)
    conv = nn.ConvTranspose(features, (stride, stride), (stride, stride), "VALID", use_bias=False)
    flax = lambda x, k: conv.apply({"params": {"kernel": k[::-1, ::-1]}}, x)
    plain = convolution.plain_transposed_convolution
    assert_same_value_and_gradient(convolution.transposed_convolution, x, kernel, plain, flax)


@properties
@given(
    rows=st.integers(1, 16),
    columns=st.integers(1, 20),
    channels=st.integers(1, 5),
    features=st.integers(1, 6),
    coarse=st.booleans(),
    block=st.sampled_from([8, 60, 8000]),
    seed=st.integers(0, 2**31),
)
def test_convolution_is_plain_and_flax(
    rows: int, columns: int, channels: int, features: int, coarse: bool, block: int, seed: int
) -> None:
    x, kernel = normal(seed, 2, rows, columns, channels), normal(seed, 3, 3, channels, features)
    conv = nn.Conv(features, (3, 3), padding="SAME", use_bias=False)
    flax = lambda x, k: conv.apply({"params": {"kernel": k}}, x)
    # Both forms, and blocks of one row up to the whole image.
    with (
        mock.patch.object(convolution, "COARSE_PX", 99 if coarse else 0),
        mock.patch.object(convolution, "BLOCK_PIXELS", block),
    ):
        plain = convolution.plain_convolution
        assert_same_value_and_gradient(convolution.convolution, x, kernel, plain, flax)


@properties
@given(
    rows=st.integers(1, 9),
    channels=st.integers(1, 9),
    features=st.integers(1, 9),
    block=st.sampled_from([2, 40, 8000]),
    seed=st.integers(0, 2**31),
)
def test_matrix_product_is_plain(
    rows: int, channels: int, features: int, block: int, seed: int
) -> None:
    x, matrix = normal(seed, 2, rows, 7, channels), normal(seed, channels, features)
    with mock.patch.object(convolution, "BLOCK_PIXELS", block):
        assert_same_value_and_gradient(convolution.matrix_product, x, matrix, jnp.matmul)


def test_nearest_upsampling_repeats_before_or_after() -> None:
    x, kernel = normal(0, 2, 3, 4, 3), normal(1, 1, 1, 3, 5)
    expected = lambda x, k: jnp.repeat(jnp.repeat(x, 3, 1), 3, 2) @ k[0, 0]
    found = lambda x, k: convolution.nearest_upsampling_convolution(x, k, 3)
    assert_same_value_and_gradient(found, x, kernel, expected)


@given(stride=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_depth_to_space_undoes_space_to_depth(stride: int, seed: int) -> None:
    x = normal(seed, 2, 3 * stride, 2 * stride, 3)
    there = convolution.space_to_depth(jnp.asarray(x), stride)
    assert there.shape == (2, 3, 2, 3 * stride**2)
    np.testing.assert_array_equal(convolution.depth_to_space(there, stride), x)


@pytest.mark.parametrize("size", [(9, 9), (27, 27)])
def test_convolution_at_the_sizes_of_the_paper(size: tuple[int, int]) -> None:
    x, kernel = normal(0, 1, *size, 48), normal(1, 3, 3, 48, 40) / 20
    plain = convolution.plain_convolution
    assert_same_value_and_gradient(convolution.convolution, x, kernel, plain)


def test_bfloat16_convolution_differs_by_the_rounding_of_its_operands() -> None:
    x, kernel = (jnp.asarray(normal(n, *s)) for n, s in ((0, (2, 9, 9, 32)), (1, (3, 3, 32, 16))))
    found = convolution.bfloat16_convolution(x, kernel)
    expected = convolution.plain_convolution(x, kernel)
    assert found.dtype == jnp.float32
    assert_close(found, expected, 1e-2)  # 8 bits of each operand, averaged over 288 products
    assert float(jnp.abs(found - expected).max()) > 1e-4  # and it is no float32 product
