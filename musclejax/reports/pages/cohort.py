"""The page of a cohort: what needs a look first, its scans, muscles, plots, and how it was made."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from musclejax.anatomy import REGIONS
from musclejax.errors import InputError, printable
from musclejax.files import transient_lock
from musclejax.models.weights import BUNDLED, load_weights
from musclejax.reports import citation
from musclejax.reports.cohort_tables import list_scans, read_failures
from musclejax.reports.pages.muscle_summary import (
    FIGURE_TITLES,
    draw_levels,
    draw_plots,
    embedded,
    embedded_rows,
    muscle_table,
    read_summary,
)
from musclejax.reports.pages.overview import (
    Overview,
    ScanResult,
    counted,
    read_results,
    show_settings,
    survey,
)
from musclejax.reports.pages.render import write_page
from musclejax.reports.pages.table import Cell, Column, Look, Table, show, show_facts
from musclejax.reports.review import MARKS, Remark, Review, marks_of, read_remarks
from musclejax.scan.source import PAGES

PAGE = PAGES[0]
_LOCK = ".report.lock"
_TABLES = {
    "scans.csv": "a row per scan",
    "summary.csv": "a row per scan and muscle, left against right, change since the first visit",
    "muscles.csv": "a row per scan, muscle and side: volume, areas, estimated DSC, fat fraction",
    "slices.csv": "the same per slice, with its level",
}
_STATUS_LOOK: Mapping[str, Look] = {"failed": "bad", "corrected": "good"}
_COLUMNS = {
    "subject": Column("subject"),
    "visit": Column("visit"),
    "scan": Column("scan", "opens its page"),
    "picture": Column("picture", "opens its contact sheet"),
    "status": Column("status", "corrected: by a person, and measured again"),
    "mark": Column("mark", "what a person says of the whole scan"),
    "comment": Column("comment", "a person's"),
    "flagged": Column("flagged", "muscles with a low estimated DSC", number=True),
    "lowest": Column("low DSC", "lowest estimated DSC of the flagged muscles", number=True),
    "warnings": Column(
        "warnings", "its own, beside those of all scans; its page has them", number=True
    ),
    "region": Column("region"),
    "image_kind": Column("image", "what the network was given"),
    "slices": Column("slices", number=True),
    "seconds": Column("seconds", "time of the segmentation", number=True),
}


def write_cohort_page(folder: Path, *, wait: bool = True) -> Path | None:
    """Write report.html of a folder of results, from its records, tables and reviews.

    Args:
        folder: The results.
        wait: Wait while another process writes it; else leave it to that.

    Returns:
        The page; None if it is left to another process.

    Raises:
        InputError: If there is a file of its name that is not a page of ours.
        OSError: If the folder cannot be written.
    """
    with transient_lock(folder / _LOCK, wait=wait) as ours:
        if not ours:
            return None
        write_page(folder / PAGE, "cohort.html", **_values(folder))
    return folder / PAGE


def _values(folder: Path) -> dict[str, Any]:
    """Return what the template shows; the rows of scans are read as they are written."""
    keys = list_scans(folder, read_failures(folder))
    remarks, review, problems = _read_review(folder)
    overview = survey(read_results(folder, keys, review))
    summary = read_summary(folder)
    if summary is None and overview.regions:
        problems.append("summary.csv is gone, or another table: no plots, and no rows of muscles")
    shown, comments = _shown_columns(overview), _comments(remarks)
    common = {*overview.shared_warnings}
    results = (result.without(common) for result in read_results(folder, keys, review))
    rows = _rows(folder, results, comments, shown)
    caption = "Scans, one per row"
    return {
        "title": f"Muscles of {printable(folder.resolve().name)}",
        "overview": overview,
        "facts": _facts(overview),
        "problems": problems,
        "needs": [
            (need, _links(folder, need.name), comments.get(need.name, ""))
            for need in overview.first_needs
        ],
        "scans": Table("scans", caption, tuple(_COLUMNS[name] for name in shown), rows),
        "marks": MARKS,
        "keys": map(embedded, overview.checksums),
        "remarks": (embedded(remark[:5]) for remark in remarks),
        "made": _how_made(overview),
        "citation": citation,
        "tables": [(name, text) for name, text in _TABLES.items() if (folder / name).is_file()],
        **_muscles(folder, overview, summary),
    }


def _muscles(folder: Path, overview: Overview, summary: pd.DataFrame | None) -> dict[str, Any]:
    """Return what the template shows of muscles."""
    known = None if summary is None or summary.empty else summary
    return {
        "muscles": None if known is None else muscle_table(known),
        "example": "" if known is None else _example(known),
        "figures": FIGURE_TITLES,
        "summary_rows": () if known is None else embedded_rows(known),
        "plots": (plots := [] if known is None else draw_plots(known)),
        "boxed": any(box.quantiles for plot in plots for row in plot.rows for box in row.boxes),
        "levels": draw_levels(folder, overview.with_fat),
    }


def _example(known: pd.DataFrame) -> str:
    """Return the first group of a summary, or muscle if it has none."""
    return printable(known.sort_values("kind", kind="stable")["muscle"].iloc[0])


def _read_review(folder: Path) -> tuple[list[Remark], Review, list[str]]:
    """Return the rows of all reviews, their marks, and a line if they cannot be used."""
    try:
        remarks = read_remarks(folder)
        return remarks, marks_of(remarks, folder), []
    except InputError as error:
        return [], {}, [f"the marks are not shown: {error}"]


def _shown_columns(overview: Overview) -> list[str]:
    """Return the columns of the table of scans, without those that say nothing, or one thing."""
    unused = set() if overview.named else {"subject"}
    unused |= set() if overview.visits else {"visit"}
    unused |= {"region"} if len(overview.regions) == 1 else set()
    unused |= {"image_kind"} if len(overview.kinds) == 1 else set()
    return [name for name in _COLUMNS if name not in unused]


def _comments(remarks: Iterable[Remark]) -> dict[str, str]:
    """Return what a person says of each whole scan beside its mark."""
    found: dict[str, dict[str, None]] = {}
    for remark in remarks:
        if remark.slice is None and remark.comment:
            found.setdefault(remark.scan, {})[remark.comment] = None
    return {scan: "; ".join(texts) for scan, texts in found.items()}


def _rows(
    folder: Path, results: Iterable[ScanResult], comments: Mapping[str, str], shown: Sequence[str]
) -> Iterator[list[str | Cell]]:
    """Yield the cells of each scan."""
    for result in results:
        cells = _cells(folder, result) | {"comment": comments.get(result.key.name, "")}
        yield [cells[name] for name in shown]


def _cells(folder: Path, result: ScanResult) -> dict[str, str | Cell]:
    """Return the cells of a scan by column, but for its comment."""
    row, (page, picture) = result.row, _links(folder, result.key.name)
    status, flags = str(row["status"]), str(row["flagged"])
    return {
        **{name: printable(show(row[name])) for name in ("subject", "visit", "region")},
        **{name: show(row[name]) for name in ("image_kind", "slices")},
        "scan": Cell(printable(result.key.name), page),
        "picture": Cell("picture", picture) if picture else "",
        "flagged": Cell(flags, look="warn") if result.flagged else flags,
        "lowest": f"{min(result.flagged.values()):.2f}" if result.flagged else "",
        "warnings": str(len(result.warnings) or "") if result.record else "",
        "status": Cell(status, look=_STATUS_LOOK.get(status, "")),
        "mark": result.mark,
        "seconds": f"{row['seconds']:.1f}" if isinstance(row["seconds"], float) else "",
    }


def _links(folder: Path, name: str) -> tuple[str, str]:
    """Return the addresses of a scan's page and of its picture; empty if they are not there."""
    return _address(folder / f"{name}_{PAGE}"), _address(folder / f"{name}_qc.png")


def _address(path: Path) -> str:
    return quote(os.fsencode(path.name)) if path.is_file() else ""


def _facts(overview: Overview) -> list[tuple[str, str]]:
    """Return the numbers of a cohort that are not 0, but for those of reviews."""
    facts = {
        "Scans": overview.scans,
        "Subjects": overview.subjects,
        "Visits": overview.visits,
        "Subjects with several visits": overview.returning,
        **{REGIONS[name].title: n for name, n in overview.regions.items() if name in REGIONS},
        "With flagged muscles": overview.flagged,
        "Corrected": overview.statuses["corrected"],
        "Failed": overview.statuses["failed"],
    }
    return show_facts(facts)


def _how_made(overview: Overview) -> list[tuple[str, str]]:
    """Return how the results were made, as names and texts."""
    facts = {
        "Weights": counted({" ".join(filter(None, key)): n for key, n in overview.weights.items()}),
        **{
            f"Weights {name}": text
            for name, checksum in overview.weights
            if (text := _about_weights(name, checksum))
        },
        "Version of musclejax": counted(overview.versions),
        "Engine": counted(overview.engines),
        "Settings": show_settings(overview),
        "Images": counted(overview.kinds),
        "Finished (UTC)": " to ".join(
            dict.fromkeys(t[:16].replace("T", " ") for t in overview.finished if t)
        ),
    }
    return show_facts(facts)


@cache
def _about_weights(name: str, checksum: str) -> str:
    """Return training, license and networks of bundled weights; empty of any others."""
    if not name or Path(name).name != name or not (BUNDLED / name).is_dir():
        return ""
    try:
        weights = load_weights(name)
    except InputError:
        return ""
    if weights.hash != checksum:
        return ""
    return f"{weights.summary}. License: {weights.license}. {weights.description}."
