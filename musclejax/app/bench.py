"""Measure the jobs that the options mean, write their tables, print them."""

import json
from collections.abc import Generator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.console import Console
from rich.table import Table as PrintedTable

from musclejax.app.console import Bar, detail, progress, say, warn, width
from musclejax.app.options import BenchJob
from musclejax.app.process import check_output, command_line, usage
from musclejax.bench import table as tables
from musclejax.bench.environment import environment
from musclejax.bench.options import COMMANDS, BenchOptions
from musclejax.bench.plan import jobs_of
from musclejax.bench.record import Event, Failed, GroupBegins, Prepared, Record, RoundDone, Sampled
from musclejax.bench.result import to_result
from musclejax.bench.rounds import Budget
from musclejax.bench.runner import measure_steps
from musclejax.bench.whole_command import measure_command_steps
from musclejax.files import write_text
from musclejax.loops import Advance
from musclejax.reports.benchmark import save_page, save_picture
from musclejax.reports.pages.benchmark import to_table
from musclejax.reports.pages.document import PAGE
from musclejax.reports.pages.render import check_page
from musclejax.reports.pages.table import Cell, Table
from musclejax.reports.tables import csv_text

WIDE = 300
"""Columns of a line that no screen cuts: the whole table goes into a pipe or a file."""


def run(job: BenchJob, options: BenchOptions) -> None:
    """Measure; write the tables, the JSON, the page, and the picture if wanted.

    Raises:
        BadUsage: If an option is unusable.
        ClickException: If nothing could be measured.
    """
    with usage():
        jobs, skipped = jobs_of(options)
    check_output(job.output)
    with usage():
        check_page(job.output / PAGE)
    for line in skipped:
        say(line)
    budget = Budget(options.repeats, 60 * options.minutes if options.minutes else None)
    with usage():
        if options.kind in COMMANDS:
            steps = measure_command_steps(jobs, budget, options.reference, options.weights)
        else:
            steps = measure_steps(jobs, budget, options.reference)
        measurement = Measurement(options, job.output, environment(), len(jobs))
        record, failed = measurement.follow(steps)
    if not record.samples:
        raise click.ClickException("nothing could be measured; the reasons stand above.")
    warnings = [*failed, *skipped, *tables.remarks(record)]
    table = measurement.write(record, warnings)
    if job.plot:
        save_picture(table, job.output)
    page = save_page(table, job.output, warnings)
    say(_text(table))
    for line in tables.remarks(record):
        warn(f"warning: {line}")
    say(f"\nResults are in {job.output}/ : open {page.name} first")


class Measurement:
    """A measurement in progress: shows it, and writes its tables after each round.

    Args:
        options: What is measured.
        output: Where the tables go.
        here: The machine, as `environment` gave it before anything ran.
        jobs: How many configurations.
    """

    def __init__(
        self, options: BenchOptions, output: Path, here: dict[str, Any], jobs: int
    ) -> None:
        self._options, self._output, self._here = options, output, here
        self._total, self._started = jobs * (options.repeats + 1), _now()

    def follow(self, steps: Generator[Event, None, Record]) -> tuple[Record, list[str]]:
        """Show the progress of measuring; return what was measured, and what failed."""
        done = 0
        failed: list[str] = []
        with progress() as bars:
            bar = Bar(bars, "measuring", self._total)
            while True:
                try:
                    event = next(steps)
                except StopIteration as end:
                    return end.value, failed
                if isinstance(event, Prepared | Sampled):
                    done += 1
                    bar.show(Advance(done, max(done, self._total)))
                elif isinstance(event, RoundDone) and event.record.samples:
                    self.write(event.record, failed)
                elif isinstance(event, Failed):
                    failed.append(f"failed: {event.job.label}: {event.reason}; left out")
                _report(event)

    def write(self, record: Record, warnings: list[str]) -> pd.DataFrame:
        """Write the files of what is measured so far; a reader never meets half of one."""
        kind = self._options.kind
        table = tables.rows(record, self._here, command_line())
        for end, rows in (("", table), ("_repeats", tables.repeats(record))):
            write_text(self._output / f"bench_{kind}{end}.csv", csv_text(rows, "%.5g"))
        about = {
            "kind": kind,
            "command": command_line(),
            "options": {name: _plain(value) for name, value in asdict(self._options).items()},
            "started": self._started,
            "finished": _now(),
        }
        result = to_result(record, self._here, about, warnings)
        write_text(self._output / f"bench_{kind}.json", json.dumps(result, indent=1) + "\n")
        return table


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _report(event: Event) -> None:
    """Print a line about an event that has one."""
    match event:
        case GroupBegins(number, count, jobs):
            if number == 1 and count > 1:
                say(f"memory does not suffice for all at once: {count} groups, one after another")
            detail(f"group {number} of {count}: " + "; ".join(j.label for j in jobs))
        case Prepared(job, seconds):
            detail(f"{job.label}: ready after {seconds:.1f} s")
        case Failed(job, reason):
            warn(f"failed: {job.label}: {reason}; left out")
        case Sampled(sample) if sample.disturbed:
            detail(f"{sample.job.label}: disturbed in round {sample.round}")
        case RoundDone(number):
            detail(f"round {number} is done")


def _text(table: pd.DataFrame) -> str:
    """Return medians and ratios as they are printed."""
    return text_of(to_table("measured", table))


def text_of(shown: Table) -> str:
    """Return a table of a page as it is printed."""
    printed = PrintedTable()
    for column in shown.columns:
        printed.add_column(column.title, justify="right" if column.number else "left")
    for row in shown.rows:
        printed.add_row(*(cell.text if isinstance(cell, Cell) else cell for cell in row))
    console = Console(width=width(WIDE))
    with console.capture() as captured:
        console.print(printed)
    return captured.get().rstrip()
