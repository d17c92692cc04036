"""`musclejax train`: run a training, show its events, stop it on a signal."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
import jax
from ml_collections import ConfigDict

from musclejax.app import console
from musclejax.app.convolutions import warn_without_onednn
from musclejax.app.devices import check_devices
from musclejax.app.process import check_output, command_line, usage
from musclejax.app.recipe_options import TrainOptions
from musclejax.app.stop import STOPPED, stopping, until
from musclejax.config import load_recipe
from musclejax.data.sampler import MixedSampler
from musclejax.errors import count_of
from musclejax.loops import Advance
from musclejax.models.weights import load_weights
from musclejax.reports.pages.document import PAGE
from musclejax.reports.pages.render import check_page
from musclejax.reports.training import open_events, save_run, write_events
from musclejax.system import machine
from musclejax.training.events import EpochDone, RunResumed, RunStopped, StepDone, TrainEvent
from musclejax.training.loop import check_batch_size, train_steps
from musclejax.training.meeting import PATIENCE_S, meet
from musclejax.training.mixing import mix
from musclejax.training.setup import Data, beginning, initial_variables, load_data_steps, start_from
from musclejax.training.step import convolutions, precision
from musclejax.training.workdir import read_run

if TYPE_CHECKING:
    from rich.progress import Progress


def run(options: TrainOptions) -> int:
    """Train.

    Returns:
        The exit code: 0 done, `STOPPED` if a signal stopped it.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If the data cannot be learned from, or the run cannot begin or continue.
    """
    check_output(options.workdir, "--workdir")
    with usage():
        check_page(options.workdir / PAGE)
        config = load_recipe(options.config, options.changes)
        config.train.early_stopping |= options.early_stopping
    _join(options)
    if not _leads():  # the first process reports for all
        console.set_verbosity(console.QUIET)
    with usage():
        weights = load_weights(options.init) if options.init else None
        variables, start = initial_variables(config, weights)
        library, in_bfloat16 = convolutions(config), precision(config) == "bfloat16"
        if _leads():
            warn_without_onednn(config)
        check_batch_size(config)
    data = console.follow(load_data_steps(options.data, config), "cases")
    known = read_run(options.workdir) if options.resume else None
    data = mix(start_from(data, config, weights), config, known)
    by = ", 3x3 convolutions by oneDNN" * (library == "onednn") + ", in bfloat16" * in_bfloat16
    console.say(f"{config.task} network, variant {config.variant}, from {start}{by}")
    facts = machine()
    console.detail(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    _introduce(data)
    record = {
        "start": start,
        **({"init": beginning(config, options.init, weights)} if options.init and weights else {}),
        "folders": [str(folder) for folder in options.data],
        "warnings": list(data.warnings),
        "convolutions": library,
        "command": command_line(),
        **facts,
    }
    return _train(options, config, data, variables, record)


def _introduce(data: Data) -> None:
    for name, sampler in data.samplers.items():
        part = data.record.get(name, data.record["train"])
        sizes = {
            "slice": len(sampler.scans if isinstance(sampler, MixedSampler) else sampler),
            "case": len(part["cases"]),
            "subject": len(part["subjects"]),
        }
        counted = [count_of(number, what) for what, number in sizes.items()]
        console.say(f"{name}: {', '.join(counted)}")
    if "synthetic" in data.record:
        share = data.record["synthetic"]["share"]
        console.say(f"data.synthetic_share: {100 * share:g} % of the training is synthetic slices")
    for warning in data.warnings:
        if _leads():
            console.warn(f"warning: {warning}")


def _train(
    options: TrainOptions,
    config: ConfigDict,
    data: Data,
    variables: dict[str, Any],
    record: Mapping[str, Any],
) -> int:
    run = options.workdir
    steps = train_steps(
        config,
        data,
        run,
        variables,
        clock=time.perf_counter,
        resume=options.resume,
        record=record,
    )
    stopped = None
    try:
        with (
            stopping() as stop,
            console.progress() as bars,
            closing(Reporter(config, options, bars)) as reporter,
            closing(until(steps, stop)) as events,
        ):
            for event in events:
                reporter.show(event)
                stopped = event if isinstance(event, RunStopped) else None
    except OSError as error:  # the disk is full: of the pictures and events, too
        line = f"{run}: stopped: {error}; the same command with --resume continues"
        raise click.ClickException(line) from error
    if stopped:
        text = f"stopped after step {stopped.step}; the same command with --resume continues"
        console.say(f"{run}: {text}")
        return STOPPED
    console.say(f"done; next: musclejax weights export {run} -o WEIGHTS")
    return 0


class Reporter:
    """Shows a run: a bar, a line per epoch, the curves, events for TensorBoard."""

    def __init__(self, config: ConfigDict, options: TrainOptions, bars: "Progress") -> None:
        self._config, self._folder = config, options.workdir
        self._bar = console.Bar(bars, "steps")
        self._events: Any = None

    def show(self, event: TrainEvent) -> None:
        """Show an event."""
        match event:
            case RunResumed(epoch):
                text = "the last checkpoint is missing; continues from the best, of epoch"
                console.warn(f"warning: {self._folder}: {text} {epoch}")
            case StepDone(step, total):
                self._bar.show(Advance(step, total))
            case EpochDone(metrics):
                console.say(epoch_line(metrics, int(self._config.train.epochs)))
                if _leads():
                    self._draw(metrics)

    def _draw(self, metrics: Mapping[str, Any]) -> None:
        if self._events is None:
            self._events = open_events(self._folder, metrics["epoch"])
        write_events(self._events, metrics)
        save_run(self._folder, f"{self._config.task}, variant {self._config.variant}")

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()


def epoch_line(metrics: Mapping[str, Any], epochs: int) -> str:
    """Return the line about an epoch."""
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
    """Return a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _join(options: TrainOptions) -> None:
    """Join the other processes of a distributed run, before JAX is used for anything else.

    Raises:
        InputError: If they do not come.
    """
    if options.coordinator is None:
        return
    address, processes, process = options.coordinator, options.processes or 1, options.process or 0
    meet(address, processes, process)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, processes, process, initialization_timeout=int(PATIENCE_S))
    with usage():
        check_devices()


def _leads() -> bool:
    """Return whether this is the process that prints and draws."""
    return jax.process_index() == 0
