"""What a person says about the results of a cohort, by scan or by slice.

It stands in `review.csv`, and in `NAME_review.csv` of single scans, as pages of results save them.
"""

import csv
import io
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from musclejax.data.corrections import RIGHT, UNUSABLE
from musclejax.errors import InputError, did_you_mean
from musclejax.files import names_ending
from musclejax.reports.run_record import read_record
from musclejax.reports.tables import FORMULA

REVIEW = "review.csv"
"""Of all scans, in the folder of results."""
SCAN_REVIEW = f"{{name}}_{REVIEW}"
"""Of one scan, beside it."""
TO_CORRECT = "to correct"
MARKS = (RIGHT, TO_CORRECT, UNUSABLE)
COLUMNS = ("scan", "slice", "mark", "comment")
_LONGEST_INDEX = 9
"""Digits of the number of a slice; Python refuses thousands."""
Review = dict[str, dict[int | None, str]]
"""Scan -> slice, or None of the whole scan -> mark."""


class Remark(NamedTuple):
    """A row of a review.

    Attributes:
        scan: NAME of the results; empty in a row without a mark only.
        slice: Index from 0, as in NAME_slices.csv; None of the whole scan.
        mark: One of `MARKS`; empty where the row only comments.
        comment: Anybody's text.
        file: Name of the file.
        row: Its number there; the titles are row 1.
    """

    scan: str
    slice: int | None
    mark: str
    comment: str
    file: str
    row: int


def read_review(folder: Path) -> Review:
    """Return the mark of each scan and slice of a folder of results; empty if it has no review.

    Raises:
        InputError: As of `read_remarks`, and if one scan or slice is marked in two ways.
    """
    return marks_of(read_remarks(folder), folder)


def read_remarks(folder: Path, scan: str | None = None) -> list[Remark]:
    """Return the rows of all reviews of a folder: of `review.csv`, then of those of single scans.

    Of these only that of one `scan` if it is given.

    Columns are scan, slice (empty: the whole scan), mark (right, to correct, unusable) and
    comment; rows without a mark only comment.

    Raises:
        InputError: If a file is no such table.
    """
    own = SCAN_REVIEW.format(name=scan or "")
    names = names_ending(folder, own) if scan is None else [own]
    paths = [folder / name for name in (REVIEW, *names)]
    return [remark for path in paths if path.is_file() for remark in _read(path)]


def marks_of(remarks: Iterable[Remark], folder: Path) -> Review:
    """Return the mark of each scan and slice.

    Raises:
        InputError: If one is marked in two ways.
    """
    first: dict[tuple[str, int | None], Remark] = {}
    for remark in remarks:
        if not remark.mark:
            continue
        before = first.setdefault((remark.scan, remark.slice), remark)
        if before.mark != remark.mark:
            raise _contradiction(before, remark, folder)
    marks: Review = {}
    for (scan, index), remark in first.items():
        marks.setdefault(scan, {})[index] = remark.mark
    return marks


def _contradiction(before: Remark, remark: Remark, folder: Path) -> InputError:
    scan, index = remark.scan, remark.slice
    place = f"slice {index} of {scan}" if index is not None else scan
    other = f" (row {before.row} of {before.file})" if before.file != remark.file else ""
    found = f"row {remark.row}, a second mark of {place}: {before.mark}{other} and {remark.mark}"
    remedy = "Remove the older row, or file." if other else "Remove one of the rows."
    return InputError(folder / remark.file, found, "one mark", remedy)


def is_reviewed(review: Review, scan: str) -> bool:
    """Return whether a person says of a whole scan that its labels are right."""
    return review.get(scan, {}).get(None) == RIGHT


def find_strays(folder: Path, review: Review, names: Collection[str]) -> list[str]:
    """Return a line for each scan of a review that a folder does not have, or slice of a scan.

    So for reviews that are not read because of their name: browsers save a second `review (1).csv`.

    Args:
        folder: Of results.
        review: As of `read_review`.
        names: Of its scans.
    """
    lines = [
        f"review: {name} is not read: rename it {REVIEW}, or {SCAN_REVIEW.format(name='NAME')}"
        for name in names_ending(folder, ".csv")
        if "review" in name and not name.endswith(REVIEW)
    ]
    for scan in sorted({*review} - {*names}):
        lines.append(f"review: no results of {scan!r}. {did_you_mean(scan, names)}".rstrip(". "))
    beyond = (_slice_beyond(folder, scan, review[scan]) for scan in sorted({*review} & {*names}))
    return [*lines, *filter(None, beyond)]


def _slice_beyond(folder: Path, scan: str, marks: Mapping[int | None, str]) -> str:
    """Return a line about a slice that a scan does not have, by its record; empty if it has all."""
    count = (read_record(folder, scan) or {}).get("slices")
    if not isinstance(count, int):
        return ""
    beyond = [z for z in marks if z is not None and z >= count]
    if not beyond:
        return ""
    first = f"{scan} has no slice {min(beyond)}, only 0 to {count - 1}"
    return f"review: {first}: is it counted from 0, as in {scan}_slices.csv?"


def _read(path: Path) -> list[Remark]:
    rows = enumerate(_rows(path), 2)
    return [remark for number, row in rows if (remark := _remark(path, number, row))]


def _remark(path: Path, number: int, row: Mapping[str, str]) -> Remark | None:
    """Return a row of a review; None if it is empty."""
    where, mark, comment = f"row {number}, ", row["mark"], row.get("comment", "")
    if not (mark or comment):
        return None
    if mark and mark not in MARKS:
        found, hint = f"{where}mark {mark[:60]!r}", did_you_mean(mark, MARKS)
        raise InputError(path, found, ", ".join(MARKS), hint)
    index = _slice(row["slice"], where, path)
    if mark and not row["scan"]:
        raise InputError(path, f"{where}no scan", "its name, as in NAME_labels.nii.gz")
    return Remark(row["scan"], index, mark, comment, path.name, number)


def _slice(text: str, where: str, path: Path) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > _LONGEST_INDEX:
        accepted = "an index from 0, as in NAME_slices.csv, or nothing for the whole scan"
        raise InputError(path, f"{where}slice {text[:60]!r}", accepted)
    return int(text)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
        separator = max(",;\t", key=text.partition("\n")[0].count)  # Excel's own in many countries
        lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        table = [[_unprotected(cell.strip()) for cell in row] for row in lines]
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


def _unprotected(cell: str) -> str:
    """Return a cell without the apostrophe that keeps spreadsheets from computing it."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell
