"""Output of a command: lines, warnings, details, progress bars, as much as -q and -v allow."""

import io
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from musclejax.errors import printable
from musclejax.loops import Advance

if TYPE_CHECKING:
    from rich.progress import Progress

Result = TypeVar("Result")
QUIET, NORMAL, VERBOSE = -1, 0, 1
_level = NORMAL
_open: list["Progress"] = []
"""Bars on the terminal; lines are printed above them."""


def set_verbosity(level: int) -> None:
    """Set the level of output: `QUIET`, `NORMAL` or `VERBOSE`."""
    global _level
    _level = level


def ready_streams() -> None:
    """Open standard streams that are closed, and let them take every name.

    The next file that is opened would have the number of a closed one, and get what native code
    prints. Characters that a console lacks are printed as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print a line of normal output; nothing with -q."""
    if _level >= NORMAL:
        _print(line)


def detail(line: str) -> None:
    """Print a line that only -v shows."""
    if _level >= VERBOSE:
        _print(line)


def warn(line: str) -> None:
    """Print a line on standard error, whatever the level; see `errors.printable`."""
    _print(printable(line), error=True)


def _print(line: str, *, error: bool = False) -> None:
    try:
        if _open and not error:
            _open[-1].console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            click.echo(line, err=error)
    except OSError:  # the reader of a pipe has gone, or the disk of a log is full
        _silence(2 if error else 1)


def _silence(number: int) -> None:
    """Let a standard stream end nowhere: the work continues, and Python can flush it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


@contextmanager
def progress() -> Iterator["Progress"]:
    """Yield bars with the time left, which show themselves on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeLeft(),
    )
    hidden = not console.is_terminal or _level < NORMAL
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        if not hidden:
            _open.append(bars)
        try:
            yield bars
        finally:
            if not hidden:
                _open.remove(bars)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show that something of unknown length is at work, on a terminal only."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or _level < NORMAL:
        yield
        return
    with console.status(title):
        yield


class Bar:
    """One bar among those of `progress`."""

    def __init__(
        self, bars: "Progress", title: str, total: int | None = None, *, visible: bool = True
    ) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=total, visible=visible)

    def show(self, event: Any) -> None:
        """Show the progress of a loop, if the event has it."""
        if isinstance(event, Advance):
            self._bars.update(self._task, completed=event.done, total=event.total)

    def follow(self, steps: Generator[Any, None, Result]) -> Result:
        """Run a loop to its end behind this bar; return what it returns."""
        while True:
            try:
                self.show(next(steps))
            except StopIteration as end:
                return end.value

    def close(self) -> None:
        """Remove the bar."""
        self._bars.remove_task(self._task)


def follow(steps: Generator[Any, None, Result], title: str) -> Result:
    """Run a loop to its end behind a bar of its own; return what it returns."""
    with progress() as bars:
        return Bar(bars, title).follow(steps)


def width(fallback: int = 200) -> int | None:
    """Return the width for tables: the terminal's own (None), or `fallback` in a pipe or file."""
    return None if sys.stdout.isatty() else fallback


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table that was requested; -q does not suppress it."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        shown.add_row(*row)
    Console(width=width(), markup=False, highlight=False).print(shown)
