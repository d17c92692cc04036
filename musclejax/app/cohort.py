"""The tables and the page of a cohort, rewritten while its scans finish."""

import time
from collections.abc import Callable
from pathlib import Path

from musclejax.app import console
from musclejax.errors import InputError, listed, printable
from musclejax.reports.cohort_tables import Failure, write_cohort_tables
from musclejax.reports.pages.cohort import write_cohort_page
from musclejax.scan.source import COHORT_TABLES

_SHARE = 0.1
"""Of the time that writing them may take until the last scan is done."""


class CohortTables:
    """Writes the tables of a cohort, and its page, when they are due.

    Args:
        folder: Where the results of its scans are.
        page: Write report.html too.
        keep_failed: Keep the rows of scans that failed in an earlier command and have no results.
        clock: Returns seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        page: bool = True,
        keep_failed: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._folder, self._page, self._keep_failed, self._clock = folder, page, keep_failed, clock
        self._failures: list[Failure] = []
        self._due = clock()

    def add(self, failure: Failure | None = None) -> None:
        """Count a scan that is done or has failed; write the tables if they are due."""
        if failure:
            self._failures.append(failure)
        if self._clock() >= self._due:
            self._write(wait=False)

    def close(self) -> Path | None:
        """Write the tables of all scans and the page; say which files stay as they are.

        Returns:
            The page, if it is wanted and could be written.
        """
        edited = []
        foreign, page = self._write(wait=True)
        for path in foreign:
            if path.name not in COHORT_TABLES:
                edited.append(path.name)
                continue
            remedy = "rename or remove it, and repeat the command"
            console.warn(f"warning: {path} was edited, or is not ours; it stays: {remedy}")
        if edited:
            text = "edited since, and taken as they are, without rows that cannot be read"
            remedy = "`musclejax measure` of their label maps writes them again"
            console.warn(printable(f"warning: tables {text}: {listed(edited, 3)}; {remedy}"))
        return page

    def _write(self, *, wait: bool) -> tuple[list[Path], Path | None]:
        """Return the tables that stay as they are, and the page if it was written."""
        before = self._clock()
        foreign: list[Path] = []
        try:
            foreign = write_cohort_tables(
                self._folder, self._failures, keep_failed=self._keep_failed, wait=wait
            )
            return foreign, write_cohort_page(self._folder, wait=wait) if self._page else None
        except InputError as error:
            if wait:  # once
                console.warn(f"warning: {error}")
        except OSError as error:
            what = "tables and page" if self._page else "tables"
            console.warn(f"warning: the {what} of the cohort are not written ({error.strerror})")
        finally:
            now = self._clock()
            self._due = now + (now - before) * (1 - _SHARE) / _SHARE
        return foreign, None


def say_page(page: Path | None) -> None:
    """Print where the page of a cohort is, if it was written."""
    if page:
        console.say(printable(f"report: {page}: open it in a browser"))
