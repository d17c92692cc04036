"""The scans that run records name, wherever they lie by now."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musclejax.app.names import is_of
from musclejax.app.work import Scan
from musclejax.errors import InputError
from musclejax.scan.catalog import list_series
from musclejax.scan.recorded import find_recorded
from musclejax.scan.series import Series
from musclejax.scan.source import recorded_path
from musclejax.scan.volume import scan_name


class RecordedScans:
    """The scans of records: where they were, or in a folder to which they have moved.

    Args:
        moved_to: That folder; None if they are where they were.
    """

    def __init__(self, moved_to: Path | None) -> None:
        self._moved_to = moved_to
        self._found: Sequence[Series] | None = None

    def find(self, name: str, record: Mapping[str, Any]) -> Scan:
        """Return the scan of a record.

        Raises:
            InputError: If it is gone.
        """
        if place := find_recorded(record, name):
            path, series = place
            return Scan(path, name, series)
        path = recorded_path(record, name)
        if self._moved_to is None:
            remedy = "If it has moved, give it or its folder: --scan."
            raise InputError(path, "no such scan", f"the scan of {name}", remedy)
        if self._found is None:
            self._found = list_series(self._moved_to).series
        exact = (one for one in self._found if is_of(record, one.path, one))
        alike = (one for one in self._found if scan_name(one.path) in (name, scan_name(path)))
        if found := next(exact, None) or next(alike, None):
            return Scan(found.path, name, found)
        raise InputError(self._moved_to, f"no scan {path.name}", f"the scan of {name}")
