"""Tables of pages: what they hold, and how their cells read."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import pandas as pd

from musclejax.errors import printable

Look = Literal["", "bad", "warn", "good", "quiet"]
"""How a cell looks; its text says the same in words."""


class Cell(NamedTuple):
    """A cell that is more than its text.

    Attributes:
        text: What it says.
        href: Where it leads.
        look: See `Look`.
        note: What stands behind the text, smaller.
    """

    text: str
    href: str = ""
    look: Look = ""
    note: str = ""


class Column(NamedTuple):
    """A column.

    Attributes:
        title: What stands above it.
        help: What it means, shown under the pointer.
        number: Whether it is sorted, and aligned, as numbers.
    """

    title: str
    help: str = ""
    number: bool = False


class Table(NamedTuple):
    """A table that sorts, filters and exports.

    Attributes:
        name: Its id in the page, and the name of the exported file.
        caption: What it shows.
        columns: As they stand.
        rows: A cell per column; may be a generator, which is read once.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Iterable[Iterable[str | Cell]]


def from_frame(
    name: str,
    caption: str,
    frame: pd.DataFrame,
    *,
    titles: Mapping[str, str] | None = None,
    digits: int = 3,
) -> Table:
    """Return a table of a data frame's columns; numbers are rounded.

    Args:
        name: See `Table`.
        caption: See `Table`.
        frame: One row per row; its index is left out.
        titles: Column of the frame -> title; a column without one keeps its name.
        digits: Significant ones of numbers that are no whole numbers.
    """
    titles = titles or {}
    columns = tuple(
        Column(titles.get(name, name), number=pd.api.types.is_numeric_dtype(frame[name]))
        for name in map(str, frame.columns)
    )
    rows = ([show(value, digits) for value in row] for row in frame.itertuples(index=False))
    return Table(name, caption, columns, rows)


def show(value: Any, digits: int = 3, decimals: int = 99) -> str:
    """Return a value as people read it: rounded, and nothing where there is none.

    Args:
        value: Anything.
        digits: Significant ones of a number that is not a whole number.
        decimals: Of such a number at most.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, float) or math.isinf(value):
        return printable(str(value))
    needed = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(needed, decimals)}f}"


def show_facts(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return names and their texts; a name whose value is empty, 0 or None is left out."""
    return [(name, printable(str(value))) for name, value in facts.items() if value]
