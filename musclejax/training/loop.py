"""The training loop: epochs of steps, validation, plateau rule, checkpoints."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from musclejax.anatomy import TASKS
from musclejax.data.batches import Batch, make_batch, prefetch
from musclejax.data.sampler import (
    Sampler,
    batch_origins,
    training_indices,
    validation_indices,
)
from musclejax.errors import InputError
from musclejax.system import trim_heap
from musclejax.training import checkpoint
from musclejax.training.events import EpochDone, RunResumed, RunStopped, StepDone, TrainEvent
from musclejax.training.optim import after_epoch, initial_plateau, learning_rate
from musclejax.training.processes import any_process, first_process
from musclejax.training.progress import Progress, Totals, add, from_json, summarize, to_json
from musclejax.training.setup import Data
from musclejax.training.step import StepMetrics, Steps, TrainState, initial_state, make_steps
from musclejax.training.workdir import (
    METRICS,
    RATE,
    append_metrics,
    keep_metrics,
    open_run,
    owned,
    read_metrics,
)

SETTLING = 3
"""Steps after which blocks of the heap stay where they are. Source: ours; memory of the paper's
training peaked at 3.5 GB, at 5.2 without trimming."""
Choose = Callable[[Sampler, int, int], tuple[np.ndarray, np.ndarray]]
"""A sampler, a step and a batch size -> indices and seeds of the step's slices."""


def train_steps(
    config: ConfigDict,
    data: Data,
    run: Path,
    variables: dict[str, Any],
    *,
    clock: Callable[[], float],
    resume: bool = False,
    epochs: int | None = None,
    record: Mapping[str, Any] | None = None,
) -> Generator[TrainEvent, bool | None, list[dict[str, Any]]]:
    """Train until the epochs are done; yield after each step and each epoch.

    Metrics and checkpoints go into the folder of the run. To stop a run, send True in place of the
    next step, in one process or in several: all processes write a checkpoint, and `RunStopped` is
    the last event. Closing the generator also writes a checkpoint, but only a run of one process.

    Args:
        config: Settings.
        data: From `setup.load_data`.
        run: Folder of the run.
        variables: To start from, unless `resume` is set and a checkpoint is there.
        clock: Seconds; only differences count. They are recorded, and rule when to save.
        resume: Resume the run in the folder; the result is the same, bit for bit, as without a
            stop.
        epochs: Epochs in all; `config.train.epochs` if None.
        record: JSON-able; goes into `run.json`.

    Returns:
        The metrics of every epoch.

    Raises:
        InputError: If the run cannot begin or resume, or the loss is no number any more.
    """
    epochs = int(config.train.epochs) if epochs is None else epochs
    loop = _prepare(config, data, run, clock)
    with ExitStack() as held:
        # The first process writes for all, so it holds the folder for all.
        first_process(lambda: held.enter_context(owned(run)), run)
        return (yield from _train(loop, variables, epochs, record or {}, resume))


def _train(
    loop: "_Loop", variables: dict[str, Any], epochs: int, record: Mapping[str, Any], resume: bool
) -> Generator[TrainEvent, bool | None, list[dict[str, Any]]]:
    config, data, run = loop.config, loop.data, loop.run
    state = initial_state(config, variables, loop.pixels)
    size = sum(a.nbytes for a in jax.tree.leaves(state))
    record = {**record, "data": dict(data.record)}
    first_process(lambda: open_run(run, config, record, size, resume=resume), run)
    state, progress = loop.steps.place(state), Progress(initial_plateau(config.plateau))
    kind = _checkpoint_of(run) if resume else ""
    if kind:
        state, progress = _restore(run, kind, state, progress)
    if kind == "best" and progress.epoch:
        yield RunResumed(progress.epoch)
    first_process(lambda: keep_metrics(run, progress.epoch), run)
    history = read_metrics(run)
    sampler, total = data.samplers["train"], epochs * steps_per_epoch(config)

    def make(step: int) -> Batch:
        return _own_rows(loop, sampler, training_indices, step)

    # One thread for all epochs: it makes batches while an epoch is validated and saved.
    with prefetch(make, int(state.step), total) as batches:
        while progress.epoch < epochs and not _is_stale(config, progress):
            state, progress, stop = yield from _train_epoch(loop, state, progress, batches, total)
            if stop:
                yield RunStopped(int(state.step))
                break
            progress, metrics = _finish_epoch(loop, state, progress)
            history.append(metrics)
            yield EpochDone(metrics)
    return history


def _checkpoint_of(run: Path) -> str:
    """Return which checkpoint a run resumes from; "" if it has done nothing yet.

    The best one, too, is a whole state: the epochs after it are done again.

    Raises:
        InputError: If epochs are recorded and no checkpoint is there.
    """
    for kind in ("last", "best"):
        if checkpoint.exists(run, kind):
            return kind
    done = len(read_metrics(run))
    if done:
        found = f"{done} epochs in {METRICS} and no checkpoint"
        remedy = "Put the folder checkpoints back, or begin anew in another --workdir."
        raise InputError(run, found, "the checkpoint that goes with them", remedy)
    return ""


def _restore(
    run: Path, kind: str, state: TrainState, progress: Progress
) -> tuple[TrainState, Progress]:
    """Return state and progress of a checkpoint; those given if no epoch is recorded yet.

    Raises:
        InputError: If the metrics of its epochs are lost.
    """
    saved = checkpoint.load(run, kind, like=state)
    if saved is None:
        return state, progress
    done, restored = len(read_metrics(run)), from_json(saved[1])
    if restored.epoch <= done:
        return saved[0], restored
    if kind == "best" and restored.epoch == 1:
        return state, progress  # killed between the first checkpoint and the first metrics
    found = f"{done} epochs in {METRICS} and a checkpoint of epoch {restored.epoch}"
    remedy = f"Put {METRICS} back from a copy, or begin anew in another --workdir."
    raise InputError(run, found, "the metrics that go with the checkpoint", remedy)


@dataclass(frozen=True, eq=False)
class _Loop:
    """Constants of a run."""

    config: ConfigDict
    data: Data
    run: Path
    clock: Callable[[], float]
    steps: Steps
    batch_size: int
    pixels: int


def _prepare(config: ConfigDict, data: Data, run: Path, clock: Callable[[], float]) -> _Loop:
    check_batch_size(config)
    batch_size = int(config.train.batch_size)
    area = 1 if TASKS[config.task].is_classifier else math.prod(config.data.crop_px)
    pixels = batch_size * area
    return _Loop(config, data, run, clock, make_steps(config, pixels), batch_size, pixels)


def check_batch_size(config: ConfigDict) -> None:
    """Check that the processes and devices can share a batch.

    Raises:
        InputError: If they cannot.
    """
    batch_size = int(config.train.batch_size)
    for what, count in (("processes", jax.process_count()), ("devices", jax.device_count())):
        if batch_size % count:
            accepted = f"a positive multiple of the number of {what}, {count}"
            remedy = "" if what == "processes" else f"Nearest: {count * (1 + batch_size // count)}."
            raise InputError("train.batch_size", str(batch_size), accepted, remedy)


def steps_per_epoch(config: ConfigDict) -> int:
    """Return the steps that show `train.epoch_slices` slices."""
    return max(1, math.ceil(config.train.epoch_slices / config.train.batch_size))


def _train_epoch(
    loop: _Loop, state: TrainState, progress: Progress, batches: Iterator[Batch], total: int
) -> Generator[StepDone, bool | None, tuple[TrainState, Progress, bool]]:
    """Do the rest of the epoch; return also whether a stop was requested."""
    steps = steps_per_epoch(loop.config)
    # In the type that the step is compiled for.
    rate = loop.steps.place(np.float32(_rate(loop, progress)))
    first = progress.epoch * steps + progress.totals.batches
    saved = clock = loop.clock()
    for step in range(first, (progress.epoch + 1) * steps):
        batch = next(batches)
        waited = loop.clock() - clock
        state, metrics = loop.steps.train(state, loop.steps.to_global(batch), rate)
        _check_finite(loop, metrics, step)
        if step - first < SETTLING:
            trim_heap()
        now = loop.clock()
        seconds = progress.seconds[0] + now - clock, progress.seconds[1] + waited
        clock = now
        progress = progress._replace(totals=add(progress.totals, metrics), seconds=seconds)
        try:
            wish = yield StepDone(step + 1, total, waited)
        except GeneratorExit:
            if jax.process_count() == 1 and checkpoint.is_finite(state):
                _save(loop, "last", state, progress)
            raise
        stop = any_process(bool(wish))
        if stop or any_process(now - saved > 60 * loop.config.train.checkpoint_minutes):
            _save(loop, "last", state, progress)
            saved = clock = loop.clock()
        if stop:
            return state, progress, True
    return state, progress, False


def _rate(loop: _Loop, progress: Progress) -> float:
    config = loop.config
    return learning_rate(progress.plateau, config.optim, progress.epoch, int(config.train.epochs))


def _finish_epoch(
    loop: _Loop, state: TrainState, progress: Progress
) -> tuple[Progress, dict[str, Any]]:
    """Validate, apply the plateau rule, log and save."""
    _check_state(loop, state)
    config, epoch = loop.config, progress.epoch + 1
    begin = loop.clock()
    validation = _validate(loop, state)
    summary = {
        **summarize("train", progress.totals, config),
        **summarize("validation", validation, config),
    }
    if not math.isfinite(summary["validation_loss"]):
        raise _diverged(loop, f"a validation loss of {summary['validation_loss']} in epoch {epoch}")
    figure = summary[TASKS[config.task].best_metric]
    better = progress.best is None or figure > progress.best
    metrics = _epoch_metrics(loop, progress, summary, better, loop.clock() - begin)
    progress = Progress(
        plateau=after_epoch(progress.plateau, summary["validation_loss"], config.plateau),
        epoch=epoch,
        best=figure if better else progress.best,
        stale=0 if better else progress.stale + 1,
    )
    if better:
        _save(loop, "best", state, progress)
    # Metrics before the checkpoint: a run killed in between drops the line and does it again.
    if jax.process_index() == 0:
        append_metrics(loop.run, metrics)
    _save(loop, "last", state, progress)
    return progress, metrics


def _epoch_metrics(
    loop: _Loop, progress: Progress, summary: Mapping[str, float], best: bool, seconds: float
) -> dict[str, Any]:
    """Return the line of an epoch; `seconds` are those of its validation."""
    epoch, (trained, waited) = progress.epoch + 1, progress.seconds
    return {
        "epoch": epoch,
        "step": epoch * steps_per_epoch(loop.config),
        **summary,
        "learning_rate": _rate(loop, progress),
        "best": best,
        "seconds": round(trained, 3),
        "validation_seconds": round(seconds, 3),
        "wait_share": round(waited / trained, 4) if trained else 0.0,
    }


def _validate(loop: _Loop, state: TrainState) -> Totals:
    sampler, totals = loop.data.samplers["validation"], Totals()
    steps = math.ceil(len(sampler) / loop.batch_size)

    def make(step: int) -> Batch:
        return _own_rows(loop, sampler, validation_indices, step)

    with prefetch(make, 0, steps) as batches:
        for batch in batches:
            totals = add(totals, loop.steps.validate(state, loop.steps.to_global(batch)))
    return totals


def _own_rows(loop: _Loop, sampler: Sampler, choose: Choose, step: int) -> Batch:
    """Make the rows of a batch that are this process's own."""
    share = loop.batch_size // jax.process_count()
    own = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    indices, seeds = choose(sampler, step, loop.batch_size)
    return make_batch(sampler, indices[own], seeds[own], loop.data.classes, loop.config)


def _check_finite(loop: _Loop, metrics: StepMetrics, step: int) -> None:
    if np.isfinite(float(metrics.data_loss)):
        return
    sampler = loop.data.samplers["train"]
    indices, _ = training_indices(sampler, step, loop.batch_size)
    slices = ", ".join(map(str, batch_origins(sampler, indices)))
    raise _diverged(
        loop, f"a loss of {float(metrics.data_loss)} at step {step + 1} on slices {slices}"
    )


def _check_state(loop: _Loop, state: TrainState) -> None:
    """Check that a state is one of numbers: no other replaces a checkpoint."""
    if not checkpoint.is_finite(state):
        raise _diverged(loop, f"variables that are no numbers after step {int(state.step)}")


def _diverged(loop: _Loop, found: str) -> InputError:
    """Return the error about a run that has diverged; its last good checkpoint is untouched."""
    lower = f"--resume --set {RATE}={0.5 * loop.config.optim.learning_rate:.4g}"
    remedy = f"Continue from the last good checkpoint with {lower}, or look at the slices."
    return InputError(loop.run, found, "a finite loss", remedy)


def _is_stale(config: ConfigDict, progress: Progress) -> bool:
    patience = config.train.early_stopping_patience
    return bool(config.train.early_stopping and progress.stale >= patience)


def _save(loop: _Loop, kind: str, state: TrainState, progress: Progress) -> None:
    _check_state(loop, state)
    # The last step of an epoch is saved before and after its validation: two numbers.
    number = 2 * int(state.step) + (progress.totals.batches == 0)
    checkpoint.save(loop.run, kind, number, state, to_json(progress))
