"""Run a hyperband search: here or on a cluster, with progress, and on from where it stopped."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.distributed import join_cluster
from musclejax.cli.fitting import STOPPED, duration, stopping
from musclejax.cli.process import BadUsage, configure, machine, progress_bar, usage
from musclejax.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict
    from rich.progress import Progress, TaskID

    from musclejax.tuning.hyperband import Rung, Runner
    from musclejax.tuning.trials import Entry


@dataclass(frozen=True)
class Settings:
    """The options of `musclejax tune`; see its help."""

    data: tuple[Path, ...]
    workdir: Path
    config: str = "tune"
    changes: tuple[str, ...] = ()
    scheduler: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Session:
    """What the lines about a search are made of.

    Attributes:
        rungs: The plan.
        finished: Finished tasks; grows.
        begin: When this command began; seconds of the clock.
        left: Epochs that were left then.
        progress: A bar on a terminal; nothing elsewhere.
        bar: The bar of this search.
    """

    rungs: list["Rung"]
    finished: list["Entry"]
    begin: float
    left: int
    progress: "Progress"
    bar: "TaskID"


def run(settings: Settings) -> int:
    """Search, or go on with a search.

    Returns:
        The exit code: 0, or 130 after Ctrl-C.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If no trial succeeds.
    """
    from musclejax.tuning.trials import LOG, locked

    workdir = settings.workdir.resolve()  # workers may stand in another folder
    data = [folder.resolve() for folder in settings.data]
    with usage():
        config = _prepare(settings)
    with _runner(settings.scheduler, workdir) as runner, _how_to_stop(settings) as stop:
        train = partial(train_trial, data_folders=data, stop=stop)
        try:
            with usage():
                check_data(data, config)
                _claim(workdir, config, data)
            with locked(workdir / f".{LOG}.lock", wait=False):
                entries = _search(config, workdir, train, runner)
        except KeyboardInterrupt:
            click.echo(f"stopped; the same command goes on with {workdir}", err=True)
            return STOPPED
        except OSError as error:  # the disk is full, or the network is gone
            line = f"stopped: {error}; the same command goes on with {workdir}"
            raise click.ClickException(line) from error
    _finish(config, workdir, entries)
    return 0


def train_trial(
    config: "ConfigDict", epochs: int, workdir: Path, **options: Any
) -> Mapping[str, float]:
    """Train a trial, here or in a worker of the cluster; see `run_trial.run_trial`."""
    configure(None)  # a worker keeps its compiled functions too
    from musclejax.tuning.run_trial import run_trial

    return run_trial(config, epochs, workdir, **options)


def never() -> bool:
    """Return False: nobody stops the trials of a cluster."""
    return False


def _prepare(settings: Settings) -> "ConfigDict":
    """Set up the process and return the recipe of the search."""
    from musclejax.config import apply_settings, load_recipe
    from musclejax.tuning.hyperband import check_search

    if settings.scheduler and settings.threads:
        remedy = "Give --nthreads to `dask worker`."
        raise InputError("--threads", "--scheduler too", "one of the two", remedy)
    configure(settings.threads)
    config = apply_settings(load_recipe(settings.config), settings.changes)
    check_search(config)
    return config


def check_data(folders: list[Path], config: "ConfigDict") -> None:
    """Load the data, which would otherwise fail in every trial; print what one should know."""
    from musclejax.tuning.run_trial import load_search_data

    for note in load_search_data(folders, config).notes:
        click.echo(f"note: {note}")


def _claim(workdir: Path, config: "ConfigDict", data: list[Path]) -> None:
    from musclejax.tuning.trials import claim_workdir

    try:
        claim_workdir(workdir, config, data)
    except OSError as error:
        raise BadUsage(f"--workdir: found {error}; accepted: a folder to write in.") from error


@contextmanager
def _runner(scheduler: str | None, workdir: Path) -> Iterator["Runner"]:
    """Yield what trials run on: this process, or the cluster."""
    if not scheduler:
        from musclejax.tuning.hyperband import in_process

        yield in_process
        return
    from musclejax.tuning.cluster import run_on
    from musclejax.tuning.trials import IDENTITY

    with join_cluster(scheduler) as client:
        yield partial(run_on, client, workdir / IDENTITY)


@contextmanager
def _how_to_stop(settings: Settings) -> Iterator[Callable[[], bool]]:
    """Yield what tells a trial of Ctrl-C and SIGTERM, so that it writes a checkpoint first.

    Trials on a cluster do not: there, Ctrl-C ends this command only.
    """
    if settings.scheduler:
        yield never
        return
    with stopping() as stop:
        yield stop


def _search(
    config: "ConfigDict",
    workdir: Path,
    train: partial[Mapping[str, float]],
    runner: "Runner",
) -> list["Entry"]:
    from musclejax.tuning import hyperband
    from musclejax.tuning.trials import append_entry, read_log

    finished = read_log(workdir)
    rungs = hyperband.check_search(config)
    total, left = hyperband.epochs_left(rungs, []), hyperband.epochs_left(rungs, finished)
    trials = sum(rung.trials for rung in rungs if rung.rung == 0)
    before = f"; {total - left} of them finished before" if finished else ""
    click.echo(f"search: {trials} trials, {total} epochs in all{before}")
    with progress_bar() as progress:
        bar = progress.add_task("epochs", total=total, completed=total - left)
        session = Session(rungs, [*finished], time.perf_counter(), left, progress, bar)

        def record(entry: "Entry") -> None:
            append_entry(workdir, entry)
            _report(entry, session)

        return hyperband.search(
            config, workdir, train, finished, record=record, clock=time.perf_counter, runner=runner
        )


def _report(entry: "Entry", session: Session) -> None:
    """Print a line about a task that has finished, and how long the rest will take."""
    from musclejax.tuning.hyperband import epochs_left

    before = epochs_left(session.rungs, session.finished)
    session.finished.append(entry)
    left = epochs_left(session.rungs, session.finished)
    elapsed = time.perf_counter() - session.begin
    rest = f"; about {duration(elapsed * left / (session.left - left))} left" if left else ""
    result = f"failed: {entry.failed}" if entry.failed else f"{entry.metric} {entry.value:.4f}"
    where = f"trial {entry.trial} (bracket {entry.bracket}, rung {entry.rung})"
    line = f"{where}, {entry.budget} epochs: {result}, {entry.seconds:.1f} s{rest}"
    session.progress.advance(session.bar, before - left)
    session.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _finish(config: "ConfigDict", workdir: Path, entries: list["Entry"]) -> None:
    """Write the results; print the best trials and what to do next."""
    from musclejax.tuning.report import best_trials, save_results, to_table

    save_results(workdir, config, entries, machine())
    columns = ["trial", "bracket", "epochs", *entries[0].settings, config.tune.metric]
    click.echo(to_table(best_trials(entries))[columns].to_string(index=False))
    failed = sum(bool(entry.failed) for entry in entries)
    if failed:
        click.echo(f"{failed} trials failed; trials.csv says why", err=True)
    click.echo(f"results: {workdir}/trials.csv, tune.png, best.json")
    click.echo(f"next: musclejax train --config {workdir}/best.py --data DIR --workdir RUN")
