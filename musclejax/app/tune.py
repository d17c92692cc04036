"""`musclejax tune`: run a hyperband search here or on a cluster, and resume one."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
from ml_collections import ConfigDict

from musclejax.app import console
from musclejax.app.cluster import join_cluster
from musclejax.app.convolutions import warn_without_onednn
from musclejax.app.process import BadUsage, check_output, command_line, usage
from musclejax.app.recipe_options import TuneOptions
from musclejax.app.stop import STOPPED, stopping
from musclejax.app.train import duration
from musclejax.app.trial_worker import check_batch, never, train_trial
from musclejax.config import load_recipe
from musclejax.errors import count_of
from musclejax.files import locked
from musclejax.loops import Advance
from musclejax.reports.pages.document import PAGE
from musclejax.reports.pages.render import check_page
from musclejax.reports.search import best_trials, save_results, to_table
from musclejax.system import machine
from musclejax.training.loop import check_batch_size
from musclejax.tuning.cluster import run_on
from musclejax.tuning.hyperband import (
    Rung,
    Runner,
    RunTrial,
    check_search,
    epochs_left,
    in_process,
    search_steps,
)
from musclejax.tuning.log import LOG, MANIFEST, Entry, append_entry, open_search, read_log
from musclejax.tuning.trial import load_search_data


def run(options: TuneOptions) -> int:
    """Search, or resume a search.

    Returns:
        The exit code: 0, or `STOPPED` after Ctrl-C.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If no trial succeeds.
    """
    workdir = options.workdir.resolve()  # workers may have another working folder
    check_output(workdir, "--workdir")
    data = [folder.resolve() for folder in options.data]
    with usage():
        config = load_recipe(options.config, options.changes)
        check_search(config)
        check_page(workdir / PAGE)
    with _runner(options.scheduler, workdir, config) as runner, _how_to_stop(options) as stop:
        train = partial(train_trial, data_folders=data, stop=stop)
        try:
            with usage():
                check_data(data, config)
                _open(workdir, config, data)
            if not options.scheduler:
                warn_without_onednn(config)
                check_batch_size(config)
            with locked(workdir / f".{LOG}.lock", wait=False):
                entries = _search(config, workdir, train, runner)
        except KeyboardInterrupt:
            console.warn(f"stopped; the same command continues {workdir}")
            return STOPPED
        except OSError as error:  # the disk is full, or the network is gone
            line = f"stopped: {error}; the same command continues {workdir}"
            raise click.ClickException(line) from error
    _finish(config, workdir, entries)
    return 0


def check_data(folders: Sequence[Path], config: ConfigDict) -> None:
    """Load the data, which would otherwise fail in every trial; print its warnings."""
    for warning in load_search_data(folders, config).warnings:
        console.warn(f"warning: {warning}")


def _open(workdir: Path, config: ConfigDict, data: list[Path]) -> None:
    try:
        open_search(workdir, config, data)
    except OSError as error:
        raise BadUsage(f"--workdir: found {error}; accepted: a folder to write in.") from error


@contextmanager
def _runner(scheduler: str | None, workdir: Path, config: ConfigDict) -> Iterator[Runner]:
    """Yield the runner of trials: this process, or the cluster."""
    if not scheduler:
        yield in_process
        return
    with join_cluster(scheduler) as client:
        check = partial(check_batch, config.to_dict())
        yield partial(run_on, client, workdir / MANIFEST, check=check)


@contextmanager
def _how_to_stop(options: TuneOptions) -> Iterator[Callable[[], bool]]:
    """Yield the wish to stop of a trial, which follows Ctrl-C and SIGTERM.

    Trials on a cluster do not: there, Ctrl-C ends this command only.
    """
    if options.scheduler:
        yield never
        return
    with stopping() as stop:
        yield stop


@dataclass
class _Session:
    """State of the lines about a search.

    Attributes:
        rungs: The plan.
        finished: Finished tasks; grows.
        left: Epochs that were left when this command began.
        begin: When it began; seconds of the clock.
    """

    rungs: list[Rung]
    finished: list[Entry]
    left: int
    begin: float = field(default_factory=time.perf_counter)


def _search(config: ConfigDict, workdir: Path, train: RunTrial, runner: Runner) -> list[Entry]:
    """Log and report each task that finishes, behind a bar; return all of them."""
    finished, rungs = read_log(workdir), check_search(config)
    total, left = epochs_left(rungs, []), epochs_left(rungs, finished)
    trials = sum(rung.trials for rung in rungs if rung.rung == 0)
    done = f"; {total - left} of them already done" if finished else ""
    console.say(f"search: {trials} trials, {total} epochs in all{done}")
    session = _Session(rungs, [*finished], left)
    with (
        console.progress() as bars,
        closing(
            search_steps(config, workdir, train, finished, runner, clock=time.perf_counter)
        ) as steps,
    ):
        bar = console.Bar(bars, "epochs", total)
        while True:
            bar.show(Advance(total - epochs_left(rungs, session.finished), total))
            try:
                entry = next(steps)
            except StopIteration as end:
                return end.value
            append_entry(workdir, entry)
            session.finished.append(entry)
            console.say(_line(entry, session))


def _line(entry: Entry, session: _Session) -> str:
    """Return the line about a finished task, with the time that the rest will take."""
    left = epochs_left(session.rungs, session.finished)
    elapsed = time.perf_counter() - session.begin
    rest = f"; about {duration(elapsed * left / (session.left - left))} left" if left else ""
    result = f"failed: {entry.failed}" if entry.failed else f"{entry.metric} {entry.value:.4f}"
    where = f"trial {entry.trial} (bracket {entry.bracket}, rung {entry.rung})"
    return f"{where}, {entry.budget} epochs: {result}, {entry.seconds:.1f} s{rest}"


def _finish(config: ConfigDict, workdir: Path, entries: list[Entry]) -> None:
    """Write the results; print the best trials and the next command."""
    made_with = {"command": command_line(), **machine()}
    save_results(workdir, config, entries, made_with)
    columns = ["trial", "bracket", "epochs", *entries[0].settings, config.tune.metric]
    console.say(to_table(best_trials(entries))[columns].to_string(index=False))
    failed = sum(bool(entry.failed) for entry in entries)
    if failed:
        console.warn(f"warning: {count_of(failed, 'trial')} failed; trials.csv has the reasons")
    console.say(f"next: musclejax train --config {workdir}/best.py --data DIR --workdir RUN")
    console.say(f"\nResults are in {workdir}/ : open {PAGE} first")
