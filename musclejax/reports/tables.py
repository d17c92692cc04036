"""Tables as files that spreadsheets and pages show as text, whatever the names in them."""

import html
import re
from pathlib import Path

import pandas as pd

from musclejax.errors import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is computed by spreadsheets. Source: OWASP, CSV injection."""
_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))")


def write_table(table: pd.DataFrame, path: Path, float_format: str | None = "%.4f") -> None:
    """Write a table as comma-separated values, UTF-8.

    Texts that a spreadsheet would compute begin with an apostrophe, which it does not show.
    """
    path.write_bytes(csv_text(table, float_format).encode())


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """Return a table as comma-separated values; see `write_table`."""
    columns = {
        name: column if pd.api.types.is_numeric_dtype(column.dtype) else column.map(plain)
        for name, column in table.items()
    }
    shown = pd.DataFrame(columns, index=table.index)
    return shown.rename(columns=plain).to_csv(
        index=False, float_format=float_format, lineterminator="\n"
    )


def plain(cell: object) -> object:
    """Return a cell that a spreadsheet shows as it is: see `write_table`."""
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, without links, tables or HTML."""
    return _MARKUP.sub(r"\\\1", html.escape(printable(text), quote=False))
