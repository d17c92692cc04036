"""`musclejax segment`: engines, precision, and what the run record says of them."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from musclejax.cli import options
from musclejax.inference import engines
from musclejax.models.spec import PRECISIONS
from musclejax.scan.volume import load
from tests.test_cli import call


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
    for package in engines.PACKAGES[engine]:
        pytest.importorskip(package)
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
