"""List the series of a study: the program of `musclejax scan` and of `segment --list`."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from musclejax.app import console
from musclejax.app.options import ScanOptions
from musclejax.app.process import writing
from musclejax.app.study import Study, find_study
from musclejax.errors import count_of, printable
from musclejax.files import write_text
from musclejax.reports.tables import csv_text
from musclejax.scan.selection import Choice
from musclejax.scan.series import Series

_COLUMNS = ("subject", "visit", "no.", "series", "kind", "TE ms", "grid", "chosen")
_ROWS_SHOWN = 500
"""Rows of a table on the terminal. Source: ours; nobody reads more, and each takes 0.3 ms."""


def show_study(paths: Sequence[Path], options: ScanOptions, choice: Choice | None = None) -> int:
    """Print the series that paths mean, and mark those that `segment` takes.

    Returns:
        The exit code: 1 if something could not be read.
    """
    study = find_study(paths, choice or Choice())
    rows = [_row(series, series in study.notes) for series in _all(study)]
    if options.csv:
        with writing(options.csv.parent):
            write_text(options.csv, csv_text(pd.DataFrame(rows)))
    if options.json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _print(study, rows)
    return 1 if study.missing else 0


def _all(study: Study) -> list[Series]:
    def order(series: Series) -> tuple[Any, ...]:
        number = float("inf") if series.number is None else series.number
        return series.subject, series.visit, number, series.echo_ms or 0, str(series.path)

    return sorted((*study.taken, *study.left_out), key=order)


def _row(series: Series, chosen: bool) -> dict[str, Any]:
    return {
        "subject": series.subject,
        "visit": series.visit,
        "number": series.number,
        "description": printable(series.description),
        "kind": series.kind,
        "echo_ms": series.echo_ms,
        "shape": " x ".join(map(str, series.shape)),
        "spacing_mm": " x ".join(f"{size:.4g}" for size in series.spacing_mm),
        "chosen": chosen,
        "problem": series.problem,
        "path": printable(str(series.path)),
        "volume": None if series.index is None else series.index + 1,
        "files": len(series.files) or None,
        "first_file": series.files[0].name if series.files else "",
    }


def _print(study: Study, rows: Sequence[dict[str, Any]]) -> None:
    console.table(_COLUMNS, [_cells(row) for row in rows[:_ROWS_SHOWN]])
    if len(rows) > _ROWS_SHOWN:
        more = len(rows) - _ROWS_SHOWN
        console.say(f"and {more} more series: --csv FILE or --json has all")
    subjects = {row["subject"] for row in rows}
    visits = {(row["subject"], row["visit"]) for row in rows}
    kinds = Counter(series.kind for series in study.taken)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    console.say(
        f"{count_of(len(subjects), 'subject')}, {count_of(len(visits), 'visit')}, "
        f"{len(rows)} series; `musclejax segment` takes {len(study.taken)} ({listed})"
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    grid = f"{row['shape']}, {row['spacing_mm']} mm" if row["shape"] else "not known"
    volume = f" [{row['volume']}]" if row["volume"] else ""
    return (
        row["subject"],
        row["visit"],
        "" if row["number"] is None else str(row["number"]),
        row["description"] + volume,
        row["kind"],
        "" if row["echo_ms"] is None else f"{row['echo_ms']:g}",
        row["problem"] or grid,
        "yes" if row["chosen"] else "",
    )
