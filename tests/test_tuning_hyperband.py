"""Hyperband: plan, promotion from checkpoints, resuming after kills, cluster, command."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from ml_collections import ConfigDict

import musclejax
from musclejax.cluster import TIMEOUT_S, connect
from musclejax.config import load_recipe
from musclejax.errors import InputError
from musclejax.files import differences, locked
from musclejax.reports.search import best_trials, recipe_text, save_results, to_table
from musclejax.tuning.cluster import run_on
from musclejax.tuning.hyperband import (
    Rung,
    check_search,
    epochs_left,
    epochs_of,
    first_trials,
    plan,
    ranked,
    search_steps,
)
from musclejax.tuning.log import LOG, MANIFEST, Entry, append_entry, open_search, read_log
from musclejax.tuning.space import SPACE, sample_settings, trial_config, with_settings
from tests.conftest import local_cluster
from tests.pages import Page, check_alone
from tests.test_cli import call

METRIC = "validation_soft_dsc"


def tune_config(*changes: str) -> ConfigDict:
    return load_recipe("tune", changes)


def score(config: ConfigDict, epochs: int) -> float:
    """A made-up DSC: best near the paper's optimum, rising with epochs."""
    distance = abs(math.log10(config.optim.learning_rate / 0.0098))
    distance += abs(config.optim.dropout - 0.2) + 3 * abs(config.optim.l2 - 0.01)
    return (0.9 - 0.2 * distance) * (1 - math.exp(-(epochs + 2) / 5))


def fake_trial(config: ConfigDict, epochs: int, workdir: Path) -> dict[str, float]:
    """Train nothing; the checkpoint is a list of the epochs, each with its learning rate."""
    checkpoint = workdir / "checkpoint.json"
    done = json.loads(checkpoint.read_text()) if checkpoint.exists() else []
    done += [config.optim.learning_rate] * (epochs - len(done))
    checkpoint.write_text(json.dumps(done))
    assert len(set(done)) == 1
    return {METRIC: score(config, epochs), "train_loss": 1.0 / epochs, "lr_epochs": len(done)}


def run_search(
    workdir: Path, run_trial: Callable[..., Mapping[str, float]], config: ConfigDict, **options: Any
) -> list[Entry]:
    """As the command does it: with the log on disk."""
    open_search(workdir, config, [])
    steps = search_steps(
        config, workdir, run_trial, read_log(workdir), **options, clock=time.perf_counter
    )
    while True:
        try:
            append_entry(workdir, next(steps))
        except StopIteration as end:
            return end.value


def results(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """Everything but the seconds."""
    return [(e.trial, e.bracket, e.rung, e.budget, e.settings, e.metrics) for e in entries]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """The paper's search, uninterrupted."""
    return run_search(tmp_path_factory.mktemp("reference"), fake_trial, tune_config())


def as_rows(rungs: list[Rung]) -> dict[int, list[tuple[int, int]]]:
    brackets = {rung.bracket for rung in rungs}
    return {s: [(r.trials, r.budget) for r in rungs if r.bracket == s] for s in brackets}


def test_plan_of_the_hyperband_article() -> None:
    """Li et al. 2018, Algorithm 1 by hand: n = ceil(5/(s+1) 3^s), floor(n 3^-i) at 81 3^(i-s)."""
    assert as_rows(plan(81, 3)) == {
        4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        3: [(34, 3), (11, 9), (3, 27), (1, 81)],
        2: [(15, 9), (5, 27), (1, 81)],
        1: [(8, 27), (2, 81)],
        0: [(5, 81)],
    }


def test_plan_of_another_implementation() -> None:
    """The table in the documentation of the R package mlr3hyperband, for 8 epochs, halved."""
    assert as_rows(plan(8, 2)) == {
        3: [(8, 1), (4, 2), (2, 4), (1, 8)],
        2: [(6, 2), (3, 4), (1, 8)],
        1: [(4, 4), (2, 8)],
        0: [(4, 8)],
    }


def test_plan_and_budget_of_the_paper() -> None:
    """20 epochs (paper): 9*2 + 3*5 + 13, 5*7 + 13 and 3*20 epochs, by hand."""
    rungs = check_search(tune_config())
    assert as_rows(rungs) == {2: [(9, 2), (3, 7), (1, 20)], 1: [(5, 7), (1, 20)], 0: [(3, 20)]}
    assert first_trials(rungs) == {2: range(9), 1: range(9, 14), 0: range(14, 17)}
    assert epochs_left(rungs, []) == 46 + 48 + 60


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_every_plan_is_sound(eta: int) -> None:
    for max_epochs in range(1, 131):
        for rows in as_rows(plan(max_epochs, eta)).values():
            trials, budgets = zip(*rows, strict=True)
            assert budgets[-1] == max_epochs
            assert min(trials) >= 1
            assert min(budgets) >= 1
            assert all(a < b for a, b in pairwise(budgets))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tune.eta=1", "tune.eta: found 1"),
        ("tune.max_epochs=0", "tune.max_epochs: found 0"),
        ("tune.learning_rate=(0.0, 0.01)", "each more than 0"),
        ("tune.dropout=(0.5, 0.1)", "LOW <= HIGH"),
        ("tune.metric=validation_loss", "better when higher"),
    ],
)
def test_unusable_searches(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_search(tune_config(change))


def test_draws_fill_the_papers_ranges() -> None:
    """Uniform in share of the range: Kolmogorov-Smirnov distance below 1.63 / sqrt(n) (1 %)."""
    config = tune_config()
    draws = [sample_settings(config, trial) for trial in range(600)]
    for name, (_, scale) in SPACE.items():
        values = np.array([draw[name] for draw in draws])
        low, high = config.tune[name]
        assert low <= values.min() <= values.max() <= high
        if scale == "log":
            values, low, high = np.log(values), math.log(low), math.log(high)
        share = np.sort((values - low) / (high - low))
        assert np.abs(share - (np.arange(600) + 0.5) / 600).max() < 1.63 / math.sqrt(600)
    table = np.array([[*draw.values()] for draw in draws])
    assert np.abs(np.corrcoef(table.T) - np.eye(3)).max() < 0.12


def test_draws_depend_on_seed_and_trial_only() -> None:
    config = tune_config()
    assert sample_settings(config, 3) == sample_settings(tune_config("tune.max_epochs=81"), 3)
    assert sample_settings(config, 3) != sample_settings(config, 4)
    assert sample_settings(config, 3) != sample_settings(tune_config("seed=1"), 3)


def test_a_trial_changes_its_settings_and_the_schedule() -> None:
    config = tune_config()
    trial = trial_config(config, 0)
    changed = {line.split(":")[0] for line in differences(config.to_dict(), trial.to_dict())}
    assert changed == {path for path, _ in SPACE.values()} | {"plateau.patience"}


def test_the_best_are_promoted_from_their_checkpoints(tmp_path: Path) -> None:
    calls: dict[Path, list[int]] = {}

    def run_trial(config: ConfigDict, epochs: int, workdir: Path) -> dict[str, float]:
        before = sum(calls.get(workdir, [0])[-1:])
        kept = (
            json.loads(path.read_text()) if (path := workdir / "checkpoint.json").exists() else []
        )
        assert len(kept) == before < epochs  # the checkpoint of the last rung, not a new start
        calls.setdefault(workdir, []).append(epochs)
        return fake_trial(config, epochs, workdir)

    config = tune_config()
    entries = run_search(tmp_path, run_trial, config)
    rungs = check_search(config)
    for rung in rungs:
        here = [e for e in entries if (e.bracket, e.rung) == (rung.bracket, rung.rung)]
        assert len(here) == rung.trials
        promoted = [
            e.trial for e in entries if (e.bracket, e.rung) == (rung.bracket, rung.rung + 1)
        ]
        best = sorted(here, key=lambda e: -e.metrics[METRIC])[: len(promoted)]
        assert sorted(e.trial for e in best) == promoted
    assert sum(epochs_of(e, rungs) for e in entries) == 154
    assert sum(budgets[-1] for budgets in calls.values()) == 154  # no epoch is trained twice
    assert {len(budgets) for budgets in calls.values()} == {1, 2, 3}
    assert epochs_left(rungs, entries) == 0


def test_the_answer_is_the_best_intermediate_result() -> None:
    def entry(trial: int, budget: int, value: float, failed: str = "") -> Entry:
        return Entry(trial, 0, 0, budget, {}, METRIC, value, {}, 1.0, failed)

    entries = [entry(0, 20, 0.7), entry(0, 7, 0.8), entry(1, 7, 0.8), entry(2, 20, 0.8)]
    entries.append(entry(3, 20, math.nan, "lost"))
    assert [(e.trial, e.budget) for e in ranked(entries)] == [(2, 20), (0, 7), (1, 7), (0, 20)]
    assert [(e.trial, e.budget) for e in best_trials(entries)] == [(2, 20), (0, 7), (1, 7)]


def test_same_seed_same_search(tmp_path: Path, reference: list[Entry]) -> None:
    assert results(run_search(tmp_path / "a", fake_trial, tune_config())) == results(reference)
    other = run_search(tmp_path / "b", fake_trial, tune_config("seed=1"))
    assert results(other) != results(reference)


def test_killed_at_any_call_nothing_is_repeated(tmp_path: Path, reference: list[Entry]) -> None:
    config = tune_config()
    for kill in range(len(reference)):
        workdir = tmp_path / str(kill)
        finished: list[tuple[Path, int]] = []

        def run_trial(
            config: ConfigDict,
            epochs: int,
            workdir: Path,
            finished: list[tuple[Path, int]] = finished,
            kill: int = kill,
        ) -> dict[str, float]:
            if len(finished) == kill and not (marker := workdir / "killed").exists():
                fake_trial(config, max(epochs - 1, 1), workdir)  # some way into the rung
                marker.touch()
                raise KeyboardInterrupt
            finished.append((workdir, epochs))
            return fake_trial(config, epochs, workdir)

        with pytest.raises(KeyboardInterrupt):
            run_search(workdir, run_trial, config)
        assert len(read_log(workdir)) == kill
        entries = run_search(workdir, run_trial, config)
        assert len(finished) == len(set(finished)) == len(reference)
        assert results(entries) == results(reference)
        assert (workdir / LOG).read_bytes().count(b"\n") == len(reference)


def test_killed_while_appending(tmp_path: Path, reference: list[Entry]) -> None:
    """The log cut at any byte of its last two lines: the torn line is gone, the rest stands."""
    for entry in reference:
        append_entry(tmp_path, entry)
    log = tmp_path / LOG
    whole = log.read_bytes()
    assert read_log(tmp_path) == reference
    lines = whole.splitlines(keepends=True)
    for size in range(len(b"".join(lines[:-2])), len(whole)):
        log.write_bytes(whole[:size])
        entries = read_log(tmp_path)
        assert entries == reference[: len(entries)]
        assert len(entries) >= len(reference) - 2
        assert log.read_bytes() == b"".join(lines[: len(entries)])
    log.write_bytes(whole[:-5] + b"\0" * 5)  # as some file systems leave it after a power cut
    assert read_log(tmp_path) == reference[:-1]
    append_entry(tmp_path, reference[-1])
    assert read_log(tmp_path) == reference


def test_a_log_damaged_elsewhere_is_refused(tmp_path: Path, reference: list[Entry]) -> None:
    for entry in reference[:3]:
        append_entry(tmp_path, entry)
    text = (tmp_path / LOG).read_text()
    (tmp_path / LOG).write_text(text.replace('{"trial": 1', '{"trail": 1'))
    with pytest.raises(InputError, match="line 2 that is no entry"):
        read_log(tmp_path)
    assert (tmp_path / LOG).read_text().count("\n") == 3


def failing_trial(config: ConfigDict, epochs: int, workdir: Path) -> dict[str, float]:
    """Trials 0, 1, 2 and 14 fail, each in its way; 3 fails on its second rung."""
    trial = int(workdir.name)
    if trial == 0:
        raise InputError("loss", "nan", "a finite number")
    if trial == 1:
        raise MemoryError("no\nmore")
    if trial == 2:
        return {METRIC: math.nan, "train_loss": math.inf}
    if trial == 14:
        return {"other": 1.0}
    if trial == 3 and epochs > 2:
        raise RuntimeError("later")
    return {METRIC: 1 / (1 + trial)}


def test_failed_trials_count_as_worst(tmp_path: Path) -> None:
    config = tune_config()
    entries = run_search(tmp_path, failing_trial, config)
    failed = {(e.trial, e.rung): e.failed for e in entries if e.failed}
    assert failed == {
        (0, 0): "loss: found nan; accepted: a finite number.",
        (1, 0): "MemoryError: no more",
        (2, 0): f"{METRIC} is nan",
        (14, 0): f"tune.metric: found {METRIC}; accepted: other",
        (3, 1): "RuntimeError: later",
    }
    assert [e.trial for e in entries if (e.bracket, e.rung) == (2, 1)] == [3, 4, 5]
    assert [e.trial for e in entries if (e.bracket, e.rung) == (2, 2)] == [4]
    assert epochs_left(check_search(config), entries) == 0
    log = (tmp_path / LOG).read_text()
    assert "NaN" not in log
    assert "Infinity" not in log
    again = run_search(tmp_path, fake_trial, config)  # nothing is left to be run
    assert [e.failed for e in again] == [e.failed for e in entries]
    assert not list(tmp_path.rglob("checkpoint.json"))


def lost_trial(config: ConfigDict, epochs: int, workdir: Path) -> dict[str, float]:
    raise RuntimeError("no data")


def test_all_failed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"17 trials that all failed.*RuntimeError: no data"):
        run_search(tmp_path, lost_trial, tune_config())


def test_another_search_is_refused(tmp_path: Path) -> None:
    open_search(tmp_path, tune_config(), [Path("/data/a")])
    open_search(tmp_path, tune_config(), [Path("/data/a")])
    changed = tune_config("seed=1", "optim.beta1=0.8")
    with pytest.raises(InputError, match=r"beta1: 0.9 against 0.8; config.seed: 0 against 1\)"):
        open_search(tmp_path, changed, [Path("/data/a")])
    with pytest.raises(InputError, match=r"data: \['/data/a'\] against \['/data/b'\]"):
        open_search(tmp_path, tune_config(), [Path("/data/b")])
    assert json.loads((tmp_path / MANIFEST).read_text())["musclejax"] == musclejax.__version__
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(InputError, match="files of other settings"):
        open_search(tmp_path, tune_config(), [])
    (tmp_path / MANIFEST).unlink()
    (tmp_path / LOG).touch()
    with pytest.raises(InputError, match="trials.jsonl without config.json"):
        open_search(tmp_path, tune_config(), [])


def test_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        locked(tmp_path / "lock", wait=False),
        pytest.raises(InputError, match="another process"),
        locked(tmp_path / "lock", wait=False),
    ):
        pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_results(tmp_path: Path, reference: list[Entry]) -> None:
    config = tune_config("data.crop_px=(192, 336)", "data.absent=AL,BFS")
    save_results(tmp_path, config, reference, {"versions": {"jax": "0"}})
    best = ranked(reference)[0]
    recipe = load_recipe(tmp_path / "best.py")
    assert recipe == with_settings(config, best.settings)
    again = load_recipe(tmp_path / "best.py")
    assert differences(recipe.to_dict(), again.to_dict()) == []
    record = json.loads((tmp_path / "best.json").read_text())
    assert record["settings"] == best.settings
    assert record[METRIC] == best.value
    assert record["trials"] == 17
    assert record["config"]["optim"]["l2"] == best.settings["l2"]
    rows = (tmp_path / "trials.csv").read_text().splitlines()
    assert rows[0] == (
        "bracket,rung,trial,epochs,learning_rate,dropout,l2,"
        f"{METRIC},train_loss,lr_epochs,seconds,failed"
    )
    assert len(rows) == 1 + len(reference)
    assert (tmp_path / "tune.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.iterdir()} == {
        "best.json",
        "best.py",
        "report.html",
        "trials.csv",
        "tune.png",
    }
    page = Page(tmp_path / "report.html")
    check_alone(page)
    assert len(page.pictures) == 1
    assert page.column("trial", "best")[0] == str(best.trial)
    assert float(page.column(METRIC, "best")[0]) == pytest.approx(best.value, rel=0.005)
    assert page.column("trial", "trials") == [str(entry.trial) for entry in reference]
    assert (tmp_path / "best.py").read_text() in page.text
    assert "jax 0" in page.text


def test_results_with_failures(tmp_path: Path) -> None:
    config = tune_config()
    entries = run_search(tmp_path, failing_trial, config)
    save_results(tmp_path, config, entries, {})
    table = to_table(entries)
    assert [*table.columns[-2:]] == ["seconds", "failed"]
    assert json.loads((tmp_path / "best.json").read_text())["failed"] == 5
    page = Page(tmp_path / "report.html")
    assert "trial 1 failed: MemoryError: no more" in page.text
    assert sum(bool(reason) for reason in page.column("failed", "trials")) == 5
    assert recipe_text(config, ranked(entries)[0], 17).startswith('"""The best of 17 trials')


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster of two processes on this machine."""
    with local_cluster() as address:
        yield address


def dying_trial(config: ConfigDict, epochs: int, workdir: Path) -> dict[str, float]:
    """One worker dies half-way through trial 4."""
    import os

    if workdir.name == "004" and not (marker := workdir / "died").exists():
        fake_trial(config, 1, workdir)
        marker.touch()
        os._exit(1)
    return fake_trial(config, epochs, workdir)


def test_a_cluster_finds_the_same(scheduler: str, tmp_path: Path, reference: list[Entry]) -> None:
    with connect(scheduler) as client:
        runner = partial(run_on, client, tmp_path / MANIFEST)
        entries = run_search(tmp_path, dying_trial, tune_config(), runner=runner)
    assert (tmp_path / "trials" / "004" / "died").exists()
    assert results(entries) == results(reference)


def test_workers_elsewhere_are_refused(scheduler: str, tmp_path: Path) -> None:
    with connect(scheduler) as client:
        runner = partial(run_on, client, tmp_path / "only here")
        with pytest.raises(InputError, match="a worker at tcp.*does not see .*only here"):
            run_search(tmp_path, fake_trial, tune_config(), runner=runner)
    assert read_log(tmp_path) == []


def command_trial(
    config: ConfigDict, epochs: int, workdir: Path, *, data_folders: list[Path], **_: Any
) -> dict[str, float]:
    assert all(folder.is_absolute() for folder in [workdir, *data_folders])
    return fake_trial(config, epochs, workdir)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and trials that do not look at it."""
    monkeypatch.setattr("musclejax.app.tune.train_trial", command_trial)
    monkeypatch.setattr("musclejax.app.tune.check_data", lambda folders, config: None)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def spoken(result: Result) -> list[str]:
    """Return the lines that say something; rich 13 ends a hidden bar with an empty one."""
    return [line for line in result.stdout.splitlines() if line.strip()]


def test_the_command(data: Path, tmp_path: Path, reference: list[Entry]) -> None:
    arguments = ("tune", "--data", data, "--workdir", tmp_path / "run")
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    lines = spoken(result)
    assert lines[0] == "search: 17 trials, 154 epochs in all"
    assert lines[1].startswith("trial 0 (bracket 2, rung 0), 2 epochs: validation_soft_dsc 0.")
    assert lines[1].endswith(" s left")
    assert "left" not in lines[22]
    assert lines[23].split() == ["trial", "bracket", "epochs", *SPACE, METRIC]
    assert lines[-2].startswith(f"next: musclejax train --config {tmp_path}/run/best.py")
    assert lines[-1] == f"Results are in {tmp_path}/run/ : open report.html first"
    best = ranked(reference)[0]
    assert lines[24].split()[0] == str(best.trial)
    assert load_recipe(tmp_path / "run" / "best.py") == with_settings(tune_config(), best.settings)

    again = call(*arguments)
    assert again.exit_code == 0
    assert spoken(again)[0].endswith("; 154 of them already done")
    assert spoken(again)[1:] == lines[23:]
    other = call(*arguments, "--set", "seed=1")
    assert other.exit_code == 2
    assert "seed: 0 against 1" in other.stderr
    (tmp_path / "run" / "report.html").write_text("mine")
    mine = call(*arguments)
    assert (mine.exit_code, "report.html: found a file that musclejax" in mine.stderr) == (2, True)


def test_the_command_on_a_cluster(
    scheduler: str, data: Path, tmp_path: Path, reference: list[Entry]
) -> None:
    with connect(scheduler) as client:
        client.wait_for_workers(2)  # one that died in another test may still be starting
    result = call("tune", "--data", data, "--workdir", tmp_path / "run", "--scheduler", scheduler)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("cluster: 2 worker threads\nsearch: 17 trials")
    entries = sorted(read_log(tmp_path / "run"), key=lambda e: (-e.bracket, e.rung, e.trial))
    assert results(entries) == results(reference)


def set_devices(count: int) -> None:
    """Let a worker believe in its devices."""
    import jax

    jax.device_count = lambda: count


def test_a_batch_that_the_devices_of_a_worker_cannot_share_fails_no_trial(
    scheduler: str, data: Path, tmp_path: Path
) -> None:
    """Ours: each trial was noted as failed for good."""
    run = ("tune", "--data", data, "--workdir", tmp_path / "run", "--scheduler", scheduler)
    with connect(scheduler) as client:
        client.wait_for_workers(2)
        client.run(set_devices, 4)
        try:
            result = call(*run, "--set", "train.batch_size=5", "--set", "tune.max_epochs=1")
        finally:
            client.run(set_devices, 1)
    assert result.exit_code == 1, result.output
    assert "train.batch_size, worker tcp://127.0.0.1:" in result.stderr
    assert "found 5; accepted: a positive multiple of the number of devices, 4" in result.stderr
    assert not read_log(tmp_path / "run")


def test_ctrl_c(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(config: ConfigDict, epochs: int, workdir: Path, **_: Any) -> dict[str, float]:
        if workdir.name == "002":
            raise KeyboardInterrupt
        return fake_trial(config, epochs, workdir)

    with monkeypatch.context() as patch:
        patch.setattr("musclejax.app.tune.train_trial", interrupted)
        result = call("tune", "--data", data, "--workdir", tmp_path / "run")
    assert result.exit_code == 130
    assert "the same command continues" in result.stderr
    result = call("tune", "--data", data, "--workdir", tmp_path / "run")
    assert result.exit_code == 0
    assert "; 4 of them already done" in result.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--config", "nothing"], "recipe: found nothing"),
        (["--set", "tune.eta=1"], "tune.eta: found 1; accepted: 2 or more"),
        (["--set", "tune.etta=3"], "Did you mean tune.eta"),
        (["--data", "nowhere"], "--data: found no folder nowhere"),
        (
            ["--threads", "1", "--scheduler", "tcp://x:1"],
            "one of the two. Bind the workers",
        ),
        (["--workdir", __file__], "which cannot be written"),
        (["--scheduler", "nonsense://x"], "where no scheduler answers"),
        (["--typo"], "No such option"),
    ],
)
def test_wrong_usage(change: list[str], message: str, data: Path, tmp_path: Path) -> None:
    result = call("tune", "--data", data, "--workdir", tmp_path / "run", *change)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_batch_that_devices_cannot_share_fails_no_trial(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: each trial was noted as failed for good."""
    monkeypatch.setattr("jax.device_count", lambda: 4)
    changes = ("--set", "train.batch_size=5", "--set", "tune.max_epochs=1")
    result = call("tune", "--data", data, "--workdir", tmp_path / "run", *changes)
    assert result.exit_code == 1, result.output
    assert "train.batch_size: found 5; accepted: a positive multiple" in result.stderr
    assert not read_log(tmp_path / "run")


def test_no_scheduler(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TIMEOUT_S <= 10
    monkeypatch.setattr("musclejax.cluster.TIMEOUT_S", 1)
    address = "tcp://127.0.0.1:9"
    result = call("tune", "--data", data, "--workdir", tmp_path / "r", "--scheduler", address)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert f"--scheduler: found {address}, where no scheduler answers" in result.stderr


def test_no_dask(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    result = call("tune", "--data", data, "--workdir", tmp_path / "r", "--scheduler", "tcp://x:1")
    assert result.exit_code == 2
    assert "pip install 'musclejax[cluster]'" in result.stderr
