"""oneDNN's layers against XLA's, in value and gradient; what happens without the library."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.app.convolutions import warn_without_onednn
from musclejax.cli.main import main
from musclejax.config import default_config
from musclejax.errors import InputError
from musclejax.models.cpu import convolution, normalization, onednn, onednn_library, xla_ffi
from musclejax.models.initialization import draw_variables
from musclejax.models.network import build
from musclejax.models.spec import NetworkSpec, spec_from_json
from musclejax.training.step import convolutions, precision
from tests.conftest import quick_jit
from tests.networks import (
    assert_close,
    assert_same_value_and_gradient,
    needs_bfloat16,
    needs_library,
    normal,
)

ROUNDING = 2**-8
"""Relative distance of neighbors in bfloat16: results are rounded once."""


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
    assert_same_value_and_gradient(onednn.convolution, x, kernel, convolution.plain_convolution)


def rounded(seed: int, *shape: int) -> np.ndarray:
    """Normal numbers that bfloat16 holds exactly."""
    return np.asarray(jnp.asarray(normal(seed, *shape), jnp.bfloat16), np.float32)


FORMS = {
    "plain": (3, onednn.convolution, convolution.plain_convolution),
    "strided 2": (2, onednn.strided_convolution, convolution.plain_strided_convolution),
    "strided 3": (3, onednn.strided_convolution, convolution.plain_strided_convolution),
    "transposed": (2, onednn.transposed_convolution, convolution.plain_transposed_convolution),
    "nearest": (
        1,
        lambda x, k: onednn.nearest_upsampling_convolution(x, k, 2),
        lambda x, k: convolution.nearest_upsampling_convolution(x, k, 2),
    ),
    "logits": (
        1,
        lambda x, k: onednn.dot_general(x, k[0, 0]),
        convolution.plain_strided_convolution,
    ),
}
"""Form -> size of the kernel, the function of oneDNN, that of float32."""


@needs_bfloat16
@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_convolution_differs_by_rounding(form: str) -> None:
    """Of bfloat16 numbers, products are exact and sums float32: only results are rounded."""
    size, ours, reference = FORMS[form]
    x, kernel = rounded(0, 2, 12, 18, 16), rounded(1, size, size, 16, 24)
    weight = rounded(2, *jax.eval_shape(reference, x, kernel).shape)

    def both(function: Callable[..., jax.Array], x: jax.Array) -> tuple:
        value, pull = jax.vjp(function, x, jnp.asarray(kernel))
        return value, *pull(jnp.asarray(weight, value.dtype))

    half = jnp.asarray(x, jnp.bfloat16)
    found = quick_jit(lambda x: both(ours, x))(half)
    expected = quick_jit(lambda x: both(reference, x))(jnp.asarray(x))
    types = [jnp.float32 if form == "logits" else jnp.bfloat16, jnp.bfloat16, jnp.float32]
    assert [a.dtype for a in found] == types
    for one, other, dtype in zip(found, expected, types, strict=True):
        # Upsampling rounds the sum over a pixel's copies before the kernel's gradient is taken.
        exact = dtype == jnp.float32 and form != "nearest"
        assert_close(one.astype(jnp.float32), other, 1e-5 if exact else ROUNDING)


@needs_bfloat16
def test_bfloat16_batch_norm_differs_by_rounding() -> None:
    x, scale, offset = rounded(0, 2, 12, 18, 16) + 0.5, normal(1, 16), normal(2, 16)
    weight = rounded(3, *x.shape)

    def both(function: Callable[..., normalization.Normalized], x: jax.Array) -> tuple:
        done, pull = jax.vjp(function, x, jnp.asarray(scale), jnp.asarray(offset))
        zero = jax.tree.map(jnp.zeros_like, done)
        values = zero.values._replace(values=jnp.asarray(weight, x.dtype))
        return done.values.values, done.mean, done.variance, *pull(zero._replace(values=values))

    half = jnp.asarray(x, jnp.bfloat16)
    found = jax.jit(lambda x: both(onednn.batch_norm, x))(half)
    expected = jax.jit(lambda x: both(normalization.plain_batch_norm, x))(half.astype(jnp.float32))
    for one, other in zip(found, expected, strict=True):
        close = 1e-4 if one.dtype == jnp.float32 else ROUNDING
        assert_close(one.astype(jnp.float32), other, close)


@needs_library
def test_network_is_the_same_with_either() -> None:
    spec = NetworkSpec(widths=(4, 8, 16), strides=(1, 2, 3))
    variables = jax.tree.map(jnp.asarray, draw_variables(spec, "thigh", 0))
    image = jnp.asarray(normal(0, 2, 48, 96, 1))
    modules = [build(replace(spec, convolutions=name), "thigh") for name in ("xla", "onednn")]
    both = quick_jit(lambda v, x: [module.apply(v, x, train=False) for module in modules])
    xla, other = both(variables, image)
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
    if not hasattr(openmp, "omp_get_max_threads"):
        pytest.skip("this oneDNN does not run on OpenMP")
    x = jnp.asarray(normal(0, 2, 48, 48, 8))
    dy, before = jnp.asarray(normal(2, 2, 48, 48, 16)), openmp.omp_get_max_threads()
    found = []
    try:
        for threads in (before, 1, before + 2):
            openmp.omp_set_num_threads(threads)
            onednn._convolution_primitive.cache_clear()
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


def test_error_of_a_foreign_function_is_reported() -> None:
    def fail(arguments: object, results: object) -> None:
        raise ValueError("a shape it cannot do")

    xla_ffi.register("musclejax_test_fail", fail)
    call = jax.ffi.ffi_call("musclejax_test_fail", jax.ShapeDtypeStruct((2,), jnp.float32))
    with pytest.raises(Exception, match="ValueError: a shape it cannot do"):
        jax.block_until_ready(jax.jit(call)(jnp.zeros(2)))


def test_foreign_function_gets_addresses_and_shapes() -> None:
    seen: list[tuple[int, ...]] = []

    def double(arguments: list[xla_ffi.Buffer], results: list[xla_ffi.Buffer]) -> None:
        (result,) = results
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
    with mock.patch.object(onednn_library, "unavailable_reason", return_value=reason):
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


def test_a_library_that_is_none_is_a_reason_not_a_crash() -> None:
    code = "from musclejax.models.cpu import onednn_library as o; print(o.unavailable_reason())"
    environment = {**os.environ, onednn_library.PATH_VARIABLE: os.devnull}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0
    assert os.devnull in run.stdout


def faked_library(**version: int) -> mock.Mock:
    """A library that states a version and does nothing else."""
    return mock.Mock(dnnl_version=mock.Mock(return_value=mock.Mock(contents=mock.Mock(**version))))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ({"major": 2, "cpu_runtime": 2}, "is oneDNN 2, not 3.x"),
        ({"major": 4, "cpu_runtime": 2}, "is oneDNN 4, not 3.x"),
        ({"major": 3, "cpu_runtime": 512}, "runs on SYCL, not on OpenMP or TBB"),
    ],
)
def test_libraries_that_cannot_be_used(version: dict[str, int], message: str) -> None:
    with (
        mock.patch.object(onednn_library.ctypes, "CDLL", return_value=faked_library(**version)),
        mock.patch.object(onednn_library, "_path", return_value="libdnnl.so.3"),
        pytest.raises(onednn_library.OneDNNError, match=message),
    ):
        onednn_library.library.__wrapped__()


def test_xla_of_another_major_version_is_a_reason_on_one_line() -> None:
    """XLA 0.x refuses a function that was made for 1.0, as 1.x would ours."""
    assert xla_ffi.unavailable_reason() == ""
    with mock.patch.object(xla_ffi, "VERSION", (1, 0)):
        reason = xla_ffi.unavailable_reason.__wrapped__()
    assert reason.startswith("XLA's foreign-function interface: ")
    assert "\n" not in reason


def test_a_version_that_xla_only_states_is_refused_too() -> None:
    """Should XLA ever take what was made for another major version."""

    class Target:
        """Calls the handler as XLA does at registration, and accepts whatever it answers."""

        def __init__(self, major: int) -> None:
            self.major = major

        def __call__(self, name: str, handler: xla_ffi._Handler, platform: str) -> None:
            api = xla_ffi._Api(version=xla_ffi._Version(major=self.major, minor=2))
            metadata = xla_ffi._Metadata()
            extension = xla_ffi._Extension(
                type=xla_ffi._METADATA, metadata=ctypes.pointer(metadata)
            )
            frame = xla_ffi._CallFrame(extension=ctypes.pointer(extension), api=ctypes.pointer(api))
            handler(ctypes.pointer(frame))
            self.answer = metadata.version.major, metadata.version.minor

    for major, expected in ((0, ""), (1, "XLA's foreign-function interface: version 1.2, not 0.x")):
        target = Target(major)
        with (
            mock.patch.object(xla_ffi.jax.ffi, "register_ffi_target", target),
            mock.patch.object(xla_ffi.jax.ffi, "pycapsule", lambda handler: handler),
        ):
            assert xla_ffi.unavailable_reason.__wrapped__() == expected
        assert target.answer == xla_ffi.VERSION == (0, 1)  # ours, whatever XLA's own is


REFUSED = "XLA's foreign-function interface: version 1.0, not 0.x"


@pytest.fixture
def refused() -> Iterator[None]:
    """An XLA that refuses our structures, and a oneDNN that is installed."""
    with (
        mock.patch.object(xla_ffi, "unavailable_reason", return_value=REFUSED),
        mock.patch.object(onednn_library, "unavailable_reason", return_value=""),
    ):
        yield


def test_without_xlas_interface_training_takes_xlas_own_convolutions(refused: None) -> None:
    config = default_config()
    assert onednn.unavailable_reason() == REFUSED
    assert convolutions(config) == "xla"
    config.models.convolutions = "onednn"
    with pytest.raises(InputError, match=r"version 1\.0, not 0\.x"):
        convolutions(config)


def test_training_without_an_installed_onednn_is_a_line(
    refused: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config, line = default_config(), f"warning: {REFUSED}: trains without oneDNN, which is slower\n"
    warn_without_onednn(config)
    assert capsys.readouterr().err == line
    with mock.patch.object(onednn_library, "unavailable_reason", return_value="none"):
        warn_without_onednn(config)
    config.models.convolutions = "xla"
    warn_without_onednn(config)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "tune"])
def test_commands_that_train_say_so(command: str, refused: None, tmp_path: Path) -> None:
    """Ends at a batch that the devices cannot share, before any data is learned from."""
    arguments = (command, "--config", "phantom", "--workdir", str(tmp_path / "run"))
    with (
        mock.patch.object(jax, "device_count", return_value=3),
        mock.patch("musclejax.app.tune.check_data"),
    ):
        result = CliRunner().invoke(main, [*arguments, "--set", "train.batch_size=5"])
    assert "train.batch_size: found 5" in result.stderr
    assert REFUSED in result.stderr


@needs_bfloat16
def test_bfloat16_is_refused_in_one_line_with_the_remedy() -> None:
    config = default_config()
    assert precision(config) == "float32"
    config.models.precision = "bfloat16"
    assert precision(config) == "bfloat16"
    config.models.reference = True
    with pytest.raises(InputError, match=r"found models\.reference=True; accepted: oneDNN"):
        precision(config)
    config.models.reference = False
    with (
        mock.patch.object(onednn_library, "library") as library,
        pytest.raises(InputError, match="without avx512_bf16 and AMX; .* at float32") as error,
    ):
        library().dnnl_get_effective_cpu_isa.return_value = 0x67  # avx512_core_vnni
        precision(config)
    assert "\n" not in str(error.value)
    config.models.convolutions = "xla"
    with pytest.raises(InputError, match="found convolutions by XLA; accepted: oneDNN"):
        precision(config)
    config.models.precision = "half"
    with pytest.raises(InputError, match="'half'; accepted: float32, bfloat16"):
        precision(config)


@pytest.mark.usefixtures("absent")
def test_bfloat16_without_the_library_is_refused() -> None:
    config = default_config()
    config.models.precision = "bfloat16"
    with pytest.raises(InputError, match=r"no oneDNN 3.x .*pip install 'musclejax\[onednn\]'"):
        precision(config)


def test_spec_of_bfloat16_comes_back_from_json() -> None:
    spec = NetworkSpec(convolutions="onednn", precision="bfloat16")
    found = spec_from_json(json.loads(json.dumps(asdict(spec))))
    assert found == spec
    assert found.computes_bfloat16
    assert found.architecture == NetworkSpec().architecture
    assert not replace(spec, convolutions="xla").computes_bfloat16
    assert not replace(spec, reference=True).computes_bfloat16
