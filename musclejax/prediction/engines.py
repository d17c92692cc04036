"""The engines that compute a network while predicting: JAX, oneDNN called by JAX, or ONNX engines.

In all of them, labels and confidence leave as uint8 from inside the engine. OpenVINO gets the
network as an ONNX graph made in memory. All but "jax" need the extra `musclejax[engines]`.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from musclejax.errors import InputError
from musclejax.models import onnx_graph
from musclejax.models.cpu import onednn, onednn_library, onednn_network
from musclejax.models.cpu.convolution import depth_to_space
from musclejax.models.fold import fold_batch_norm
from musclejax.models.network import Network
from musclejax.models.spec import PRECISIONS
from musclejax.system import available_threads

INSTALL = "pip install 'musclejax[engines]'"
STEPS = 255
"""Probabilities leave the engine as uint8 in steps of 1/255: four times less memory."""

Images = Float[np.ndarray, "b h w 1"]
Outputs = tuple[UInt8[Any, "b h w *classes"], ...]
PredictFunction = Callable[[Images], Outputs]


class Facts(NamedTuple):
    """What distinguishes an engine; a row of `ENGINES`.

    Attributes:
        make: Makes the predict function: of a network, a precision, with or without probabilities.
        packages: Python packages that it needs beyond those that musclejax requires.
    """

    make: Callable[[Network, str, bool], PredictFunction]
    packages: tuple[str, ...] = ()


def missing_packages(engine: str) -> list[str]:
    """Return the packages that the engine needs and that are not installed."""
    return [package for package in ENGINES[engine].packages if find_spec(package) is None]


def library_versions(engine: str) -> dict[str, str]:
    """Return the versions of the libraries that an engine adds to JAX."""
    if engine == "onednn":
        return {"onednn": onednn_library.version()}
    return {package: version(package) for package in ENGINES[engine].packages}


@lru_cache(maxsize=8)
def predict_function(
    network: Network, engine: str = "jax", precision: str = "float32", probabilities: bool = False
) -> PredictFunction:
    """Return the function that labels a batch; kept, so that nothing is built or compiled twice.

    Args:
        network: A segmentation network.
        engine: One of `ENGINES`.
        precision: One of `PRECISIONS`: of the operands of convolutions; sums are float32.
        probabilities: Whether to return those of every class too.

    Returns:
        A function of normalized slices on the model grid. It gives labels, their probability in
        steps of 1/255 and, if requested, the probability of every class in such steps.

    Raises:
        InputError: If there is no such engine or precision, the engine does not offer the
            precision, or it cannot be used here.
    """
    if reason := unavailable_reason(engine, precision):
        raise reason
    return ENGINES[engine].make(network, precision, probabilities)


def unavailable_reason(engine: str, precision: str) -> InputError | None:
    """Return why an engine cannot be used with a precision; None if it can."""
    if precision not in PRECISIONS:
        return InputError.choice("precision", precision, PRECISIONS)
    if engine not in ENGINES:
        return InputError.choice("engine", engine, ENGINES)
    missing = missing_packages(engine)
    absent = onednn.unavailable_reason() if engine == "onednn" else ""
    if missing or absent:
        found = absent or f"no package {', '.join(missing)}"
        accepted = "a CPU and the extra `engines`" if absent else "the extra `engines`"
        return InputError(f"engine {engine}", found, accepted, f"Run: {INSTALL}")
    lacks = _BFLOAT16_LACKS[engine]() if precision == "bfloat16" else ""
    return InputError(f"engine {engine}", lacks, "float32") if lacks else None


def _jax_function(
    network: Network, precision: str, probabilities: bool, convolutions: str = "xla"
) -> PredictFunction:
    module, variables = fold_batch_norm(network, precision, convolutions)
    # On the device once: NumPy arguments would be copied at every call.
    placed = jax.device_put(variables)

    def apply(variables: dict, images: jax.Array) -> tuple[jax.Array, ...]:
        logits = jnp.asarray(module.apply(variables, images, train=False))
        return _labels(logits, probabilities)

    jitted = partial(jax.jit(apply), placed)
    # oneDNN keeps all processors busy by itself.
    whole = convolutions == "onednn" or available_threads() == 1
    return jitted if whole else partial(_halved, jitted)


def _halved(predict: PredictFunction, images: Images) -> Outputs:
    """Label the halves of a batch at once: where one leaves processors idle, the other takes them.

    Source: ours; batches of 4 of the paper's network took 0.46 s per slice so, 0.55 s whole.
    """
    if len(images) % 2:
        return predict(images)
    halves = _HALVES.map(lambda half: [np.asarray(a) for a in predict(half)], np.split(images, 2))
    return tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))


_HALVES = ThreadPoolExecutor(2, "musclejax-half")


def _onednn_function(network: Network, precision: str, probabilities: bool) -> PredictFunction:
    module, variables = fold_batch_norm(network, precision, "onednn")
    if not onednn_network.fits(module.spec):
        return _jax_function(network, precision, probabilities, "onednn")
    whole = onednn_network.OneDNNNetwork(module.spec, variables["params"])
    patch = module.spec.strides[0]

    def apply(operands: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        logits = onednn_network.logits(whole, operands, images)
        grid = logits.shape[:3]
        # The pixels of a patch side by side; they go to their places as uint8.
        pixels = logits.reshape(*grid[:2], -1, module.num_classes)
        return tuple(
            depth_to_space(values.reshape(*grid, -1), patch).reshape(
                *images.shape[:3], *values.shape[3:]
            )
            for values in _labels(pixels, probabilities)
        )

    jitted = jax.jit(apply)
    # XLA computes in the background, and the network must live until it is done.
    return lambda images: tuple(jax.block_until_ready(jitted(whole.operands, images)))


def _labels(logits: jax.Array, probabilities: bool) -> tuple[jax.Array, ...]:
    """Return labels, their probability and, if requested, that of every class."""
    labels = jnp.argmax(logits, axis=-1).astype(jnp.uint8)
    if probabilities:
        soft = _to_steps(jax.nn.softmax(logits))
        return labels, soft.max(-1), soft
    top = logits.max(-1, keepdims=True)
    return labels, _to_steps(1 / jnp.exp(logits - top).sum(-1))


def _to_steps(probability: jax.Array) -> jax.Array:
    return jnp.round(probability * STEPS).astype(jnp.uint8)


def _openvino_function(network: Network, precision: str, probabilities: bool) -> PredictFunction:
    core = _openvino().Core()
    settings = {
        # Stated, because bfloat16 is the default of processors that have it.
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": available_threads(),
        "ENABLE_CPU_PINNING": False,  # threads stay where the process may be, as XLA's do
    }
    model = core.read_model(graph(network, probabilities))
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def predict(images: Images) -> Outputs:
        outputs = request.infer({"image": channel_first(images)}, share_inputs=True)
        return tuple(outputs.values())

    return predict


ENGINES: dict[str, Facts] = {
    "jax": Facts(_jax_function),
    "onednn": Facts(_onednn_function),  # JAX and a library, no package
    "openvino": Facts(_openvino_function, ("onnx", "openvino")),
}
"""Name -> engine."""


def graph(network: Network, probabilities: bool) -> bytes:
    """Return the network as a serialized ONNX model that ends in uint8."""
    module, variables = fold_batch_norm(network)
    outputs = ["labels", "confidence"] + ["probabilities"] * probabilities
    model = onnx_graph.build(module.spec, network.task, variables["params"], outputs)
    return model.SerializeToString()


def channel_first(images: Images) -> Float[np.ndarray, "b 1 h w"]:
    """Return images as ONNX graphs take them."""
    return np.ascontiguousarray(images).reshape(len(images), 1, *images.shape[1:3])


@lru_cache(maxsize=1)
def _openvino_lacks_bfloat16() -> str:
    able = "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "" if able else "a processor without bfloat16"


_BFLOAT16_LACKS: dict[str, Callable[[], str]] = {
    "jax": str,  # it has it everywhere
    "onednn": onednn.bfloat16_unavailable_reason,
    "openvino": _openvino_lacks_bfloat16,
}
"""Engine -> why bfloat16 gains nothing here; empty if it does."""


def _openvino() -> Any:
    with _without_telemetry():
        import openvino
    return openvino


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep OpenVINO from reporting its import to Google Analytics and from forking to do so.

    It falls back to a stub of its own if the package `openvino_telemetry` cannot be imported.
    """
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
