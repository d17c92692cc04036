"""`review.csv`: what a person says about the results of a cohort, by scan or by slice."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from musclejax.data.corrections import RIGHT, UNUSABLE
from musclejax.errors import InputError, did_you_mean

REVIEW = "review.csv"
"""Its name in the folder of results."""
MARKS = (RIGHT, "to correct", UNUSABLE)
COLUMNS = ("scan", "slice", "mark", "comment")
Review = dict[str, dict[int | None, str]]
"""Scan -> slice, or None of the whole scan -> mark."""


def read_review(folder: Path) -> Review:
    """Return the mark of each scan and slice of a folder of results; empty if it has no review.

    Its columns are scan, slice (empty: the whole scan), mark (right, to correct, unusable) and
    comment; rows without a mark only comment.

    Raises:
        InputError: If it is no such table, or marks one scan or slice in two ways.
    """
    marks: Review = {}
    path = folder / REVIEW
    if not path.is_file():
        return marks
    for number, row in enumerate(_rows(path), 2):
        if not row["mark"]:
            continue
        where = f"row {number}, "
        index = _slice(row["slice"], where, path)
        if not row["scan"]:
            raise InputError(path, f"{where}no scan", "its name, as in NAME_labels.nii.gz")
        if row["mark"] not in MARKS:
            found, hint = f"{where}mark {row['mark'][:60]!r}", did_you_mean(row["mark"], MARKS)
            raise InputError(path, found, ", ".join(MARKS), hint)
        own = marks.setdefault(row["scan"], {})
        if own.setdefault(index, row["mark"]) != row["mark"]:
            place = f"slice {index} of {row['scan']}" if index is not None else row["scan"]
            found = f"{where}a second mark of {place}: {own[index]} and {row['mark']}"
            raise InputError(path, found, "one mark", "Remove one of the rows.")
    return marks


def is_reviewed(review: Review, scan: str) -> bool:
    """Return whether a person says of a whole scan that its labels are right."""
    return review.get(scan, {}).get(None) == RIGHT


def find_strays(review: Review, slices: Mapping[str, object]) -> list[str]:
    """Return a line for each scan of a review that a folder does not have, or slice of a scan.

    Args:
        review: As of `read_review`.
        slices: Scan -> number of its slices, if its record tells.
    """
    lines = [f"{REVIEW}: no results of {scan!r}" for scan in sorted(review.keys() - slices.keys())]
    for scan in sorted(review.keys() & slices.keys()):
        count = slices[scan]
        if not isinstance(count, int):
            continue
        if beyond := [z for z in review[scan] if z is not None and z >= count]:
            first = f"{scan} has no slice {min(beyond)}, only 0 to {count - 1}"
            lines.append(f"{REVIEW}: {first}: is it counted from 0, as in {scan}_slices.csv?")
    return lines


def _slice(text: str, where: str, path: Path) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        accepted = "an index from 0, as in NAME_slices.csv, or nothing for the whole scan"
        raise InputError(path, f"{where}slice {text[:60]!r}", accepted)
    return int(text)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
        separator = max(",;\t", key=text.partition("\n")[0].count)  # Excel's own in many countries
        lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        table = [[c.strip() for c in row] for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"no readable table ({' '.join(str(error).split())[:100]})"
        remedy = "Save it as CSV, UTF-8."
        raise InputError(path, found, "comma-separated text in UTF-8", remedy) from None
    titles = [title.casefold() for title in table[0]] if table else []
    if sorted(titles) not in (sorted(COLUMNS), sorted(COLUMNS[:-1])):
        found = f"columns {', '.join(titles)}"[:200]
        raise InputError(path, found, ", ".join(COLUMNS))
    for number, row in enumerate(table[1:], 2):
        if len(row) > len(titles):
            found = f"row {number} with {len(row)} cells"
            remedy = f"Put a comment with {separator!r} in quotes."
            raise InputError(path, found, f"{len(titles)}", remedy)
    filled = ([*row, *[""] * (len(titles) - len(row))] for row in table[1:])
    return [dict(zip(titles, row, strict=True)) for row in filled]
