"""Run a training and show it as it goes: what `musclejax train` does."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.process import BadUsage, configure, machine, progress_bar, usage

if TYPE_CHECKING:
    from ml_collections import ConfigDict
    from rich.progress import Progress

    from musclejax.training.fit import Hooks
    from musclejax.training.prepare import Data

Say = Callable[[str], None]
STOPPED = 130
"""Exit code of a run that was stopped by a signal, as shells have it."""


@dataclass(frozen=True)
class Settings:
    """The options of `musclejax train`; see its help."""

    config: str
    data: tuple[Path, ...]
    workdir: Path
    changes: tuple[str, ...] = ()
    init: str | None = None
    resume: bool = False
    early_stopping: bool = False
    threads: int | None = None
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def run(settings: Settings) -> int:
    """Train.

    Returns:
        The exit code: 0 done, `STOPPED` if a signal stopped it.

    Raises:
        BadUsage: If an option is unusable.
    """
    from musclejax.models.weights import load_weights
    from musclejax.training.prepare import initial_variables
    from musclejax.training.step import convolutions

    with usage():
        configure(settings.threads)
        config = recipe(settings.config, settings.changes)
        config.train.early_stopping |= settings.early_stopping
    _join(settings)
    with usage():
        weights = load_weights(settings.init) if settings.init else None
        variables, start = initial_variables(config, weights)
        convolved_by = convolutions(config)
    say = click.echo if _leads() else _silence
    data = load(settings.data, config)
    helped = ", 3x3 convolutions by oneDNN" * (convolved_by == "onednn")
    say(f"{config.task} network, variant {config.variant}, from {start}{helped}")
    _introduce(data, say)
    record = {
        "start": start,
        "folders": [str(folder) for folder in settings.data],
        "notes": list(data.notes),
        "convolutions": convolved_by,
        **machine(),
    }
    return _fit(settings, config, data, variables, record, say)


def recipe(name_or_file: str, changes: tuple[str, ...]) -> "ConfigDict":
    """Return a recipe with the changes of `--set`.

    Raises:
        InputError: If the recipe or a setting does not exist.
    """
    from musclejax.config import apply_settings, load_recipe

    return apply_settings(load_recipe(name_or_file), changes)


def load(folders: tuple[Path, ...], config: "ConfigDict") -> "Data":
    """Load what a run learns from, with a progress bar.

    Raises:
        InputError: If anything would make the run fail or mean nothing later.
    """
    from musclejax.training.prepare import load_data

    with progress_bar() as progress:
        bar = progress.add_task("cases", total=None)
        return load_data(folders, config, lambda case: progress.advance(bar))


def _introduce(data: "Data", say: Say) -> None:
    for name, feed in data.feeds.items():
        part = data.record.get(name, data.record["train"])
        sizes = {"slice": len(feed), "case": len(part["cases"]), "subject": len(part["subjects"])}
        counted = [f"{n} {what}{'s' * (n != 1)}" for what, n in sizes.items()]
        say(f"{name}: {', '.join(counted)}")
    for note in data.notes:
        say(f"note: {note}")


def _fit(
    settings: Settings,
    config: "ConfigDict",
    data: "Data",
    variables: dict[str, Any],
    record: Mapping[str, Any],
    say: Say,
) -> int:
    from musclejax.training.fit import RunStoppedError, fit

    run, resume = settings.workdir, settings.resume
    with stopping() as stop, progress_bar() as progress:
        reporter = Reporter(config, run, progress, say)
        hooks = reporter.hooks(stop)
        try:
            fit(config, data, run, variables, resume=resume, record=record, hooks=hooks)
        except RunStoppedError as stopped:
            say(f"{stopped}; the same command with --resume goes on")
            return STOPPED
        finally:
            reporter.close()
    say(f"done; next: musclejax weights export {run} -o WEIGHTS")
    return 0


class Reporter:
    """Shows a run: a bar on terminals, a line an epoch; draws its curves, writes its events."""

    def __init__(self, config: "ConfigDict", folder: Path, progress: "Progress", say: Say) -> None:
        self._config, self._folder, self._say = config, folder, say
        self._progress = progress
        self._bar = progress.add_task("steps", total=None)
        self._events: Any = None

    def hooks(self, stop: Callable[[], bool]) -> "Hooks":
        """Return what `fit` calls."""
        from musclejax.training.fit import Hooks

        return Hooks(time.perf_counter, self._step, self._epoch, stop)

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()

    def _step(self, done: int, total: int, waited: float) -> None:
        self._progress.update(self._bar, completed=done, total=total)

    def _epoch(self, metrics: Mapping[str, Any]) -> None:
        self._say(epoch_line(metrics, int(self._config.train.epochs)))
        if not _leads():
            return
        from musclejax.training.curves import draw_run, open_events, write_events

        if self._events is None:
            self._events = open_events(self._folder, metrics["epoch"])
        write_events(self._events, metrics)
        draw_run(self._folder, f"{self._config.task}, variant {self._config.variant}")


def epoch_line(metrics: Mapping[str, Any], epochs: int) -> str:
    """Return what is said of an epoch."""
    shown = {
        "train_loss": ("loss", ".4g"),
        "validation_loss": ("validation", ".4g"),
        "validation_dsc": ("DSC", ".3f"),
        "validation_soft_dsc": ("soft", ".3f"),
        "validation_accuracy": ("accuracy", ".3f"),
        "learning_rate": ("rate", ".3g"),
    }
    figures = [
        f"{label} {metrics[name]:{digits}}"
        for name, (label, digits) in shown.items()
        if name in metrics
    ]
    seconds = metrics["seconds"] + metrics["validation_seconds"]
    left = seconds * (epochs - metrics["epoch"])
    return (
        f"epoch {metrics['epoch']}/{epochs}: {', '.join(figures)}"
        f"{' (best)' if metrics['best'] else ''}; {seconds:.0f} s, "
        f"{100 * metrics['wait_share']:.0f} % waiting for data; {duration(left)} left"
    )


def duration(seconds: float) -> str:
    """Return a duration as one would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _join(settings: Settings) -> None:
    """Join the other processes of a distributed run, before JAX is used for anything else."""
    given = settings.coordinator, settings.processes, settings.process
    if all(value is None for value in given):
        return
    if any(value is None for value in given):
        raise BadUsage(
            "--coordinator, --processes, --process: found only some of them; accepted: all three."
        )
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(*given)


def _leads() -> bool:
    """Return whether this is the process that prints and draws."""
    import jax

    return jax.process_index() == 0


def _silence(line: str) -> None:
    """Say nothing: the first process does."""


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a wish that `fit` asks for after every step."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        if asked:  # a second time: at once
            raise KeyboardInterrupt
        asked.append(number)

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
