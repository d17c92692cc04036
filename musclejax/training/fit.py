"""The training loop: epochs of steps, validation, plateau rule, checkpoints."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from ml_collections import ConfigDict

from musclejax.data.batches import (
    Batch,
    Feed,
    ahead,
    batch_origins,
    make_batch,
    training_items,
    validation_items,
)
from musclejax.errors import InputError
from musclejax.training import checkpoint
from musclejax.training.optim import after_epoch, learning_rate
from musclejax.training.prepare import Data
from musclejax.training.progress import (
    Progress,
    Totals,
    add,
    best_metric,
    from_json,
    summarise,
    to_json,
)
from musclejax.training.run import append_metrics, keep_metrics, open_run, read_metrics
from musclejax.training.step import StepMetrics, Steps, TrainState, initial_state, make_steps

Items = Callable[[Feed, int, int], tuple[np.ndarray, np.ndarray]]


class RunStoppedError(Exception):
    """The run was asked to stop and has; its checkpoint is written."""


@dataclass(frozen=True)
class Hooks:
    """How a caller follows and stops a run.

    Attributes:
        clock: Seconds; only differences count.
        step: Called after every step with the steps done and to do in all, and the seconds that
            this one waited for data.
        epoch: Called after every epoch with its metrics.
        stop: Asked after every step; True writes a checkpoint and stops.
    """

    clock: Callable[[], float] = lambda: 0.0
    step: Callable[[int, int, float], None] = lambda done, total, waited: None
    epoch: Callable[[Mapping[str, Any]], None] = lambda metrics: None
    stop: Callable[[], bool] = lambda: False


def fit(
    config: ConfigDict,
    data: Data,
    run: Path,
    variables: dict[str, Any],
    *,
    resume: bool = False,
    epochs: int | None = None,
    record: Mapping[str, Any] | None = None,
    hooks: Hooks | None = None,
) -> list[dict[str, Any]]:
    """Train until the epochs are done; write metrics and checkpoints into the folder of the run.

    Args:
        config: Settings.
        data: What to learn from, from `prepare.load_data`.
        run: Folder of the run.
        variables: To start from, unless a checkpoint is there and `resume` is set.
        resume: Go on with the run that is there; the result is the same, bit for bit, as if it
            had never stopped.
        epochs: Epochs in all; `config.train.epochs` if None.
        record: JSON-able; goes into `run.json`.
        hooks: Follow and stop the run.

    Returns:
        The metrics of every epoch.

    Raises:
        InputError: If the run cannot be begun or gone on with, or the loss is no number any more.
        RunStoppedError: If `hooks.stop` said so.
    """
    epochs = int(config.train.epochs) if epochs is None else epochs
    loop = _prepare(config, data, run, hooks or Hooks())
    state = initial_state(config, variables, loop.pixels)
    size = sum(a.nbytes for a in jax.tree.leaves(state))
    record = {**(record or {}), "data": dict(data.record)}
    _once(lambda: open_run(run, config, record, size, resume=resume), run)
    state, progress = loop.steps.place(state), Progress()
    saved = checkpoint.load(run, "last", like=state) if resume else None
    if saved is not None:
        state, progress = saved[0], from_json(saved[1])
    _once(lambda: keep_metrics(run, progress.epoch), run)
    history = read_metrics(run)
    feed, total = data.feeds["train"], epochs * steps_per_epoch(config)
    # One thread for all epochs: it goes on making batches while an epoch is validated and saved.
    with ahead(lambda n: _rows(loop, feed, training_items, n), int(state.step), total) as batches:
        while progress.epoch < epochs and not _stale(config, progress):
            state, progress = _train_epoch(loop, state, progress, batches, total)
            progress, metrics = _finish_epoch(loop, state, progress)
            history.append(metrics)
    return history


@dataclass(frozen=True, eq=False)
class _Loop:
    """What stays the same from step to step."""

    config: ConfigDict
    data: Data
    run: Path
    hooks: Hooks
    steps: Steps
    batch_size: int
    pixels: int


def _prepare(config: ConfigDict, data: Data, run: Path, hooks: Hooks) -> _Loop:
    batch_size, processes = int(config.train.batch_size), jax.process_count()
    if batch_size < 1 or batch_size % processes:
        accepted = f"a positive multiple of the number of processes, {processes}"
        raise InputError("train.batch_size", str(batch_size), accepted)
    area = 1 if config.task == "region" else math.prod(config.data.crop_px)
    pixels = batch_size * area
    return _Loop(config, data, run, hooks, make_steps(config, pixels), batch_size, pixels)


def steps_per_epoch(config: ConfigDict) -> int:
    """Return the steps that show `train.epoch_slices` slices."""
    return max(1, math.ceil(config.train.epoch_slices / config.train.batch_size))


def _train_epoch(
    loop: _Loop, state: TrainState, progress: Progress, batches: Iterator[Batch], total: int
) -> tuple[TrainState, Progress]:
    """Do what is left of the epoch."""
    steps = steps_per_epoch(loop.config)
    # In the type that the step is compiled for.
    rate = loop.steps.place(np.float32(_rate(loop, progress)))
    first = progress.epoch * steps + progress.totals.batches
    saved = clock = loop.hooks.clock()
    for step in range(first, (progress.epoch + 1) * steps):
        batch = next(batches)
        waited = loop.hooks.clock() - clock
        state, metrics = loop.steps.train(state, loop.steps.to_global(batch), rate)
        _check_finite(loop, metrics, step)
        now = loop.hooks.clock()
        seconds = progress.seconds[0] + now - clock, progress.seconds[1] + waited
        clock = now
        progress = progress._replace(totals=add(progress.totals, metrics), seconds=seconds)
        loop.hooks.step(step + 1, total, waited)
        stop = _agreed(loop.hooks.stop())
        if stop or _agreed(now - saved > 60 * loop.config.train.checkpoint_minutes):
            _save(loop, "last", state, progress)
            saved = clock = loop.hooks.clock()
        if stop:
            raise RunStoppedError(f"{loop.run}: stopped after step {step + 1}")
    return state, progress


def _rate(loop: _Loop, progress: Progress) -> float:
    done = progress.epoch / max(1, int(loop.config.train.epochs))
    return learning_rate(progress.plateau, loop.config.optim, min(done, 1.0))


def _finish_epoch(
    loop: _Loop, state: TrainState, progress: Progress
) -> tuple[Progress, dict[str, Any]]:
    """Validate, apply the plateau rule, note and save."""
    config, epoch = loop.config, progress.epoch + 1
    begin = loop.hooks.clock()
    validation = _validate(loop, state)
    summary = {
        **summarise("train", progress.totals, config),
        **summarise("validation", validation, config),
    }
    figure = summary[best_metric(config)]
    better = progress.best is None or figure > progress.best
    seconds, waited = progress.seconds
    metrics = {
        "epoch": epoch,
        "step": epoch * steps_per_epoch(config),
        **summary,
        "learning_rate": _rate(loop, progress),
        "best": better,
        "seconds": round(seconds, 3),
        "validation_seconds": round(loop.hooks.clock() - begin, 3),
        "wait_share": round(waited / seconds, 4) if seconds else 0.0,
    }
    progress = Progress(
        epoch=epoch,
        plateau=after_epoch(progress.plateau, summary["validation_loss"], config.plateau),
        best=figure if better else progress.best,
        stale=0 if better else progress.stale + 1,
    )
    if better:
        _save(loop, "best", state, progress)
    # Metrics before the checkpoint: a run killed in between drops the line and does it again.
    if jax.process_index() == 0:
        append_metrics(loop.run, metrics)
    _save(loop, "last", state, progress)
    loop.hooks.epoch(metrics)
    return progress, metrics


def _validate(loop: _Loop, state: TrainState) -> Totals:
    feed, totals = loop.data.feeds["validation"], Totals()
    steps = math.ceil(len(feed) / loop.batch_size)
    with ahead(lambda n: _rows(loop, feed, validation_items, n), 0, steps) as batches:
        for batch in batches:
            totals = add(totals, loop.steps.validate(state, loop.steps.to_global(batch)))
    return totals


def _rows(loop: _Loop, feed: Feed, choose: Items, step: int) -> Batch:
    """Make the rows of a batch that are this process's own."""
    share = loop.batch_size // jax.process_count()
    own = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    items, numbers = choose(feed, step, loop.batch_size)
    return make_batch(feed, items[own], numbers[own], loop.data.classes, loop.config)


def _check_finite(loop: _Loop, metrics: StepMetrics, step: int) -> None:
    if np.isfinite(float(metrics.data_loss)):
        return
    feed = loop.data.feeds["train"]
    items, _ = training_items(feed, step, loop.batch_size)
    slices = ", ".join(map(str, batch_origins(feed, items)))
    found = f"a loss of {float(metrics.data_loss)} at step {step + 1} on slices {slices}"
    remedy = "Lower optim.learning_rate, or look at these slices with `musclejax dataset show`."
    raise InputError(loop.run, found, "a finite loss", remedy)


def _stale(config: ConfigDict, progress: Progress) -> bool:
    patience = config.train.early_stopping_patience
    return bool(config.train.early_stopping and progress.stale >= patience)


def _agreed(wish: bool) -> bool:
    """Return whether any process wishes it: a checkpoint needs all of them at once."""
    if jax.process_count() == 1:
        return wish
    return bool(np.any(process_allgather(np.asarray(wish))))


def _once(action: Callable[[], object], run: Path) -> None:
    """Let the first process do it, and the others wait; all of them stop if it fails."""
    failure: InputError | None = None
    if jax.process_index() == 0:
        try:
            action()
        except InputError as error:
            failure = error
    if _agreed(failure is not None):
        raise failure or InputError(run, "an error in the first process", "what it asks for")


def _save(loop: _Loop, kind: str, state: TrainState, progress: Progress) -> None:
    # The last step of an epoch is saved before and after its validation: two numbers.
    number = 2 * int(state.step) + (progress.totals.batches == 0)
    checkpoint.save(loop.run, kind, number, state, to_json(progress))
