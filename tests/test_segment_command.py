"""`musclejax segment`: engines, precision, what is printed, and the run record."""

import json
import re
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pytest
from rich.progress import Progress

from musclejax.app import console, process
from musclejax.app.process import Stopwatch
from musclejax.errors import InputError
from musclejax.loops import Advance, Stage
from musclejax.options import choices
from musclejax.prediction import engines
from musclejax.prediction.engine_speed import Pair
from musclejax.prediction.options import Engine, SegmentOptions
from musclejax.scan.grid import GEOMETRIES
from musclejax.scan.study import load
from tests.events import run
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
    assert set(get_args(Engine)) == {"default", *engines.ENGINES, "auto"}
    assert choices(SegmentOptions, "geometry") == GEOMETRIES


def test_of_own_weights_the_default_is_jax_in_float32(
    scan: Path, weights_folder: Path, tmp_path: Path
) -> None:
    arguments = ("segment", scan, "-o", tmp_path, "--weights", weights_folder, "--region", "thigh")
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    found = record(tmp_path)
    assert (found["engine"], found["precision"], found["batch_size"]) == ("jax", "float32", 4)
    assert "onnx" not in found["versions"]
    assert "jax float32" not in result.stdout
    assert "a: already done\n" in call(*arguments).stdout
    other = call(*arguments, "--engine", "jax", "--precision", "bfloat16")
    assert "already done, with other settings" in other.stdout


@pytest.mark.parametrize("engine", ["onednn", "openvino"])
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
    assert set(engines.ENGINES[engine].packages) <= set(found["versions"])


@pytest.mark.parametrize("fastest", [("jax", "float32"), ("onednn", "float32")])
def test_auto_says_what_was_measured_and_records_what_was_taken(
    fastest: tuple[str, str],
    scan: Path,
    weights_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [Pair("jax", "float32"), Pair("onednn", "float32")]
    if reason := engines.unavailable_reason(*fastest):
        pytest.skip(str(reason))
    seconds = {pair: 0.5 if pair == fastest else 1.0 for pair in pairs}
    monkeypatch.setattr(
        "musclejax.prediction.engine_choice._pairs",
        lambda how, _: pairs if how.engine == "auto" else [Pair(how.engine, how.precision)],
    )
    monkeypatch.setattr("musclejax.prediction.engine_speed.measured", lambda *given: seconds)
    result = call(
        "segment", scan, "-o", tmp_path, "--weights", weights_folder, "--region", "thigh",
        "--engine", "auto", "-v",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"engines, seconds per slice: {fastest[0]} float32 0.125, " in result.stdout
    found = record(tmp_path)
    assert (found["engine"], found["precision"]) == fastest
    assert (found["settings"]["engine"], found["settings"]["precision"]) == fastest


def test_bfloat16_by_request_without_a_processor_for_it_is_one_line(
    scan: Path, weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "musclejax.models.cpu.onednn.bfloat16_unavailable_reason", lambda: "an old processor"
    )
    monkeypatch.setitem(engines._BFLOAT16_LACKS, "onednn", lambda: "an old processor")
    arguments = ("segment", scan, "--weights", weights_folder, "--region", "thigh")
    result = call(*arguments, "-o", tmp_path / "asked", "--precision", "bfloat16")
    assert result.exit_code == 0, result.output
    line = "bfloat16 gains nothing here (an old processor): computed in float32\n"
    assert result.stderr.count(line) == 1
    found = record(tmp_path / "asked")
    assert (found["engine"], found["precision"]) == ("jax", "float32")
    assert "bfloat16" not in call(*arguments, "-o", tmp_path / "unasked").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "openvino"], "found no package onnx, openvino; accepted: the extra"),
        (["--engine", "onnxruntime"], "'onnxruntime' is not one of"),
    ],
)
def test_an_engine_that_cannot_is_exit_code_2_before_anything_is_loaded(
    arguments: list[str],
    message: str,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("musclejax.prediction.engines.find_spec", lambda package: None)
    # Weights that do not exist would be reported, were they loaded first.
    result = call("segment", scan, "-o", tmp_path, "--weights", "nothing", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    if "not one of" not in message:
        assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_quiet_and_verbose(scan: Path, weights_folder: Path, tmp_path: Path) -> None:
    """Warnings and failures go to standard error, whatever is shown."""
    arguments = ("segment", scan, "-o", tmp_path, "--weights", weights_folder, "--region", "thigh")
    quiet = call(*arguments, "-q")
    assert (quiet.exit_code, quiet.stdout) == (0, "")
    assert quiet.stderr.startswith("warning: random weights")
    normal = call(*arguments, "--overwrite")
    assert normal.stdout.splitlines()[0] == "weights random4: random, not trained"
    assert len(normal.stdout.splitlines()) == 3
    verbose = call(*arguments, "--overwrite", "-v")
    stages = re.findall(r"(\w+) \d+\.\d\d s", verbose.stdout.splitlines()[-2])
    assert stages == ["load", "resample", "classify", "network", "restore", "save", "total"]
    assert "a: already done\nreport: " in call(*arguments).stdout


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Stop the time of stopwatches; returns a function that lets seconds pass."""
    now = [0.0]
    monkeypatch.setattr(process, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def wait(seconds: int) -> None:
        now[0] += seconds

    return wait


def test_stages_are_timed_from_the_events_of_a_loop(clock: Callable[[int], None]) -> None:
    def steps() -> Generator[Stage | Advance, None, str]:
        yield Stage("first")
        clock(1)
        yield Advance(1, 2)
        clock(2)
        yield Stage("second")
        clock(4)
        yield Stage("first")
        clock(8)
        return "end"

    watch = Stopwatch()
    with watch.stage("total"):
        result, events = run(watch.timed(steps()))
        clock(16)
    watch.add("second", 100.0)
    assert result == "end"
    assert events == [Stage("first"), Advance(1, 2), Stage("second"), Stage("first")]
    assert watch.seconds == {"first": 11, "second": 104, "total": 31}


def test_a_stage_that_fails_is_closed(clock: Callable[[int], None]) -> None:
    def steps() -> Generator[Stage, None, None]:
        yield Stage("first")
        clock(1)
        raise InputError("scan", "nothing", "something")

    watch = Stopwatch()
    with pytest.raises(InputError):
        run(watch.timed(steps()))
    clock(2)
    assert watch.seconds == {"first": 1}


def test_the_bar_of_a_scan_grows_by_the_slices_with_test_time_augmentation() -> None:
    progress = Progress(disable=True)
    bar = console.Bar(progress, "scan")

    def steps() -> Generator[Stage | Advance, None, str]:
        yield Advance(31, 31)
        yield Stage("more")
        yield Advance(31, 33)
        [task] = progress.tasks
        assert (task.description, task.completed, task.total) == ("scan", 31, 33)
        yield Advance(33, 33)
        return "end"

    assert bar.follow(steps()) == "end"
    assert progress.finished
    bar.close()
    assert not progress.tasks
