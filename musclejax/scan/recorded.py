"""The scan of a run record, where it lay when it was segmented."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musclejax.scan.catalog import list_series
from musclejax.scan.series import Series
from musclejax.scan.source import is_at, recorded_path


def find_recorded(record: Mapping[str, Any], name: str) -> tuple[Path, Series | None] | None:
    """Return path and series of the scan of a record; None if it is not there.

    Args:
        record: A run record.
        name: NAME of its results.

    Returns:
        The series is None of a file or folder with one scan only.
    """
    path = recorded_path(record, name)
    if not path.exists():
        return None
    if is_at(record, path):
        return path, None
    series = (one for one in list_series(path).series if is_at(record, one.path, one))
    found = next(series, None)
    return None if found is None else (path, found)
