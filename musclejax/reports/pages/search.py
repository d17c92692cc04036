"""The page of a search for settings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from musclejax.reports.pages.document import (
    Document,
    Facts,
    Picture,
    Section,
    failures,
    how_made,
)
from musclejax.reports.pages.table import from_frame
from musclejax.tuning.log import LOG, Entry

_FILES = (
    ("trials.csv", "a row per trial and rung"),
    ("best.py", "recipe of the best trial"),
    ("best.json", "the same with result, versions and machine"),
    (LOG, "log: one line per trial and rung"),
)
_HOW_READ = (
    "Lines end where trials were not promoted to more epochs. The best result wins, whenever it "
    "was reached."
)


def to_document(
    entries: Sequence[Entry],
    best: Sequence[Entry],
    table: pd.DataFrame,
    picture: Picture,
    recipe: str,
    record: Mapping[str, Any],
) -> Document:
    """Return the page of a search.

    Args:
        entries: Finished tasks.
        best: The best of them, one per trial, the best first.
        table: A row per entry.
        picture: Of the trials.
        recipe: Of the best trial.
        record: Versions and machine.
    """
    first = best[0]
    failed = {f"trial {entry.trial}": entry.failed for entry in entries if entry.failed}
    decisive = ["trial", "bracket", "rung", "epochs", *first.settings, first.metric]
    ordered = table[[*decisive, *table.columns.drop(decisive)]]
    ends = ordered.iloc[[entries.index(entry) for entry in best]]
    return Document(
        "Search for settings",
        f"{len({entry.trial for entry in entries})} trials of hyperband. The highest "
        f"{first.metric} on the validation cases wins.",
        _result(first),
        failures(failed),
        [
            Section("Best trials", table=from_frame("best", "A row per trial", ends[decisive])),
            Section("Picture of the trials", _HOW_READ, picture=picture),
            Section("All trials", table=from_frame("trials", "A row per trial and rung", ordered)),
            Section("Recipe of the best trial", code=recipe),
            how_made(record),
            Section("Files for other programs", files=_FILES),
        ],
    )


def _result(best: Entry) -> Facts:
    settings = [(name, f"{value:.4g}") for name, value in best.settings.items()]
    result = [(best.metric, f"{best.value:.4f}"), ("epochs", str(best.budget))]
    return [("best trial", str(best.trial)), *result, *settings]
