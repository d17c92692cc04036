"""Hyperband: many short trials, the best of which are promoted; learning rate, dropout, L2."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from musclejax.config import check_setting, from_dict
from musclejax.errors import DiskError, InputError
from musclejax.files import locked
from musclejax.tuning.log import LOG, Entry
from musclejax.tuning.space import sample_settings, trial_config


@dataclass(frozen=True)
class Rung:
    """One round of successive halving.

    Attributes:
        bracket: `s` of Algorithm 1: how often the bracket halves; 0 is random search.
        rung: `i` of Algorithm 1, from 0.
        trials: How many trials are trained.
        budget: Epochs that each has been trained for at its end, those of earlier rungs included.
    """

    bracket: int
    rung: int
    trials: int
    budget: int


@dataclass(frozen=True)
class Task:
    """One trial to be trained up to a budget of epochs."""

    trial: int
    bracket: int
    rung: int
    budget: int


@dataclass(frozen=True)
class Outcome:
    """Result of a task: its metrics, or in one line the reason of its failure; and its seconds."""

    metrics: Mapping[str, float]
    seconds: float
    failed: str = ""


RunTrial = Callable[[ConfigDict, int, Path], Mapping[str, float]]
"""Trains a trial: its configuration, epochs in all, its folder -> metrics by name.

It resumes from the last checkpoint in the folder; `config.tune.metric` must be among the metrics.
A cluster gets it by pickle: a function at the top of a module, or a `functools.partial` of one.
"""
Attempt = Callable[[Task], Outcome]
Outcomes = Generator[tuple[Task, Outcome], list[Task] | None, None]
Runner = Callable[[list[Task], Attempt], Outcomes]
"""Attempts tasks, in any order and number at once; yields each with its outcome, and is sent the
further tasks that follow from it, until none is left."""


def plan(max_epochs: int, eta: int) -> list[Rung]:
    """Return the rungs of all brackets, from the one that halves most.

    Raises:
        InputError: If an argument is out of its range.

    Source: Li et al. 2018, JMLR 18(185), Algorithm 1, in whole numbers; its budgets are rounded
    to epochs. A much-copied snippet cuts (s_max + 1) / (s + 1) to a whole number first and so
    begins bracket 3 of 81 epochs with 27 trials; the algorithm as printed begins with 34.
    """
    check_setting("tune.max_epochs", max_epochs)
    check_setting("tune.eta", eta)
    most = 0
    while eta ** (most + 1) <= max_epochs:
        most += 1
    rungs = []
    for s in range(most, -1, -1):
        trials = -(-(most + 1) * eta**s // (s + 1))  # rounded up
        for i in range(s + 1):
            rungs.append(Rung(s, i, trials // eta**i, round(max_epochs / eta ** (s - i))))
    return rungs


def check_search(config: ConfigDict) -> list[Rung]:
    """Return the plan of a recipe's search.

    Raises:
        InputError: If a setting of the search is unusable.
    """
    if "loss" in config.tune.metric or not config.tune.metric.isidentifier():
        accepted = "a metric that is better when higher, such as validation_soft_dsc"
        raise InputError("tune.metric", config.tune.metric, accepted)
    sample_settings(config, trial=0)
    return plan(config.tune.max_epochs, config.tune.eta)


def check_entries(config: ConfigDict, entries: Iterable[Entry]) -> None:
    """Check that finished tasks are some of this search: a recipe is made of the best.

    Raises:
        InputError: If one is not.
    """
    rungs = check_search(config)
    numbers = first_trials(rungs)
    budgets = {(rung.bracket, rung.rung): rung.budget for rung in rungs}
    for entry in entries:
        planned = (
            entry.trial in numbers.get(entry.bracket, ())
            and budgets.get((entry.bracket, entry.rung)) == entry.budget
            and entry.metric == config.tune.metric
            and entry.settings == sample_settings(config, entry.trial)
        )
        if not planned:
            found = f"trial {entry.trial}, rung {entry.rung}, that is not of this search"
            remedy = f"Remove its line from {LOG}: it is trained again."
            raise InputError(LOG, found, "the trials, settings and metric of the recipe", remedy)


def first_trials(rungs: Iterable[Rung]) -> dict[int, range]:
    """Return the numbers of each bracket's trials; they are counted through all brackets."""
    numbers: dict[int, range] = {}
    begin = 0
    for rung in rungs:
        if rung.rung == 0:
            numbers[rung.bracket] = range(begin, begin + rung.trials)
            begin += rung.trials
    return numbers


def epochs_of(rung: Rung | Entry, rungs: Iterable[Rung]) -> int:
    """Return the epochs that are new in a rung: promoted trials keep those of earlier rungs."""
    budgets = {r.rung: r.budget for r in rungs if r.bracket == rung.bracket}
    return rung.budget - budgets.get(rung.rung - 1, 0)


def epochs_left(rungs: list[Rung], entries: Iterable[Entry]) -> int:
    """Return the epochs that are still to be trained if no further trial fails."""
    finished = list(entries)
    left = 0
    alive = 0
    for rung in rungs:
        here = [e for e in finished if (e.bracket, e.rung) == (rung.bracket, rung.rung)]
        trials = rung.trials if rung.rung == 0 else min(rung.trials, alive)
        alive = trials - sum(bool(entry.failed) for entry in here)
        left += (trials - len(here)) * epochs_of(rung, rungs)
    return left


def trial_folder(workdir: Path, trial: int) -> Path:
    """Return where a trial keeps its checkpoints."""
    return workdir / "trials" / f"{trial:03d}"


def ready_tasks(rungs: list[Rung], entries: Iterable[Entry]) -> list[Task]:
    """Return the tasks that can be trained now: all unfinished ones whose rung is decided.

    Failed trials are not promoted: a rung may have fewer trials than planned.
    """
    finished = {(entry.trial, entry.rung): entry for entry in entries}
    members: dict[int, list[int]] = {s: [*trials] for s, trials in first_trials(rungs).items()}
    ready = []
    for rung in rungs:
        trials = members[rung.bracket]
        if rung.rung > 0:
            last = [finished.get((trial, rung.rung - 1)) for trial in trials]
            done = [entry for entry in last if entry is not None]
            decided = len(done) == len(last)
            trials = [entry.trial for entry in ranked(done)[: rung.trials]] if decided else []
            members[rung.bracket] = trials
        missing = [trial for trial in sorted(trials) if (trial, rung.rung) not in finished]
        ready += [Task(trial, rung.bracket, rung.rung, rung.budget) for trial in missing]
    return ready


def ranked(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that did not fail, the best first; equals by longer budget, then trial.

    Source: Li et al. 2018: the answer is the best intermediate result, not that of the last rung.
    """
    done = [entry for entry in entries if not entry.failed]
    return sorted(done, key=lambda e: (-e.value, -e.budget, e.trial))


def attempt(
    run_trial: RunTrial,
    clock: Callable[[], float],
    config: dict[str, Any],
    workdir: Path,
    task: Task,
) -> Outcome:
    """Train one trial up to its budget; a failure is an outcome, not an error.

    The trial is locked meanwhile: a cluster may take a worker for lost that still runs.

    Raises:
        DiskError: If the disk is full: the trial has not failed, and resumes once there is room.
        OSError: If files cannot be read or written; likewise.
    """
    settings = from_dict(config)
    metric = settings.tune.metric
    folder = trial_folder(workdir, task.trial)
    folder.mkdir(parents=True, exist_ok=True)
    begin = clock()
    metrics: dict[str, float] = {}
    try:
        with locked(folder.with_suffix(".lock"), wait=True):
            found = run_trial(trial_config(settings, task.trial), task.budget, folder)
        metrics = {name: float(value) for name, value in found.items()}
        failed = "" if math.isfinite(metrics.get(metric, math.nan)) else _no_value(metric, metrics)
    except (DiskError, OSError):
        raise
    except Exception as error:
        # One trial's surprise must not cost the others.
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        failed = " ".join(f"{kind}{error}".split())[:300]
    return Outcome(metrics, round(clock() - begin, 3), failed)


def in_process(tasks: list[Task], attempt: Attempt) -> Outcomes:
    """Attempt tasks one after another; promoted trials go first."""
    queue = deque(tasks)
    while queue:
        task = queue.popleft()
        further = yield task, attempt(task)
        queue.extendleft(reversed(further or []))


def search_steps(
    config: ConfigDict,
    workdir: Path,
    run_trial: RunTrial,
    entries: Iterable[Entry],
    runner: Runner = in_process,
    *,
    clock: Callable[[], float],
) -> Generator[Entry, None, list[Entry]]:
    """Train all trials of hyperband that are not finished yet; yield each finished task.

    No task that follows from a finished one begins before the next step: the caller can write it
    to a log first.

    Args:
        config: The recipe; `config.tune` is the search, the rest is shared by all trials.
        workdir: Folder of the search; each trial gets a folder of its own in it.
        run_trial: Trains a trial; see `RunTrial`.
        entries: Finished tasks of an earlier call with the same recipe.
        runner: Attempts the tasks, here or elsewhere.
        clock: Seconds, of which each outcome has its own; a cluster gets it by pickle.

    Returns:
        All finished tasks, in the order of brackets, rungs and trials.

    Raises:
        InputError: If a setting of the search is unusable, or all trials failed.
    """
    rungs = check_search(config)
    finished = list(entries)
    check_entries(config, finished)
    first = ready_tasks(rungs, finished)
    begun, further = set(first), None
    attempt_task = partial(attempt, run_trial, clock, config.to_dict(), workdir)
    with closing(runner(first, attempt_task)) as outcomes:
        while True:
            try:
                task, outcome = outcomes.send(further)
            except StopIteration:
                break
            finished.append(_entry(task, outcome, config))
            yield finished[-1]
            further = [task for task in ready_tasks(rungs, finished) if task not in begun]
            begun.update(further)
    if not ranked(finished):
        reasons = f"{len(finished)} trials that all failed, the first with: {finished[0].failed}"
        remedy = "Mend it and search again in another folder."
        raise InputError(workdir, reasons, "at least one that trains", remedy)
    return sorted(finished, key=lambda e: (-e.bracket, e.rung, e.trial))


def _entry(task: Task, outcome: Outcome, config: ConfigDict) -> Entry:
    metric = config.tune.metric
    return Entry(
        trial=task.trial,
        bracket=task.bracket,
        rung=task.rung,
        budget=task.budget,
        settings=sample_settings(config, task.trial),
        metric=metric,
        value=math.nan if outcome.failed else outcome.metrics[metric],
        metrics=outcome.metrics,
        seconds=outcome.seconds,
        failed=outcome.failed,
    )


def _no_value(metric: str, metrics: Mapping[str, float]) -> str:
    if metric in metrics:
        return f"{metric} is {metrics[metric]}"
    return f"tune.metric: found {metric}; accepted: {', '.join(metrics) or 'none was measured'}"
