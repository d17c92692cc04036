"""`musclejax segment --scheduler`: as on one machine, also when workers die."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import pytest

from musclejax.app.process import configure
from musclejax.app.work import Outcome, Scan, Work
from musclejax.app.worker import attempt_on_worker
from musclejax.cluster import TaskDone, connect, run_tasks_steps
from musclejax.errors import InputError
from musclejax.reports.cohort_tables import OWN
from musclejax.scan.study import load
from tests.conftest import local_cluster
from tests.test_cli import call

DEADLY = "poison"


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster of two processes on this machine that gives a task two workers to kill."""
    dask = pytest.importorskip("dask")
    # First: leaving a setting of a package that is not imported takes all its defaults away.
    pytest.importorskip("distributed")
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        # A worker that was killed takes long to start again on a machine with much else to do.
        "distributed.deploy.lost-worker-timeout": "10 minutes",
    }
    with dask.config.set(settings), local_cluster() as address:
        yield address


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, thigh_path: Path) -> Path:
    """Three scans of two slices, one that is none, and one that no worker survives."""
    folder = tmp_path_factory.mktemp("scans")
    volume = load(thigh_path)
    for name, first in (("a", 8), ("b", 12), ("c", 16), (DEADLY, 20)):
        image = nib.Nifti1Image(volume.data[:, :, first : first + 2], volume.affine)
        nib.save(image, folder / f"{name}.nii.gz")
    (folder / "bad.nii.gz").write_text("no scan")
    return folder


def mortal_attempt(scan: Scan, work: Work) -> Outcome:
    """Die over one scan whenever it comes, over another once; in the midst of writing files."""
    if scan.name == DEADLY:
        (work.job.output / f".{DEADLY}.{os.getpid():08d}.partial").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    marker = work.job.output.parent / "died"
    if scan.name == "b" and not marker.exists():
        configure(None)
        from musclejax.reports import segmentation as report

        def die(*_: Any) -> None:
            marker.write_text(" ".join(p.name for p in work.job.output.glob(".b.*/*")))
            os.kill(os.getpid(), signal.SIGKILL)

        report.draw = die
    return attempt_on_worker(scan, work)


def files(folder: Path) -> dict[str, bytes]:
    """Everything but pictures, and what tells times."""
    kept = (p for p in folder.iterdir() if p.suffix in (".gz", ".csv", ".txt", ".json"))
    timed = ("_run.json", "scans.csv", OWN)
    return {p.name: p.read_bytes() for p in kept if not p.name.endswith(timed)}


def test_a_cohort_whose_workers_die_ends_as_on_one_machine(
    scheduler: str,
    scans: Path,
    weights_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    options = ("--weights", weights_folder, "--region", "thigh", "--batch-size", 2)
    alone = call("segment", *(scans / f"{n}.nii.gz" for n in "abc"), "-o", here, *options)
    assert alone.exit_code == 0, alone.output

    monkeypatch.setattr("musclejax.app.cluster.attempt_on_worker", mortal_attempt)
    # Relative paths: the workers stand elsewhere.
    monkeypatch.chdir(tmp_path)
    arguments = ("segment", os.path.relpath(scans), "-o", "there", *options)
    result = call(*arguments, "--scheduler", scheduler)
    assert result.exit_code == 1, result.output
    assert "cluster: 2 worker threads\n" in result.stdout
    # A worker that dies after its scan was saved leaves a scan that the next one finds done.
    lines = [line for line in result.stdout.splitlines() if "slices" in line or "done" in line]
    assert {line.split(":")[0] for line in lines} == set("abc")
    assert "b_labels.nii.gz" in (tmp_path / "died").read_text()
    assert f"failed: {os.path.relpath(scans)}/{DEADLY}.nii.gz: its workers were killed" in (
        result.stderr
    )
    assert f"{scans.name}/bad.nii.gz: found no readable NIfTI" in result.stderr
    assert result.stderr.endswith("2 of 5 failed; the other results are in there\n")
    assert files(there) == files(here)
    assert [p.name for p in there.glob(".*")] == [OWN]
    record = json.loads((there / "a_run.json").read_text())
    assert record["worker"]["address"].startswith("tcp://127.0.0.1:")
    assert set(record["worker"]) == {"address", "host"}
    same = ("settings", "weights_hash", "batch_size", "region", "engine", "precision")
    local = json.loads((here / "a_run.json").read_text())
    assert {k: record[k] for k in same} == {k: local[k] for k in same}

    # A scan that is done there is done here too, and the other way round.
    again = call("segment", *(scans / f"{n}.nii.gz" for n in "abc"), "-o", there, *options)
    assert again.stdout.splitlines()[-4:-1] == [f"{n}: already done" for n in "abc"]
    again = call("segment", scans / "a.nii.gz", "-o", here, *options, "--scheduler", scheduler)
    assert "a: already done\n" in again.stdout


def deadly(task: str, folder: Path) -> str:
    (folder / task).touch()
    if task == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    return task.upper()


def test_tasks_beside_a_deadly_one_come_to_their_end(scheduler: str, tmp_path: Path) -> None:
    """Those that wait on a worker are blamed for its death too, but not condemned for it."""
    results: dict[str, str | None] = {}
    with connect(scheduler) as client:
        tasks = ["first", DEADLY, *"abcdef"]
        steps = run_tasks_steps(client, partial(deadly, folder=tmp_path), tasks)
        further: list[str] | None = None
        with suppress(StopIteration):
            while True:
                event = steps.send(further)
                further = None
                if isinstance(event, TaskDone):
                    results[event.task] = event.result
                    further = ["later"] if event.task == "first" else None
    assert results == {
        DEADLY: None, "later": "LATER", "first": "FIRST", **{n: n.upper() for n in "abcdef"},
    }  # fmt: skip


class LostFuture:
    """One whose worker died after the task had finished and before its result was fetched."""

    status = "finished"

    def add_done_callback(self, callback: Callable[["LostFuture"], None]) -> None:
        callback(self)

    def result(self) -> str:
        from distributed import KilledWorker

        worker: Any = None
        raise KilledWorker("a", worker, 1)


def test_a_result_that_dies_with_its_worker_is_tried_again(scheduler: str) -> None:
    """Rare on a cluster, so that the futures are ours."""
    with connect(scheduler) as client, pytest.MonkeyPatch.context() as patch:
        lost, submit = [LostFuture()], client.submit
        patch.setattr(client, "submit", lambda *a, **k: lost.pop() if lost else submit(*a, **k))
        events = list(run_tasks_steps(client, str.upper, ["a"]))
    assert [e for e in events if isinstance(e, TaskDone)] == [TaskDone("a", "A")]


class DoneFuture:
    """One whose task is done at once."""

    status = "finished"

    def __init__(self, task: str) -> None:
        self.task = task

    def add_done_callback(self, callback: Callable[["DoneFuture"], None]) -> None:
        callback(self)

    def result(self) -> str:
        return self.task.upper()


def test_the_dashboard_names_tasks() -> None:
    """Tasks of equal names are different tasks: no result is taken for that of another."""
    pytest.importorskip("distributed")
    keys: list[str] = []

    def submit(attempt: object, task: str, *, key: str, priority: int) -> DoneFuture:
        keys.append(key)
        return DoneFuture(task)

    client = SimpleNamespace(submit=submit, cancel=lambda futures: None)
    done = list(run_tasks_steps(client, str.upper, ["a", "b"], key=lambda task: "segment knee"))
    assert done == [TaskDone("a", "A"), TaskDone("b", "B")]
    assert [key.rpartition("-")[0] for key in keys] == ["segment knee", "segment knee"]
    assert len(set(keys)) == 2


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_a_scheduler_file(prefix: str, scheduler: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    with pytest.raises(InputError, match=r"scheduler\.json; accepted: a scheduler file"):
        connect(f"{prefix}{file}")
    file.write_text(json.dumps({"address": scheduler}))
    with connect(f"{prefix}{file}") as client:
        assert client.scheduler.address == scheduler


def test_a_worker_of_another_version_is_refused(
    scheduler: str,
    scans: Path,
    weights_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("musclejax.__version__", "9.9")
    result = call(
        "segment", scans / "a.nii.gz", "-o", tmp_path, "--weights", weights_folder,
        "--scheduler", scheduler,
    )  # fmt: skip
    assert result.exit_code == 2
    assert "not 9.9; accepted: workers with the same musclejax" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheduler", "nonsense://x"], "where no scheduler answers"),
        # Dask's client waited for 16 s, and printed a traceback at the end.
        (["--scheduler", "tls://127.0.0.1:1"], "Name its certificate in DASK_DISTRIBUTED"),
        (["--scheduler", "none.json"], "found no file none.json"),
        (["--scheduler", "tcp://x:1", "--threads", "1"], "Bind the workers"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, scans: Path, tmp_path: Path) -> None:
    result = call("segment", scans / "a.nii.gz", "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
