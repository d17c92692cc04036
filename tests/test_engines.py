"""Engines that may stand in for JAX: the same labels on real slices, and clear refusals."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from musclejax.errors import InputError
from musclejax.export.check import sample_slices
from musclejax.models.fold import fold_batch_norm
from musclejax.models.weights import load_weights
from musclejax.prediction import engines
from musclejax.prediction.batches import predict_labels
from musclejax.prediction.options import SegmentOptions

OTHERS = ("onednn", "openvino")
ABLE = [e for e in OTHERS if engines.unavailable_reason(e, "float32") is None]


@pytest.fixture(scope="module")
def network():
    return load_weights("phantom").networks["thigh"]


@pytest.fixture(scope="module")
def slices(network) -> np.ndarray:
    """Three slices of the sample thighs: with batches of 2 the last one is padded."""
    return sample_slices(network)[:3]


@pytest.mark.parametrize("engine", OTHERS)
def test_labels_and_confidence_are_those_of_jax(engine: str, network, slices: np.ndarray) -> None:
    if engine not in ABLE:
        pytest.skip(f"{engine} is not installed")
    jax_alone = SegmentOptions(batch_size=2, engine="jax")
    ours = predict_labels(network, slices, jax_alone)
    theirs = predict_labels(network, slices, replace(jax_alone, engine=engine))
    assert len(np.unique(ours.labels)) == 13
    assert (theirs.labels == ours.labels).mean() >= 0.9999
    # Steps of 1/255: rounding may fall to the other side.
    for found, expected in ((theirs.confidence, ours.confidence), (theirs[2], ours[2])):
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (found == expected).mean() > 0.999
    # The same batch: another size may sum in another order.
    labels, confidence = engines.predict_function(network, engine)(slices[:2, ..., None])
    np.testing.assert_array_equal(labels, theirs.labels[:2])
    np.testing.assert_array_equal(confidence, theirs.confidence[:2])


def test_a_predict_function_is_made_once(network) -> None:
    assert engines.predict_function(network, "jax") is engines.predict_function(network, "jax")


def test_folding_keeps_what_the_network_computes(network, slices: np.ndarray) -> None:
    module, variables = fold_batch_norm(network)
    images = slices[:1, 192:288, 96:192, None]
    folded = jax.jit(lambda v, x: module.apply(v, x, train=False))
    whole = jax.jit(lambda v, x: network.module.apply(v, x, train=False))
    expected = np.asarray(whole(jax.device_put(dict(network.variables)), images))
    found = np.asarray(folded(jax.device_put(variables), images))
    assert "batch_stats" not in variables
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("tensorrt", "float32", "engine: found 'tensorrt'; accepted: jax, onednn, openvi"),
        ("jax", "float16", "precision: found 'float16'; accepted: float32, bfloat16"),
    ],
)
def test_choices_that_do_not_exist(engine: str, precision: str, message: str, network) -> None:
    with pytest.raises(InputError, match=message):
        engines.predict_function(network, engine, precision)


def test_absent_packages_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.setattr(
        engines.onednn_library, "unavailable_reason", lambda: "no oneDNN 3.x is installed"
    )
    found = {"onednn": "no oneDNN 3.x is installed"}
    found["openvino"] = "no package onnx, openvino"
    for engine, lacks in found.items():
        reason = str(engines.unavailable_reason(engine, "float32"))
        assert f"found {lacks}; " in reason
        assert "pip install 'musclejax[engines]'" in reason
        assert "\n" not in reason
    assert engines.unavailable_reason("jax", "float32") is None


def test_onednn_is_not_taken_where_jax_runs_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.onednn_library, "unavailable_reason", lambda: "")
    assert engines.unavailable_reason("onednn", "float32") is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    reason = str(engines.unavailable_reason("onednn", "float32"))
    assert "found a gpu; accepted: a CPU and" in reason


@pytest.mark.parametrize("engine", ["onednn", "openvino"])
def test_bfloat16_needs_a_processor_for_it(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: name)
    monkeypatch.setattr(engines.onednn, "unavailable_reason", lambda: "")
    monkeypatch.setitem(engines._BFLOAT16_LACKS, engine, lambda: "an old processor")
    reason = str(engines.unavailable_reason(engine, "bfloat16"))
    assert reason == f"engine {engine}: found an old processor; accepted: float32."
    monkeypatch.setitem(engines._BFLOAT16_LACKS, engine, str)
    assert engines.unavailable_reason(engine, "bfloat16") is None


def test_the_packages_of_every_engine_stand_in_the_extra() -> None:
    import tomllib

    path = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(path.read_text())["project"]["optional-dependencies"]
    names = {line.split(">")[0] for line in extras["engines"]}
    assert {p for facts in engines.ENGINES.values() for p in facts.packages} <= names


def test_halves_of_a_batch_are_joined_in_order() -> None:
    images = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1)
    calls: list[int] = []

    def predict(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        calls.append(len(batch))
        return tuple((batch[..., 0] + n).astype(np.uint8) for n in (0, 100))

    for size, expected in ((6, [3, 3]), (5, [5]), (1, [1])):
        calls.clear()
        labels, confidence = engines._halved(predict, images[:size])
        assert calls == expected
        np.testing.assert_array_equal(labels.ravel(), np.arange(size))
        np.testing.assert_array_equal(confidence.ravel(), np.arange(size) + 100)
