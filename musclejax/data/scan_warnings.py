"""What reading scans had to decide, for those who use many of them."""

from collections.abc import Iterable

from musclejax.errors import listed
from musclejax.scan.volume import Volume

_MOST_LINES = 5
"""Warnings of scans in a terminal or a report."""


def scan_warnings(volume: Volume) -> tuple[str, ...]:
    """Return what reading and leveling the intensities of a scan had to decide, each once."""
    return tuple(dict.fromkeys((*volume.warnings, *volume.lps.warnings)))


def warning_lines(warnings: Iterable[tuple[str, str]], all_in: str) -> list[str]:
    """Return a line per warning with the cases that it is about; a few lines in all.

    Args:
        warnings: Name of a case, and a warning of its scan.
        all_in: Where a reader finds all of them.
    """
    cases: dict[str, list[str]] = {}
    for name, text in warnings:
        cases.setdefault(text, []).append(name)
    lines = [f"{listed(names)}: {text}" for text, names in cases.items()]
    more = len(lines) - _MOST_LINES
    rest = [f"and {more} more warnings of scans; all: {all_in}"] if more > 0 else []
    return lines[:_MOST_LINES] + rest
