"""The training loop: epochs of steps, validation, plateau rule, checkpoints."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
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
from musclejax.training import checkpoint
from musclejax.training.events import EpochDone, RunStopped, StepDone, TrainEvent
from musclejax.training.optim import after_epoch, initial_plateau, learning_rate
from musclejax.training.processes import any_process, first_process
from musclejax.training.progress import Progress, Totals, add, from_json, summarize, to_json
from musclejax.training.setup import Data
from musclejax.training.step import StepMetrics, Steps, TrainState, initial_state, make_steps
from musclejax.training.workdir import append_metrics, keep_metrics, open_run, read_metrics

Choose = Callable[[Sampler, int, int], tuple[np.ndarray, np.ndarray]]
"""A sampler, a step and a batch size -> indices and seeds of the step's slices."""


def train_steps(
    config: ConfigDict,
    data: Data,
    run: Path,
    variables: dict[str, Any],
    *,
    resume: bool = False,
    epochs: int | None = None,
    record: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
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
        resume: Resume the run in the folder; the result is the same, bit for bit, as without a
            stop.
        epochs: Epochs in all; `config.train.epochs` if None.
        record: JSON-able; goes into `run.json`.
        clock: Seconds; only differences count.

    Returns:
        The metrics of every epoch.

    Raises:
        InputError: If the run cannot begin or resume, or the loss is no number any more.
    """
    epochs = int(config.train.epochs) if epochs is None else epochs
    loop = _prepare(config, data, run, clock)
    state = initial_state(config, variables, loop.pixels)
    size = sum(a.nbytes for a in jax.tree.leaves(state))
    record = {**(record or {}), "data": dict(data.record)}
    first_process(lambda: open_run(run, config, record, size, resume=resume), run)
    state, progress = loop.steps.place(state), Progress(initial_plateau(config.plateau))
    saved = checkpoint.load(run, "last", like=state) if resume else None
    if saved is not None:
        state, progress = saved[0], from_json(saved[1])
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
    batch_size, processes = int(config.train.batch_size), jax.process_count()
    if batch_size % processes:
        accepted = f"a positive multiple of the number of processes, {processes}"
        raise InputError("train.batch_size", str(batch_size), accepted)
    area = 1 if TASKS[config.task].is_classifier else math.prod(config.data.crop_px)
    pixels = batch_size * area
    return _Loop(config, data, run, clock, make_steps(config, pixels), batch_size, pixels)


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
        now = loop.clock()
        seconds = progress.seconds[0] + now - clock, progress.seconds[1] + waited
        clock = now
        progress = progress._replace(totals=add(progress.totals, metrics), seconds=seconds)
        try:
            wish = yield StepDone(step + 1, total, waited)
        except GeneratorExit:
            if jax.process_count() == 1:
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
    config, epoch = loop.config, progress.epoch + 1
    begin = loop.clock()
    validation = _validate(loop, state)
    summary = {
        **summarize("train", progress.totals, config),
        **summarize("validation", validation, config),
    }
    figure = summary[TASKS[config.task].best_metric]
    better = progress.best is None or figure > progress.best
    seconds, waited = progress.seconds
    metrics = {
        "epoch": epoch,
        "step": epoch * steps_per_epoch(config),
        **summary,
        "learning_rate": _rate(loop, progress),
        "best": better,
        "seconds": round(seconds, 3),
        "validation_seconds": round(loop.clock() - begin, 3),
        "wait_share": round(waited / seconds, 4) if seconds else 0.0,
    }
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
    found = f"a loss of {float(metrics.data_loss)} at step {step + 1} on slices {slices}"
    remedy = "Lower optim.learning_rate, or look at these slices with `musclejax dataset show`."
    raise InputError(loop.run, found, "a finite loss", remedy)


def _is_stale(config: ConfigDict, progress: Progress) -> bool:
    patience = config.train.early_stopping_patience
    return bool(config.train.early_stopping and progress.stale >= patience)


def _save(loop: _Loop, kind: str, state: TrainState, progress: Progress) -> None:
    # The last step of an epoch is saved before and after its validation: two numbers.
    number = 2 * int(state.step) + (progress.totals.batches == 0)
    checkpoint.save(loop.run, kind, number, state, to_json(progress))
