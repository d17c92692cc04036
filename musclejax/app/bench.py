"""Measure the jobs that the options mean, write their tables, print them."""

from collections.abc import Generator
from pathlib import Path

import click
import pandas as pd
from rich.console import Console
from rich.table import Table as PrintedTable

from musclejax.app.console import Bar, detail, progress, say, warn, width
from musclejax.app.options import BenchJob
from musclejax.app.process import check_output, command_line, usage
from musclejax.bench import table as tables
from musclejax.bench.options import BenchOptions
from musclejax.bench.plan import jobs_of
from musclejax.bench.record import Event, Failed, GroupBegins, Prepared, Record, RoundDone, Sampled
from musclejax.bench.runner import measure_steps
from musclejax.bench.whole_command import measure_command_steps
from musclejax.files import write_text
from musclejax.loops import Advance
from musclejax.reports.benchmark import save_page, save_picture
from musclejax.reports.pages.benchmark import to_table
from musclejax.reports.pages.document import PAGE
from musclejax.reports.pages.render import check_page
from musclejax.reports.tables import csv_text
from musclejax.system import machine

WIDE = 300
"""Columns of a line that no screen cuts: the whole table goes into a pipe or a file."""


def run(job: BenchJob, options: BenchOptions) -> None:
    """Measure; write the tables, the page, and the picture if wanted.

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
    measure = measure_command_steps if options.kind == "segment" else measure_steps
    total = len(jobs) * (options.repeats + 1)
    failed: list[str] = []
    steps = measure(jobs, options.repeats)
    record = _follow(steps, total, options.kind, job.output, failed)
    if not record.samples:
        raise click.ClickException("nothing could be measured; the reasons stand above.")
    table = _write(record, options.kind, job.output)
    if job.plot:
        save_picture(table, job.output)
    page = save_page(table, job.output, [*failed, *skipped])
    say(_text(table))
    say(f"\nResults are in {job.output}/ : open {page.name} first")


def _follow(
    steps: Generator[Event, None, Record], total: int, kind: str, output: Path, failed: list[str]
) -> Record:
    """Show the progress of measuring; write the tables after each round; add what `failed`."""
    done = 0
    with progress() as bars:
        bar = Bar(bars, "measuring", total)
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                return end.value
            if isinstance(event, Prepared | Sampled):
                done += 1
                bar.show(Advance(done, max(done, total)))
            elif isinstance(event, RoundDone) and event.record.samples:
                _write(event.record, kind, output)
            elif isinstance(event, Failed):
                failed.append(f"failed: {event.job.label}: {event.reason}; left out")
            _report(event)


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
        case RoundDone(number):
            detail(f"round {number} is done")


def _write(record: Record, kind: str, output: Path) -> pd.DataFrame:
    """Write the tables of what is measured so far; a reader never meets half of one."""
    table = tables.rows(record, machine(), command_line())
    for name, rows in ((f"bench_{kind}", table), (f"bench_{kind}_repeats", tables.repeats(record))):
        text = csv_text(rows, "%.5g")
        write_text(output / f"{name}.csv", text)
    return table


def _text(table: pd.DataFrame) -> str:
    """Return medians and ratios as they are printed."""
    shown = to_table("measured", table)
    printed = PrintedTable()
    for column in shown.columns:
        printed.add_column(column.title, justify="right" if column.number else "left")
    for row in shown.rows:
        printed.add_row(*map(str, row))
    console = Console(width=width(WIDE))
    with console.capture() as captured:
        console.print(printed)
    return captured.get().rstrip()
