"""`cases.csv`: who each case is, and what it is for."""

import csv
from collections.abc import Iterator
from pathlib import Path

from musclejax import anatomy
from musclejax.errors import InputError

SPLITS = ("train", "validation", "test", "unseen")
"""Roles of a case. "unseen": slices of test subjects away from the annotated slices (paper,
Table 4); evaluated apart."""
COLUMNS = ("case", "subject", "time_point", "region", "severity", "split")
"""Columns of the optional `cases.csv`; all but `case` may be empty or missing."""
_CHOICES = {"split": SPLITS, "region": tuple(anatomy.REGIONS)}


def read_case_table(path: Path) -> dict[str, dict[str, str]]:
    """Return the row of each case, by name; cells without blanks at their ends.

    Raises:
        InputError: If it is not a table of UTF-8 text with these columns, names a case twice, or
            holds a word that means nothing.
    """
    rows: dict[str, dict[str, str]] = {}
    for row in _rows(path):
        name = row["case"]
        if name in rows:
            raise InputError(path, f"two rows of case {name}", "one row per case")
        for column, known in _CHOICES.items():
            value = row.get(column, "")
            if value not in ("", *known):
                raise InputError(path, f"{column} {value!r} of {name}", ", ".join(known))
        rows[name] = row
    return rows


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = "Save it as CSV, UTF-8."
        found = f"no readable table ({' '.join(str(error).split())[:100]})"
        raise InputError(path, found, "comma-separated text in UTF-8", remedy) from None
    columns = [cell.strip() for cell in table[0]] if table else []
    if "case" not in columns or not set(columns) <= {*COLUMNS} or len(set(columns)) < len(columns):
        remedy = "Separate columns by commas." if ";" in "".join(columns) else ""
        raise InputError(path, f"columns {', '.join(columns)}"[:200], ", ".join(COLUMNS), remedy)
    for number, cells in enumerate(table[1:], start=2):
        if len(cells) > len(columns):
            found = f"row {number} with {len(cells)} cells"
            raise InputError(path, found, f"{len(columns)}, as the first row has")
        if cells:
            filled = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
            yield dict(zip(columns, filled, strict=True))
