"""`musclejax report`: the pages of a folder of results."""

import os
from collections.abc import Sequence
from pathlib import Path

from musclejax.app import console
from musclejax.app.cohort import say_page
from musclejax.app.options import ReportOptions
from musclejax.app.stop import STOPPED
from musclejax.app.work import Scan, lock_file
from musclejax.errors import InputError, count_of, describe_error, printable
from musclejax.files import transient_lock
from musclejax.loops import Advance
from musclejax.reports.cohort_tables import read_failures, write_cohort_tables
from musclejax.reports.pages.cohort import write_cohort_page
from musclejax.reports.pages.render import is_ours
from musclejax.reports.pages.scan import PAGE, write_scan_page
from musclejax.reports.review import SCAN_REVIEW
from musclejax.reports.run_record import RECORD, recorded_names


def run(options: ReportOptions) -> int:
    """Write the pages of a folder.

    Returns:
        The exit code: 0 if all are written, 1 if some failed, 130 if stopped by Ctrl-C.

    Raises:
        InputError: If it is not a folder of results, cannot be written, or its page is not ours.
        OSError: If the disk is full or fails.
    """
    folder = options.folder
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of results")
    names, failures = recorded_names(folder), read_failures(folder)
    if not names and not failures:
        remedy = "Run `musclejax segment` first."
        raise InputError(folder, "no results of segment", "its folder of results", remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "Copy it, and make the report of the copy."
        raise InputError(folder, "a folder that cannot be written", "one that can", remedy)
    try:
        due = [name for name in names if options.scans and _is_due(folder, name)]
        failed = _write_scan_pages(folder, due)
        write_cohort_tables(folder, failures.values())
        say_page(write_cohort_page(folder))
    except KeyboardInterrupt:
        console.warn("stopped; pages that are written stay: repeat the command")
        return STOPPED
    return 1 if failed else 0


def _is_due(folder: Path, name: str) -> bool:
    """Return whether the page of a scan is missing, not ours, or older than record or review."""
    forms = (PAGE, RECORD, SCAN_REVIEW)
    page, *sources = (folder / form.format(name=name) for form in forms)
    if not page.is_file() or not is_ours(page):
        return True  # one that is not ours stays, and a line says so
    newest = max(path.stat().st_mtime_ns for path in sources if path.is_file())
    return page.stat().st_mtime_ns < newest


def _write_scan_pages(folder: Path, names: Sequence[str]) -> int:
    """Write the pages of scans, each behind the bar; return the number of failures."""
    failed = 0
    with console.progress() as bars:
        bar = console.Bar(bars, "pages of scans", len(names))
        for number, name in enumerate(names, 1):
            try:
                _write_scan_page(folder, name)
            except Exception as error:
                # One scan's surprise must not cost the others.
                failed += 1
                console.warn(f"failed: {name}: {describe_error(error)}")
            bar.show(Advance(number, len(names)))
    if failed:
        console.warn(f"{failed} of {len(names)} pages of scans failed")
    elif names:
        console.say(f"{count_of(len(names), 'page')} of scans written")
    return failed


def _write_scan_page(folder: Path, name: str) -> None:
    with transient_lock(lock_file(folder, Scan(folder, name)), wait=False) as ours:
        if ours:
            write_scan_page(folder, name)
        else:
            console.say(printable(f"{name}: another process is at work on it; its page stays"))
