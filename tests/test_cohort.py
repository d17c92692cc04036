"""`musclejax segment`: engines, precision, memory, and what the run record says of them."""

import json
from pathlib import Path
from typing import Any

import jax
import nibabel as nib
import numpy as np
import pytest
from rich.progress import Progress

from musclejax.cli import cohort, options
from musclejax.errors import InputError
from musclejax.inference import engines
from musclejax.inference.memory import (
    MAX_BATCH_SIZE,
    estimate_peak_mib,
    fit_batch_size,
)
from musclejax.models.spec import PRECISIONS
from musclejax.models.variants import VARIANTS
from musclejax.models.weights import Weights, initialise, load_weights
from musclejax.scan.volume import load
from tests.test_cli import call

MEASURED = [
    ("jax", "paper", 373.0, 1, 1489.0),
    ("jax", "paper", 373.0, 2, 1617.0),
    ("jax", "paper", 373.0, 4, 1856.0),
    ("jax", "paper", 373.0, 8, 2332.0),
    ("jax", "compact8", 23.0, 1, 755.0),
    ("jax", "compact8", 23.0, 2, 708.0),
    ("jax", "compact8", 23.0, 4, 767.0),
    ("jax", "compact8", 23.0, 8, 930.0),
    ("onnxruntime", "paper", 373.0, 1, 1898.0),
    ("onnxruntime", "paper", 373.0, 4, 3092.0),
    ("onnxruntime", "compact8", 23.0, 1, 713.0),
    ("onnxruntime", "compact8", 23.0, 4, 969.0),
    ("openvino", "paper", 373.0, 1, 1896.0),
    ("openvino", "paper", 373.0, 4, 2265.0),
    ("openvino", "compact8", 23.0, 1, 736.0),
    ("openvino", "compact8", 23.0, 4, 882.0),
    ("jax", "half16", 23.0, 1, 666.0),
    ("jax", "half16", 23.0, 4, 620.0),
    ("jax", "half16", 23.0, 8, 832.0),
    ("onnxruntime", "half16", 23.0, 1, 647.0),
    ("onnxruntime", "half16", 23.0, 8, 1026.0),
    ("openvino", "half16", 23.0, 1, 670.0),
    ("openvino", "half16", 23.0, 8, 1024.0),
]
"""Engine, variant, size of all weights, batch size, peak: MiB."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory, thigh_path: Path) -> Path:
    """Two slices of the real thighs."""
    path = tmp_path_factory.mktemp("scan") / "a.nii.gz"
    volume = load(thigh_path)
    nib.save(nib.Nifti1Image(volume.data[:, :, 10:20:5], volume.affine), path)
    return path


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "a_run.json").read_text()))


def labels(folder: Path) -> np.ndarray:
    return np.asarray(nib.load(folder / "a_labels.nii.gz").dataobj)


def test_choices_of_the_command_are_those_of_the_engines() -> None:
    assert set(options.ENGINES) == {*engines.ENGINES, "auto"}
    assert options.PRECISIONS == PRECISIONS


def test_the_default_is_jax_in_float32(scan: Path, weights_folder: Path, tmp_path: Path) -> None:
    arguments = ("segment", scan, "-o", tmp_path, "--weights", weights_folder, "--region", "thigh")
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    found = record(tmp_path)
    assert (found["engine"], found["precision"], found["batch_size"]) == ("jax", "float32", 4)
    assert found["memory_limit_gb"] is None
    assert "onnx" not in found["versions"]
    assert "jax float32" not in result.stdout
    # Records of version 0.1 tell no engine: it was this one.
    settings = {k: v for k, v in found["settings"].items() if k not in ("engine", "precision")}
    (tmp_path / "a_run.json").write_text(json.dumps({**found, "settings": settings}))
    assert "a: finished before\n" in call(*arguments).stdout
    other = call(*arguments, "--precision", "bfloat16")
    assert "finished before, with other settings" in other.stdout


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_give_the_same_labels(
    engine: str, scan: Path, weights_folder: Path, tmp_path: Path
) -> None:
    # Not imported: openvino's own import reports itself, for which it forks.
    if missing := engines.missing_packages(engine):
        pytest.skip(f"not installed: {', '.join(missing)}")
    arguments = ("segment", scan, "--weights", weights_folder, "--region", "thigh")
    for name in ("jax", engine):
        result = call(*arguments, "-o", tmp_path / name, "--engine", name)
        assert result.exit_code == 0, result.output
    assert f", {engine} float32)" in result.stdout
    assert (labels(tmp_path / "jax") == labels(tmp_path / engine)).mean() > 0.9999
    found = record(tmp_path / engine)
    assert found["engine"] == found["settings"]["engine"] == engine
    assert set(engines.PACKAGES[engine]) <= set(found["versions"])


def test_auto_takes_what_has_the_precision(
    scan: Path, weights_folder: Path, tmp_path: Path
) -> None:
    result = call(
        "segment", scan, "-o", tmp_path, "--weights", weights_folder, "--region", "thigh",
        "--engine", "auto", "--precision", "bfloat16",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = record(tmp_path)
    assert found["engine"] == engines.resolve("auto", "bfloat16")
    assert found["precision"] == found["settings"]["precision"] == "bfloat16"
    assert f", {found['engine']} bfloat16)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "onnxruntime", "--precision", "bfloat16"], "Engines with bfloat16: jax"),
        (["--engine", "openvino"], "found no package onnx, openvino; accepted: the extra"),
        (["--engine", "tensorrt"], "'tensorrt' is not one of"),
    ],
)
def test_an_engine_that_cannot_is_exit_code_2_before_anything_is_loaded(
    arguments: list[str],
    message: str,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("musclejax.inference.engines.find_spec", lambda package: None)
    # Weights that do not exist would be told, were they looked for first.
    result = call("segment", scan, "-o", tmp_path, "--weights", "nothing", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    if "not one of" not in message:
        assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def small(weights_folder: Path) -> Weights:
    return load_weights(weights_folder)


def test_the_largest_batch_that_fits() -> None:
    """The estimate of the batch is within the limit, that of one more is not."""
    network = initialise("thigh", "compact16")
    weights = Weights("wide", {"thigh": network})
    mib = sum(a.nbytes for a in jax.tree.leaves(network.variables)) / 2**20
    peaks = [estimate_peak_mib(network.spec, 13, mib, size, 10**6) for size in range(1, 10)]
    peaks_gb = [peak * 2**20 / 1e9 for peak in peaks]
    for size in range(1, MAX_BATCH_SIZE + 1):
        between_gb = (peaks_gb[size - 1] + peaks_gb[size]) / 2
        assert fit_batch_size(between_gb, weights, 10**6) == size
    assert fit_batch_size(50.0, weights, 10**6) == MAX_BATCH_SIZE
    assert estimate_peak_mib(VARIANTS["paper"], 13, mib, 1, 10**6) > peaks[0]


@pytest.mark.parametrize(
    "more", [{"probabilities": True}, {"engine": "onnxruntime"}, {"voxels": 10**8}]
)
def test_what_takes_more_memory(more: dict[str, Any], small: Weights) -> None:
    """What suffices for a slice at a time does not suffice for one with more."""
    network = small.networks["thigh"]
    mib = sum(a.nbytes for n in small.networks.values() for a in jax.tree.leaves(n.variables))
    peak_mib = estimate_peak_mib(network.spec, 13, mib / 2**20, 1, 10**7)
    enough_gb, arguments = 1.001 * peak_mib * 2**20 / 1e9, {"region": "thigh", "voxels": 10**7}
    assert fit_batch_size(enough_gb, small, **arguments) == 1
    with pytest.raises(InputError, match=f"--memory: found {enough_gb:g} GB"):
        fit_batch_size(enough_gb, small, **{**arguments, **more})


@pytest.mark.parametrize(("engine", "variant", "weights_mib", "batch_size", "peak_mib"), MEASURED)
def test_the_estimate_lies_above_what_was_measured(
    engine: str, variant: str, weights_mib: float, batch_size: int, peak_mib: float
) -> None:
    """Origin: peak_memory_mib of `musclejax segment musclejax/samples/test_up.nii.gz`."""
    spec, voxels = VARIANTS[variant], 320 * 320 * 31
    estimate = estimate_peak_mib(spec, 13, weights_mib, batch_size, voxels, engine=engine)
    # One margin covers processes that compile and those that do not; for half16 they differ most.
    margin = 1.65 if variant == "half16" else 1.4
    assert peak_mib < estimate < margin * peak_mib


def test_memory_picks_the_batch_size(scan: Path, weights_folder: Path, tmp_path: Path) -> None:
    result = call(
        "segment", scan, "-o", tmp_path, "--weights", weights_folder, "--region", "thigh",
        "--memory", "50",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "batch size 8, for 50 GB\n" in result.stdout
    assert (record(tmp_path)["batch_size"], record(tmp_path)["memory_limit_gb"]) == (8, 50.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "0.2"], "--memory: found 0.2 GB, which one slice at a time may exceed"),
        (["--memory", "2", "--batch-size", "2"], "--memory: found --batch-size too"),
        (["--memory", "0"], "0.0 is not in the range"),
    ],
)
def test_unusable_memory(
    arguments: list[str], message: str, scan: Path, weights_folder: Path, tmp_path: Path
) -> None:
    result = call("segment", scan, "-o", tmp_path, "--weights", weights_folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_bar_of_a_scan_grows_by_what_is_looked_at_twice() -> None:
    progress = Progress(disable=True)
    with cohort._bars(progress)("scan", 31) as bar:
        bar.advance(31)
        bar.extend(2)
        [task] = progress.tasks
        assert (task.description, task.completed, task.total) == ("scan", 31, 33)
        bar.advance(2)
        assert progress.finished
    assert not progress.tasks
