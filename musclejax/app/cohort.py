"""The tables of a cohort, rewritten while its scans finish."""

import time
from collections.abc import Callable
from pathlib import Path

from musclejax.app import console
from musclejax.errors import listed, printable
from musclejax.reports.cohort_tables import Failure, write_cohort_tables
from musclejax.scan.source import COHORT_TABLES

_SHARE = 0.1
"""Of the time that writing the tables may take until the last scan is done."""


class CohortTables:
    """Writes the tables of a cohort when they are due.

    Args:
        folder: Where the results of its scans are.
        keep_failed: Keep the rows of scans that failed in an earlier command and have no results.
        clock: Returns seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_failed: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._folder, self._keep_failed, self._clock = folder, keep_failed, clock
        self._failures: list[Failure] = []
        self._due = clock()

    def add(self, failure: Failure | None = None) -> None:
        """Count a scan that is done or has failed; write the tables if they are due."""
        if failure:
            self._failures.append(failure)
        if self._clock() >= self._due:
            self._write(wait=False)

    def close(self) -> None:
        """Write the tables of all scans; say which files stay as they are."""
        edited = []
        for path in self._write(wait=True):
            if path.name not in COHORT_TABLES:
                edited.append(path.name)
                continue
            remedy = "rename or remove it, and repeat the command"
            console.warn(f"warning: {path} was edited, or is not ours; it stays: {remedy}")
        if edited:
            text = "edited since, and taken as they are, without rows that cannot be read"
            remedy = "`musclejax measure` of their label maps writes them again"
            console.warn(printable(f"warning: tables {text}: {listed(edited, 3)}; {remedy}"))

    def _write(self, *, wait: bool) -> list[Path]:
        before = self._clock()
        try:
            return write_cohort_tables(
                self._folder, self._failures, keep_failed=self._keep_failed, wait=wait
            )
        except OSError as error:
            console.warn(f"warning: the tables of the cohort are not written ({error.strerror})")
            return []
        finally:
            now = self._clock()
            self._due = now + (now - before) * (1 - _SHARE) / _SHARE
