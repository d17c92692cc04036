"""Runs, searches and their folders: what is damaged, missing, unwritable or taken is one line.

Each row names its origin; "ours" are faults found in this project's own trials.
"""

import errno
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from musclejax.anatomy import TASKS
from musclejax.app import devices, process
from musclejax.config import load_recipe
from musclejax.data.batches import Batch
from musclejax.errors import DiskError, InputError
from musclejax.files import check_manifest, locked
from musclejax.reports.search import recipe_text
from musclejax.system import newer_than_this
from musclejax.training import checkpoint, loop
from musclejax.training.events import RunResumed
from musclejax.training.loop import check_batch_size, train_steps
from musclejax.training.meeting import meet
from musclejax.training.metrics import Counts
from musclejax.training.setup import Data
from musclejax.training.step import StepMetrics, Steps, TrainState
from musclejax.training.to_weights import read_network
from musclejax.training.workdir import LOCK, METRICS, owned, read_metrics, read_run
from musclejax.tuning.hyperband import check_entries, ranked, search_steps
from musclejax.tuning.log import LOG, MANIFEST, Entry, append_entry, open_search, read_log

EPOCHS, RATE, CLASSES = 3, 0.01, TASKS["thigh"].num_classes


class Slices:
    """Two slices with nothing in them: the loop is tested here, not the network."""

    seeds, seed = None, 0

    def __len__(self) -> int:
        return 2

    def origin(self, index: int) -> str:
        return f"case:{index}"

    def sample(self, *arguments: Any) -> None: ...

    sample_many = class_of = plain = sample


def settings(*changes: str) -> ConfigDict:
    small = ["variant=compact4", "train.batch_size=1", "train.epoch_slices=2"]
    return load_recipe("tiny", [*small, f"optim.learning_rate={RATE}", *changes])


class Network:
    """Stands for the compiled steps: counts, and diverges above a rate from a step on."""

    def __init__(self, fails_at: int = 99, validation_loss: float = 1.0) -> None:
        self.fails_at, self.validation_loss = fails_at, validation_loss

    def make_steps(self, config: ConfigDict, pixels: int) -> Steps:
        return Steps(self.train, self.validate, lambda batch: batch, lambda tree: tree)

    def train(self, state: TrainState, batch: Any, rate: Any) -> tuple[TrainState, StepMetrics]:
        step = int(state.step) + 1
        bad = step >= self.fails_at and rate >= RATE
        stats = {"mean": jnp.full(3, np.nan if bad else step, jnp.float32)}
        return state._replace(step=jnp.int32(step), batch_stats=stats), figures(1.0)

    def validate(self, state: TrainState, batch: Any) -> StepMetrics:
        return figures(self.validation_loss)


def figures(loss: float) -> StepMetrics:
    one = [np.float32(x) for x in (loss, 0, 0.5)]
    return StepMetrics(*one, Counts(*[np.ones(CLASSES, np.int32)] * 3), np.int32(1))


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Run the loop around a stand-in for the network; return its events."""
    empty = Batch(*(np.zeros(s, t) for s, t in (((1, 2, 2, 1), "f4"), ((1, 2, 2), "i4"))),
                  np.zeros((1, 2, 2), "f4"), np.ones(1, bool))  # fmt: skip
    monkeypatch.setattr(loop, "_own_rows", lambda *arguments: empty)
    monkeypatch.setattr(loop, "batch_origins", lambda *arguments: ["case:0"])
    monkeypatch.setattr(loop, "initial_state", lambda *arguments: TrainState(
        jnp.int32(0), {"kernel": jnp.ones(3)}, {"mean": jnp.zeros(3)}, (), {}
    ))  # fmt: skip
    part = {"cases": ["c"], "subjects": ["s"], "slices": 2, "checksum": 1}
    data = Data({"train": Slices(), "validation": Slices()}, np.ones(CLASSES, np.float32),
                {"train": part, "validation": part}, ())  # fmt: skip

    def run(network: Network | None = None, *changes: str, resume: bool = False) -> list[Any]:
        monkeypatch.setattr(loop, "make_steps", (network or Network()).make_steps)
        config = settings(f"train.epochs={EPOCHS}", *changes)
        return list(
            train_steps(config, data, tmp_path / "run", {}, clock=time.perf_counter, resume=resume)
        )

    return run


def epochs(run: Path) -> list[int]:
    return [line["epoch"] for line in read_metrics(run)]


@pytest.mark.parametrize(
    ("network", "message", "done", "best"),
    [
        # Statistics of batch norm are NaN while the loss of the step is finite. Ours.
        (Network(fails_at=4), "variables that are no numbers after step 4", [1], 2),
        (Network(fails_at=1), "variables that are no numbers after step 2", [], None),
        (Network(validation_loss=float("nan")), "a validation loss of nan in epoch 1", [], None),
        (Network(validation_loss=float("inf")), "a validation loss of inf in epoch 1", [], None),
    ],
)
def test_a_diverged_network_is_never_best_and_the_last_good_one_stays(
    network: Network, message: str, done: list[int], best: int | None,
    train: Callable[..., list[Any]], tmp_path: Path,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    with pytest.raises(InputError, match=f"{message}.*--resume --set optim.learning_rate=0.005"):
        train(network)
    assert epochs(run) == done
    for kind in ("best", "last"):
        saved = checkpoint.load(run, kind)
        assert (saved and int(saved[0]["step"])) == best
    if best is None:
        with pytest.raises(InputError, match="no best checkpoint yet"):
            read_network(run, "best")


def test_a_diverged_run_goes_on_with_a_lower_rate_which_is_recorded(
    train: Callable[..., list[Any]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no numbers after step 4"):
        train(Network(fails_at=4))
    lower = "optim.learning_rate=0.005"
    train(Network(fails_at=4), lower, resume=True)
    record = read_run(tmp_path / "run")
    assert record is not None
    assert record["changes"] == [
        {"after_epoch": 1, "setting": "optim.learning_rate", "from": 0.01, "to": 0.005}
    ]
    assert [line["learning_rate"] for line in read_metrics(tmp_path / "run")] == [
        0.01,
        0.005,
        0.005,
    ]
    with pytest.raises(
        InputError, match=r"another config \(optim.learning_rate: 0.005 against 0.1"
    ):
        train(None, "optim.learning_rate=0.1", resume=True)
    train(None, "train.epochs=4", lower, resume=True)
    assert read_run(tmp_path / "run")["changes"] == record["changes"]  # type: ignore[index]


def test_without_its_last_checkpoint_a_run_goes_on_from_the_best(
    train: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Source: ours; the metrics were dropped and the run began anew without a word."""
    run = tmp_path / "run"
    train()
    shutil.rmtree(run / "checkpoints" / "last")
    assert train(resume=True)[0] == RunResumed(1)  # the first was the best: all are equal
    assert epochs(run) == [1, 2, 3]
    shutil.rmtree(run / "checkpoints")
    before = (run / METRICS).read_bytes()
    with pytest.raises(InputError, match="3 epochs in metrics.jsonl and no checkpoint"):
        train(resume=True)
    assert (run / METRICS).read_bytes() == before


def test_a_run_killed_before_its_first_metrics_begins_anew(
    train: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Source: ours; the epochs of such a run began at 2. The first epoch is the best so far."""
    run = tmp_path / "run"
    train(None, "train.epochs=1")
    shutil.rmtree(run / "checkpoints" / "last")
    (run / METRICS).write_bytes(b'{"epo')
    events = train(resume=True)
    assert not any(isinstance(event, RunResumed) for event in events)
    assert epochs(run) == [1, 2, 3]


def test_metrics_of_fewer_epochs_than_the_checkpoint(
    train: Callable[..., list[Any]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train()
    lines = (run / METRICS).read_bytes().splitlines(keepends=True)
    (run / METRICS).write_bytes(b"".join(lines[:2]))
    with pytest.raises(InputError, match="2 epochs in metrics.jsonl and a checkpoint of epoch 3"):
        train(None, "train.epochs=4", resume=True)
    assert epochs(run) == [1, 2]


def test_one_process_at_a_time_trains_in_a_folder(
    train: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Source: classifier-pipeline issue 14; a queue starts a job before its old process is dead."""
    with owned(tmp_path / "run"), pytest.raises(InputError, match="another process at work on it"):
        train(resume=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    assert len(train(resume=True)) == EPOCHS * 3


def test_reading_a_checkpoint_leaves_the_one_being_written(tmp_path: Path) -> None:
    """Source: ours; `weights export RUN` removed it, and the training ended."""
    checkpoint.save(tmp_path, "last", 1, {"a": np.ones(2)}, {})
    begun = tmp_path / "checkpoints" / "last" / "2.orbax-checkpoint-tmp"
    begun.mkdir()
    assert checkpoint.load(tmp_path, "last") is not None
    assert checkpoint.exists(tmp_path, "last")
    assert begun.is_dir()
    checkpoint.save(tmp_path, "last", 1, {"a": np.zeros(2)}, {})  # of a number that is there
    saved = checkpoint.load(tmp_path, "last")
    assert saved is not None
    assert saved[0]["a"].tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of TensorStore
def test_a_checkpoint_with_a_flipped_bit_is_refused_or_the_same(tmp_path: Path) -> None:
    """Source: ours; 6 of 6 flipped bits were loaded without a word."""
    rng = np.random.default_rng(0)
    state = {"params": {"a": rng.normal(size=(40, 25)).astype(np.float32)}, "step": np.int32(7)}
    checkpoint.save(tmp_path, "best", 1, state, {"epoch": 3})
    files = [p for p in (tmp_path / "checkpoints").rglob("*") if p.is_file() and p.stat().st_size]
    lines: list[str] = []
    for path in sorted(files, key=lambda p: -p.stat().st_size)[:8]:
        before = path.read_bytes()
        content = bytearray(before)
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            saved = checkpoint.load(tmp_path, "best")
            assert saved is None or np.array_equal(saved[0]["params"]["a"], state["params"]["a"])
            assert saved is None or saved[1] == {"epoch": 3}
        except InputError as error:
            lines.append(str(error))
        path.write_bytes(before)
    assert lines
    assert "\n" not in "".join(lines)
    assert checkpoint.load(tmp_path, "best") is not None


def line_of(epoch: int) -> bytes:
    return b'{"epoch": %d}\n' % epoch


LINE = line_of(1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LINE + b"\0" * 40 + b"\n", [1]),  # a loss of power: ours
        (LINE + b"\0" * 40, [1]),
        (LINE + b'{"epoch": 2, "tra', [1]),
        (LINE + b"\xff\xfe\n", [1]),
        (LINE + b"[" * 100_000 + b"\n", [1]),
        (b'{"epo', []),  # a kill in the first epoch
        (b"\0" * 40, []),
        (b"\xff\n", "line 1 that is damaged"),  # nothing is whole: no run that has not begun
        (b"\xff\n" * 3, "line 1 that is damaged"),
        (LINE + b"[1]\n3\n", "line 2 that is damaged"),
        (b"\0\n" + LINE, "line 1 that is damaged"),
        (LINE + b"\xff\n" + LINE, "line 2 that is damaged"),
        (LINE + b'{"loss": 1}\n' + LINE, "line 2 that is damaged"),
        # Whole lines are lost. Source: ours, found by changing files at random.
        (LINE + line_of(4) + line_of(5), "line 2 .* of another epoch"),
        (line_of(2) + line_of(3), "line 1 .* of another epoch"),
        (LINE + LINE + line_of(2), "line 2 .* of another epoch"),
    ],
)
def test_damaged_metrics(content: bytes, expected: list[int] | str, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(content)
    if isinstance(expected, list):
        assert epochs(tmp_path) == expected
        return
    with pytest.raises(InputError, match=expected):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0" * 9, "JSONDecodeError"),
        (b"\xff", "UnicodeDecodeError"),
        (b"[" * 100_000, "RecursionError"),
        (b"[]", "TypeError"),
        (b'{"config": 3}', "accepted: a run's record"),
        # A setting of a later version. Source: wasserth/TotalSegmentator#289.
        (
            b'{"config": {"optim": {"new": 1}}, "versions": {"musclejax": "9.1"}}',
            "new.*accepted: a run's record.*by musclejax 9.1; this is .*pip install",
        ),
    ],
)
def test_damaged_records(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_run(tmp_path)
    assert str(tmp_path / "run.json") in str(error.value)


@pytest.mark.parametrize(
    ("theirs", "newer"), [("0.0.9", False), ("9", True), ("x", False), (None, False)]
)
def test_only_later_versions_are_named(theirs: str | None, newer: bool) -> None:
    assert bool(newer_than_this(theirs)) is newer


def test_a_folder_that_cannot_be_made_or_held(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/none")):
        with pytest.raises(InputError, match="no such folder"), owned(folder):
            pass


def test_a_batch_that_several_devices_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Source: ours; the paper's batch of 5 on four GPUs was a traceback after the data."""
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(InputError, match="found 5; .* number of devices, 4. Nearest: 8"):
        check_batch_size(load_recipe("thigh"))


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return int(server.getsockname()[1])


def meeting(numbers: list[int], count: int, patience_s: float) -> dict[int, str]:
    """Let some processes of a run meet; return what each of them was told."""
    address, told = f"localhost:{free_port()}", {}

    def come(number: int) -> None:
        try:
            meet(address, count, number, patience_s)
            told[number] = ""
        except InputError as error:
            told[number] = str(error)

    threads = [threading.Thread(target=come, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


@pytest.mark.parametrize(
    ("numbers", "count", "patience_s", "told"),
    [
        ([1, 0, 2], 3, 20.0, {0: "", 1: "", 2: ""}),
        ([0], 2, 0.3, {0: "no process 1 after"}),
        ([1], 2, 0.3, {1: "no process 0 after"}),
        ([0, 1], 3, 0.6, {0: "no process 2 after", 1: "process 0, which did not wait for all"}),
    ],
)
def test_an_absent_partner_is_a_line(
    numbers: list[int], count: int, patience_s: float, told: dict[int, str]
) -> None:
    """Source: ours; JAX aborted the process after five minutes."""
    found = meeting(numbers, count, patience_s)
    assert found.keys() == told.keys()
    for number, line in told.items():
        assert line in found[number]
        assert bool(line) == bool(found[number])


@pytest.mark.parametrize("address", ["host", ":9", "host:0", "host:99999", "host:x"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InputError, match="accepted: HOST:PORT"):
        meet(address, 2, 0, 0.1)


@pytest.mark.parametrize("raised", [AssertionError(""), RuntimeError("Unable to initialize")])
def test_devices_that_are_not_there_are_a_line(
    raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source: jax-ml/jax#23208, #25315."""

    def none() -> None:
        raise raised

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(InputError, match="found cuda, but no such device on this machine"):
        devices.check_devices()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    devices.check_devices()


CACHED = """
import sys
from musclejax.app.process import configure
configure(None)
import jax
jax.jit(lambda x: x * 3 + 1)(2.0)
"""


def test_a_damaged_compile_cache_is_mended(tmp_path: Path) -> None:
    """Source: jax-ml/jax#39880, #22718: entries that were cut off stay for ever, with warnings."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

    def start() -> dict[str, int]:
        command = [sys.executable, "-c", CACHED]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return {p.name: p.stat().st_size for p in tmp_path.glob("cache/*-cache")}

    whole = start()
    assert whole
    for name in whole:
        os.truncate(tmp_path / "cache" / name, 40)
    assert start() == whole


def test_a_cache_that_cannot_be_written_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(devices, "_reported", set())
    others: list[str] = []
    (tmp_path / "jit_f-1-cache").write_text("half")
    (tmp_path / "jit_g-1-cache").write_text("whole")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest: others.append(str(message))
        devices.mend_compile_cache()
        for _ in range(2):
            text = "Error writing persistent compilation cache entry for 'jit_f': OSError: full"
            warnings.warn(text, stacklevel=1)
        warnings.simplefilter("always")
        warnings.warn("another", stacklevel=1)
    lines = capsys.readouterr().err
    assert lines.count("compiled functions cannot be kept (OSError: full)") == 1
    assert others == ["another"]
    assert [path.name for path in tmp_path.iterdir()] == ["jit_g-1-cache"]


def test_commands_import_jax_after_their_process_is_set_up() -> None:
    """Source: ours; `train` compiled anew at every start, as its cache was set too late."""
    seen = (
        "import sys, musclejax.cli.main; print([m for m in ('jax', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [(errno.ENOSPC, click.ClickException, 1), (errno.ENOTDIR, process.BadUsage, 2)],
)
def test_an_output_that_cannot_be_written_is_a_line(
    code: int, kind: type[click.ClickException], exit_code: int
) -> None:
    message = "found out, which cannot be written"
    with pytest.raises(kind, match=message) as error, process.writing(Path("out")):
        raise OSError(code, os.strerror(code))
    assert error.value.exit_code == exit_code


def test_a_work_folder_that_cannot_be_made_is_reported_before_the_data(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    process.check_output(tmp_path / "new" / "run", "--workdir")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(process.BadUsage, match="--workdir: found .*file.* is not a folder"):
            process.check_output(folder, "--workdir")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def search_config() -> ConfigDict:
    return load_recipe("tune", ["tune.max_epochs=3"])


def search(workdir: Path, trial: Callable[..., Any]) -> list[Entry]:
    steps = search_steps(
        search_config(), workdir, trial, read_log(workdir), clock=time.perf_counter
    )
    while True:
        try:
            append_entry(workdir, next(steps))
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    "raised", [DiskError("RUN", "a disk that cannot be written", "room"), OSError(28, "full")]
)
def test_a_full_disk_fails_no_trial(raised: Exception, tmp_path: Path) -> None:
    """Source: ours; 12 of 17 trials had failed for good when there was room again."""
    full = True

    def trial(config: ConfigDict, budget: int, folder: Path) -> dict[str, float]:
        if full and int(folder.name) > 1:
            raise raised
        return {"validation_soft_dsc": int(folder.name) / 100}

    with pytest.raises(type(raised)):
        search(tmp_path, trial)
    done = len(read_log(tmp_path))
    assert done == 2
    full = False
    entries = search(tmp_path, trial)
    assert len(entries) > done
    assert not [entry for entry in entries if entry.failed]


def test_errors_travel_from_workers() -> None:
    for kind in (InputError, DiskError):
        error = pickle.loads(pickle.dumps(kind("a", "b", "c", "d")))
        assert (type(error), str(error)) == (kind, str(kind("a", "b", "c", "d")))


def edited(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line.update(changes)


CODE = 'x"""\nopen("PWNED", "w")\n"""'


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        # What stands in the log becomes a recipe, which is Python. Ours.
        (edited(metric=CODE), "trial 0, rung 0, that is not of this search"),
        (edited(budget=CODE), "line 1 that is no entry .budget is"),
        (edited(trial="0"), "line 1 that is no entry .trial is"),
        (edited(value="0.9"), "line 1 that is no entry .value is"),
        (edited(settings={"l2": "__import__('os')"}), "line 1 .*in place of a number"),
        (edited(settings={"l2": 0.5}), "that is not of this search"),
        (edited(settings=[]), "line 1 that is no entry .settings is"),
        (edited(metrics={"a": 10**400}), "line 1 that is no entry"),
        (edited(trial=99), "trial 99, rung 0, that is not of this search"),
        (edited(rung=7), "rung 7, that is not of this search"),
        (edited(later=1), "line 1 that is no entry"),
    ],
)
def test_a_log_holds_this_search_only(
    edit: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    search(tmp_path, lambda *arguments: {"validation_soft_dsc": 0.5})
    lines = (tmp_path / LOG).read_text().splitlines()
    first = json.loads(lines[0])
    edit(first)
    (tmp_path / LOG).write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=message):
        check_entries(search_config(), read_log(tmp_path))


def begun_by(version: str | None, workdir: Path, **settings: Any) -> None:
    """Write the manifest of a search that another version has begun."""
    by = {} if version is None else {"musclejax": version}
    config = {**search_config().to_dict(), **settings}
    (workdir / MANIFEST).write_text(json.dumps({**by, "config": config, "data": []}))


@pytest.mark.parametrize("version", [None, "0.0.9", "9.1"])
def test_a_search_of_another_version_that_this_one_knows_continues(
    version: str | None, tmp_path: Path
) -> None:
    begun_by(version, tmp_path)
    open_search(tmp_path, search_config(), [])


BOTH = "by musclejax 9.1; this is .*pip install"


def test_a_search_of_a_later_version_names_both(tmp_path: Path) -> None:
    """Ours: a setting, and a field of the log, that this version does not know."""
    begun_by("9.1", tmp_path, later=1)
    with pytest.raises(InputError, match=BOTH) as error:
        open_search(tmp_path, search_config(), [])
    assert str(error.value).startswith(str(tmp_path / MANIFEST))
    search(tmp_path, lambda *arguments: {"validation_soft_dsc": 0.5})
    lines = (tmp_path / LOG).read_text().replace('"trial"', '"later": 1, "trial"')
    (tmp_path / LOG).write_text(lines)
    with pytest.raises(InputError, match=BOTH) as error:
        read_log(tmp_path)
    assert str(error.value).startswith(str(tmp_path / LOG))


def test_a_manifest_of_a_later_version_names_both(tmp_path: Path) -> None:
    """Ours: phantom.json and augment.json."""
    check_manifest(tmp_path / "m.json", {"musclejax": "9.1", "n": 1}, "-o")
    with pytest.raises(InputError, match=rf"m.json: found .*musclejax: '9.1' against.*{BOTH}"):
        check_manifest(tmp_path / "m.json", {"musclejax": "0.1", "n": 1}, "-o")


def test_a_checkpoint_of_a_later_version_names_both(tmp_path: Path) -> None:
    """Ours: the line advised to remove it."""
    checkpoint.save(tmp_path, "last", 1, {"a": np.ones(3, np.float32)}, {"epoch": 1})
    like = {"b": np.ones(3, np.float32), "c": np.ones(3, np.float32)}
    with pytest.raises(InputError, match="Remove .*best checkpoint"):
        checkpoint.load(tmp_path, "last", like)
    (tmp_path / "run.json").write_text('{"versions": {"musclejax": "9.1"}}')
    with pytest.raises(InputError, match=BOTH):
        checkpoint.load(tmp_path, "last", like)


def test_a_recipe_quotes_what_stands_in_the_log(tmp_path: Path) -> None:
    entries = search(tmp_path, lambda *arguments: {"validation_soft_dsc": 0.5})
    best = ranked(entries)[0]
    text = recipe_text(search_config(), Entry(**{**vars(best), "metric": CODE}), 3)
    assert CODE not in text
    (tmp_path / "best.py").write_text(text)
    assert load_recipe(tmp_path / "best.py").tune.max_epochs == 3


@pytest.mark.parametrize("tail", [b"\0" * 60, b"\0" * 60 + b"\n", b'{"trial": 1', b"\xff\n\0\n"])
def test_the_end_of_a_log_after_a_loss_of_power(tail: bytes, tmp_path: Path) -> None:
    entries = search(tmp_path, lambda *arguments: {"validation_soft_dsc": 0.5})
    before = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(before + tail)
    assert len(read_log(tmp_path)) == len(entries)
    assert (tmp_path / LOG).read_bytes() == before


def test_a_log_without_a_whole_line_is_kept(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b"\xff\n\0\n")
    with pytest.raises(InputError, match="line 1 that is no entry"):
        read_log(tmp_path)
    assert (tmp_path / LOG).stat().st_size == 4


def test_a_lock_is_free_again_when_its_process_has_died(tmp_path: Path) -> None:
    hold = (
        "import os, sys; from pathlib import Path; from musclejax.training.workdir import owned\n"
        "with owned(Path(sys.argv[1])): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", hold, str(tmp_path)])
    assert done.returncode == 9
    with locked(tmp_path / LOCK, wait=False):
        pass
