"""oneDNN's convolutions against XLA's, in value and gradient; what happens without the library."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.config import default_config
from musclejax.errors import InputError
from musclejax.models import convolution, onednn, onednn_library, xla_ffi
from musclejax.models.variants import build_network, find
from musclejax.models.weights import draw_variables
from musclejax.training.step import convolutions
from tests.test_convolution import assert_same_value_and_gradient, normal

needs_library = pytest.mark.skipif(
    bool(onednn_library.obstacle()), reason=f"oneDNN: {onednn_library.obstacle()}"
)


@needs_library
@given(
    images=st.integers(1, 3),
    rows=st.integers(1, 16),
    columns=st.integers(1, 20),
    channels=st.integers(1, 40),
    features=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_convolution_is_plain(
    images: int, rows: int, columns: int, channels: int, features: int, seed: int
) -> None:
    x = normal(seed, images, rows, columns, channels)
    kernel = normal(seed, 3, 3, channels, features)
    assert_same_value_and_gradient(onednn.convolution, convolution.plain_convolution, x, kernel)


@needs_library
def test_network_is_the_same_with_either() -> None:
    spec = find("compact4")
    variables = jax.tree.map(jnp.asarray, draw_variables(spec, "thigh", 0))
    image = jnp.asarray(normal(0, 2, 48, 96, 1))
    xla, other = (
        build_network(replace(spec, convolutions=name), "thigh").apply(
            variables, image, train=False
        )
        for name in ("xla", "onednn")
    )
    np.testing.assert_allclose(other, xla, rtol=0, atol=1e-5 * float(jnp.abs(xla).max()))


@needs_library
def test_several_threads_may_call_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    kernel = jnp.asarray(normal(1, 3, 3, 8, 8))
    images = [jnp.asarray(normal(n, 1, 24, 24, 8)) for n in range(16)]
    jitted = jax.jit(onednn.convolution)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: np.asarray(jitted(x, kernel)), images))
    for x, y in zip(images, found, strict=True):
        np.testing.assert_allclose(y, convolution.plain_convolution(x, kernel), rtol=0, atol=1e-4)


@needs_library
def test_last_digits_do_not_depend_on_what_openmp_was_told() -> None:
    """PyTorch's `set_num_threads` sets the calling thread's number, in the OpenMP that we share."""
    openmp = onednn_library.library()
    x = jnp.asarray(normal(0, 2, 48, 48, 8))
    dy, before = jnp.asarray(normal(2, 2, 48, 48, 16)), openmp.omp_get_max_threads()
    found = []
    try:
        for threads in (before, 1, before + 2):
            openmp.omp_set_num_threads(threads)
            onednn._primitive.cache_clear()
            found.append(np.asarray(jax.jit(onednn.kernel_gradient)(x, dy)))
            assert openmp.omp_get_max_threads() == threads  # as it was found
    finally:
        openmp.omp_set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@needs_library
def test_auto_is_the_default_and_onednn_where_it_is_installed() -> None:
    config = default_config()
    assert config.models.convolutions == "auto"
    assert convolutions(config) == "onednn"


def test_error_of_a_foreign_function_is_told() -> None:
    def fail(arguments: object, result: object) -> None:
        raise ValueError("a shape it cannot do")

    xla_ffi.register("musclejax_test_fail", fail)
    call = jax.ffi.ffi_call("musclejax_test_fail", jax.ShapeDtypeStruct((2,), jnp.float32))
    with pytest.raises(Exception, match="ValueError: a shape it cannot do"):
        jax.block_until_ready(jax.jit(call)(jnp.zeros(2)))


def test_foreign_function_gets_addresses_and_shapes() -> None:
    seen: list[tuple[int, ...]] = []

    def double(arguments: list[xla_ffi.Buffer], result: xla_ffi.Buffer) -> None:
        import ctypes

        seen.extend(a.shape for a in arguments)
        size = int(np.prod(result.shape))
        source, target = (
            np.ctypeslib.as_array((ctypes.c_float * size).from_address(b.address))
            for b in (arguments[0], result)
        )
        target[:] = 2 * source

    xla_ffi.register("musclejax_test_double", double)
    call = jax.ffi.ffi_call("musclejax_test_double", jax.ShapeDtypeStruct((2, 3), jnp.float32))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(jax.jit(call)(x), 2 * x)
    assert seen == [(2, 3)]


@pytest.fixture
def absent() -> Iterator[None]:
    reason = "no oneDNN 3.x is installed"
    with mock.patch.object(onednn_library, "obstacle", return_value=reason):
        yield


@pytest.mark.usefixtures("absent")
def test_without_the_library_training_takes_xla_or_says_what_to_install() -> None:
    config = default_config()
    config.models.convolutions = "auto"
    assert convolutions(config) == "xla"
    config.models.convolutions = "onednn"
    with pytest.raises(InputError, match=r"no oneDNN 3.x .*pip install 'musclejax\[onednn\]'"):
        convolutions(config)


def test_unknown_choice_is_refused() -> None:
    config = default_config()
    config.models.convolutions = "mkl"
    with pytest.raises(InputError, match=r"'mkl'; accepted: auto, xla, onednn"):
        convolutions(config)


def test_a_library_that_is_none_is_an_obstacle_not_a_crash() -> None:
    code = "from musclejax.models.onednn_library import obstacle; print(obstacle())"
    environment = {**os.environ, onednn_library.PATH_VARIABLE: os.devnull}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0
    assert os.devnull in run.stdout
