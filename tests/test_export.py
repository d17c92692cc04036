"""Exported networks: the graph of every variant, what the file says, and a reader of its own."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from musclejax import anatomy
from musclejax.anatomy import TASKS
from musclejax.errors import InputError
from musclejax.export import formats
from musclejax.export.check import sample_slices
from musclejax.export.formats import check_options, export
from musclejax.models import onnx_graph
from musclejax.models.fold import fold_batch_norm
from musclejax.models.network import Network
from musclejax.models.onnx_graph import OUTPUTS
from musclejax.models.provenance import Provenance
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import VARIANTS
from musclejax.models.weights import Weights, load_weights, save_weights
from tests.conftest import quick_jit
from tests.networks import STRUCTURES, drawn, network_of, shrunk_classifier
from tests.test_cli import call

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run_graph(network: Network, images: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    module, variables = fold_batch_norm(network)
    model = onnx_graph.build(module.spec, network.task, variables["params"], names)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(
        zip(names, session.run(names, {"image": images.transpose(0, 3, 1, 2)}), strict=True)
    )


def logits_of(network: Network, images: np.ndarray) -> np.ndarray:
    apply = quick_jit(partial(network.module.apply, train=False))
    return np.asarray(apply(dict(network.variables), images))


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_graph_of_every_variant_computes_what_jax_computes(name: str) -> None:
    spec = STRUCTURES[name]
    network, px = network_of(spec, "thigh", drawn(spec, "thigh")), 4 * spec.size_multiple
    images = np.random.default_rng(1).uniform(0, 2, (2, px, 2 * px, 1)).astype(np.float32)
    logits = logits_of(network, images)
    found = run_graph(network, images, list(OUTPUTS))
    scale = np.abs(logits).max()
    np.testing.assert_allclose(np.moveaxis(found["logits"], 1, -1), logits, atol=2e-5 * scale)
    assert len(np.unique(found["labels"])) > 1  # a flat output would agree with anything
    assert (found["labels"] == logits.argmax(-1)).mean() > 0.999
    soft = np.asarray(jax.nn.softmax(logits)) * 255
    np.testing.assert_allclose(found["confidence"], soft.max(-1), atol=0.51)
    np.testing.assert_allclose(found["probabilities"], soft, atol=0.51)
    assert {found[n].dtype for n in ("labels", "confidence", "probabilities")} == {np.dtype("u1")}


@pytest.mark.parametrize("name", ["paper", "unet", "groupnorm", "half16"])
def test_the_graph_of_the_classifier_computes_what_jax_computes(name: str) -> None:
    spec = shrunk_classifier(VARIANTS[name])
    network = network_of(spec, "region", drawn(spec, "region"))
    images = np.random.default_rng(2).uniform(0, 2, (3, 128, 128, 1)).astype(np.float32)
    logits = logits_of(network, images)
    found = run_graph(network, images, ["logits", "labels"])
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["labels"], logits.argmax(-1))


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that are small, so that they compile soon, and no row of the table."""
    spec = NetworkSpec(widths=(3, 4), strides=(2, 2), units=1)
    folder = tmp_path_factory.mktemp("weights") / "small"
    networks = {task: network_of(spec, task, drawn(spec, task)) for task in TASKS}
    save_weights(folder, networks, Provenance(version="7", trained=False, license="MIT"))
    return folder


@pytest.fixture(scope="module")
def weights(weights_folder: Path) -> Weights:
    return load_weights(weights_folder)


def test_an_onnx_file_says_how_to_feed_it(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "leg.onnx"
    check = export(weights, "leg", path, "onnx")
    # Two engines round differently: where random weights leave two classes closer together than
    # the difference, either may win, in one pixel of a hundred thousand here.
    assert (check.slices, check.difference < 1e-5, check.agreement > 1 - 1e-5) == (4, True, True)
    assert {p.name for p in tmp_path.iterdir()} == {"leg.onnx", "leg.onnx.json"}
    model = onnx.load(path)
    held = {p.key: p.value for p in model.metadata_props}
    written = json.loads((tmp_path / "leg.onnx.json").read_text())
    assert written.pop("check")["slices"] == 4  # made after the file, so not in it
    texts = {k: v for k, v in written.items() if isinstance(v, str)}
    assert {k: v if k in texts else json.loads(v) for k, v in held.items()} == written
    assert written["labels"]["1"].startswith(anatomy.REGIONS["leg"].muscles[0].abbreviation)
    assert written["classes"] == list(TASKS["leg"].class_names)
    prepared = written["input"]
    assert (prepared["size_px"], prepared["size_multiple"]) == (432, 4)
    assert prepared["spacing_mm"] == pytest.approx(1.037037)
    assert "anterior" in prepared["orientation"]
    assert (written["weights_hash"], written["trained"]) == (weights.hash, False)
    assert written["network_hash"] == weights.networks["leg"].hash
    assert (written["weights_version"], written["license"]) == ("7", "MIT")
    assert written["spec"]["widths"] == [3, 4]
    assert "mean nothing" in model.doc_string
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 1, "height", "width"]


def test_a_classifier_has_no_rows_and_columns(weights: Weights, tmp_path: Path) -> None:
    export(weights, "region", tmp_path / "region.onnx", "onnx")
    written = json.loads((tmp_path / "region.onnx.json").read_text())
    assert written["axes"]["image"] == ["batch", "channel", "row", "column"]
    assert written["axes"]["logits"] == ["batch", "class"]
    assert written["axes"]["labels"] == ["batch"]
    assert written["labels"] == {"0": "thigh", "1": "leg"}
    assert (written["input"]["size_px"], written["input"]["slice_px"]) == (128, 432)


READER = """
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("musclejax", "flax"):
            raise ImportError(f"{name} is forbidden here")

sys.meta_path.insert(0, Forbid())
import numpy as np
from jax import export

path, images, labels = sys.argv[1:]
with open(path, "rb") as file:
    network = export.deserialize(bytearray(file.read()))
for batch in (1, 3):
    outputs = network.call(np.load(images)[:batch])
    assert outputs["logits"].shape[0] == batch
np.save(labels, outputs["labels"])
assert not [m for m in sys.modules if m.split(".")[0] in ("musclejax", "flax")]
"""


@pytest.mark.parametrize("task", ["thigh", "region"])
def test_stablehlo_is_read_without_this_package(
    task: str, weights: Weights, tmp_path: Path
) -> None:
    pytest.importorskip("flatbuffers")
    path = tmp_path / f"{task}.stablehlo"
    check = export(weights, task, path, "stablehlo")
    assert check.agreement > 0.9999
    network = weights.networks[task]
    images = sample_slices(network)[:3, ..., None]
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / name) for name in (path.name, "images.npy", "labels.npy")]
    subprocess.run([sys.executable, "-c", READER, *files], check=True, cwd=tmp_path)
    apply = jax.jit(lambda v, x: network.module.apply(v, x, train=False).argmax(-1))
    expected = np.asarray(apply(dict(network.variables), images))
    found = np.load(tmp_path / "labels.npy")
    assert found.dtype == np.uint8
    assert (found == expected).mean() > 0.9999


@pytest.mark.parametrize("damage", ["labels", "logits", "nan"])
def test_a_file_that_disagrees_with_jax_is_not_kept(
    damage: str, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = formats.FORMATS["onnx"]

    def run(content: Any, images: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(kind.run(content, images))
        match damage:
            case "labels":
                found["labels"] = 1 - found["labels"]
            case "logits":
                found["logits"] = found["logits"] * 1.01
            case _:
                found["logits"] = found["logits"] * np.nan
        return found

    monkeypatch.setitem(formats.FORMATS, "onnx", replace(kind, run=run))
    with pytest.raises(InputError, match=r"from JAX; accepted: .* Nothing was written") as error:
        export(weights, "region", tmp_path / "region.onnx", "onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("task", "name", "format", "message"),
    [
        ("thigh", "a.onnx", "tflite", "format: found 'tflite'; accepted: onnx, stablehlo"),
        ("arm", "a.onnx", "onnx", "found networks .*thigh.*; accepted: a arm network"),
        ("thigh", "a.onnx", "stablehlo", "found suffix .onnx; accepted: .stablehlo for stablehlo"),
        ("thigh", "a", "onnx", "found suffix none; accepted: .onnx for onnx"),
    ],
)
def test_options_that_do_not_fit(
    task: str, name: str, format: str, message: str, weights: Weights, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        check_options(weights, task, tmp_path / name, format)


def test_the_command(weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = ("export", "--weights", weights_folder, "--format", "onnx", "-o")
    path = tmp_path / "new" / "region.onnx"
    done = call(*begin, path, "--task", "region")
    assert done.exit_code == 0, done.output
    assert f"{path}: region network of small" in done.stdout
    assert "labels 100.000% equal" in done.stdout
    several = call(*begin, tmp_path / "a.onnx")
    assert several.exit_code == 2
    assert "--task: found none; accepted: " in several.stderr
    suffix = call(*begin, tmp_path / "a.pb", "--task", "leg")
    assert suffix.exit_code == 2
    assert "found suffix .pb; accepted: .onnx" in suffix.stderr
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    absent = call(*begin, tmp_path / "a.onnx", "--task", "leg")
    assert absent.exit_code == 2
    assert "found no package onnx, onnxruntime" in absent.stderr
    assert "pip install 'musclejax[engines]'" in absent.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"new"}
