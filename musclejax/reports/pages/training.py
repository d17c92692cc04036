"""The page of a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from musclejax.errors import printable
from musclejax.reports.pages.document import Document, Facts, Picture, Section, how_made
from musclejax.reports.pages.table import from_frame, show

_FILES = (
    ("metrics.jsonl", "figures of every epoch"),
    ("run.json", "settings, versions, and the scans of each split"),
)
_DECISIVE = ("loss", "dsc", "soft_dsc", "accuracy")


def to_document(
    title: str, history: Sequence[Mapping[str, Any]], record: Mapping[str, Any], picture: Picture
) -> Document:
    """Return the page of a run, of what is done so far.

    Args:
        title: Task and variant.
        history: Metrics of the epochs.
        record: What `run.json` holds.
        picture: The curves.
    """
    epochs = pd.DataFrame(history).drop(columns="best").dropna(axis=1, how="all")
    warnings = record.get("warnings") or []
    return Document(
        "Training run",
        printable(", from ".join(filter(None, (title, record.get("start"))))),
        _result(history, record),
        [printable(str(line)) for line in warnings],
        [
            Section("Curves", picture=picture),
            Section("Epochs", table=from_frame("epochs", "A row per epoch", epochs)),
            how_made(record, data=", ".join(record.get("folders", []))),
            Section("Files for other programs", files=_FILES),
        ],
    )


def _result(history: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> Facts:
    """Return the epochs that are done, and the figures of the best one."""
    total = record.get("config", {}).get("train", {}).get("epochs", "")
    done = [("epochs", f"{history[-1]['epoch']} of {total}".removesuffix(" of "))]
    best = [metrics for metrics in history if metrics["best"]][-1:]
    figures = [
        (f"validation {name.replace('dsc', 'DSC').replace('_', ' ')}", show(metrics[full]))
        for metrics in best
        for name in _DECISIVE
        if metrics.get(full := f"validation_{name}") is not None
    ]
    return [*done, *[("best epoch", str(metrics["epoch"])) for metrics in best], *figures]
