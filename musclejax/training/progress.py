"""Progress of a run between two steps, and the figures of an epoch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from optax.contrib import ReduceLROnPlateauState as Plateau

from musclejax.anatomy import TASKS
from musclejax.training.metrics import Counts, hard_dice
from musclejax.training.step import StepMetrics


class Totals(NamedTuple):
    """Sums over the batches of an epoch so far."""

    data_loss: float = 0.0
    penalty: float = 0.0
    soft_dsc: float = 0.0
    batches: int = 0
    rows: int = 0
    counts: tuple[list[int], list[int], list[int]] = ([], [], [])


class Progress(NamedTuple):
    """Progress of a run between two steps; goes into every checkpoint.

    Attributes:
        plateau: State of the plateau rule.
        epoch: Epochs finished.
        totals: Sums of the epoch that is under way.
        best: Best validation figure so far, None before the first.
        stale: Epochs since.
        seconds: Seconds of the epoch that is under way, and of them spent waiting for data.
    """

    plateau: Plateau
    epoch: int = 0
    totals: Totals = Totals()
    best: float | None = None
    stale: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)


def summarize(split: str, totals: Totals, config: ConfigDict) -> dict[str, float]:
    """Return the figures of one pass over a split.

    loss: of an average batch, L2 included, as Keras reports it. soft_dsc: with background, mean
    over batches (2021 code). dsc: hard, over all pixels of the pass, mean over the muscles that its
    references show: a network is not blamed for muscles that a dataset never labels.
    """
    per_batch = totals.data_loss / max(1, totals.rows) * config.train.batch_size
    penalty = totals.penalty / max(1, totals.batches)
    figures = {f"{split}_loss": per_batch + penalty}
    counts = Counts(*(np.asarray(c) for c in totals.counts))
    if TASKS[config.task].is_classifier:
        accuracy = float(counts.both.sum()) / max(1, int(counts.reference.sum()))
        return {**figures, f"{split}_accuracy": accuracy}
    dice = np.where(counts.reference > 0, hard_dice(counts), np.nan)
    muscles = TASKS[config.task].muscles
    mean = float(np.nanmean(dice[1:])) if np.isfinite(dice[1:]).any() else 0.0
    named = {f"{split}_dsc_{m.abbreviation}": _rounded(dice[m.number]) for m in muscles}
    soft = totals.soft_dsc / max(1, totals.batches)
    return {**figures, f"{split}_soft_dsc": soft, f"{split}_dsc": mean, **named}


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def add(totals: Totals, metrics: StepMetrics) -> Totals:
    """Return the sums with one more batch."""
    old = [np.asarray(c, np.int64) if c else np.int64(0) for c in totals.counts]
    new = [(o + np.asarray(c, np.int64)).tolist() for o, c in zip(old, metrics.counts, strict=True)]
    return Totals(
        totals.data_loss + float(metrics.data_loss),
        totals.penalty + float(metrics.penalty),
        totals.soft_dsc + float(metrics.soft_dsc),
        totals.batches + 1,
        totals.rows + int(metrics.rows),
        (new[0], new[1], new[2]),
    )


def to_json(progress: Progress) -> dict[str, Any]:
    """Return the progress as a checkpoint keeps it."""
    nested = {"totals": progress.totals._asdict(), "plateau": progress.plateau._asdict()}
    return {**progress._asdict(), **nested}


def from_json(value: Mapping[str, Any]) -> Progress:
    """Undo `to_json`."""
    totals, plateau = Totals(**value["totals"]), Plateau(**value["plateau"])
    both, predicted, reference = totals.counts
    return Progress(
        **{
            **value,
            "totals": totals._replace(counts=(both, predicted, reference)),
            "plateau": plateau,
            "seconds": tuple(value["seconds"]),
        }
    )
