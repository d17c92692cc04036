"""Measure the jobs that the options mean, write their tables, print them."""

import sys
from collections.abc import Generator
from pathlib import Path

import click
import pandas as pd
from rich.console import Console
from rich.table import Table

from musclejax.app.console import Bar, detail, progress, say, warn, width
from musclejax.app.options import BenchJob
from musclejax.app.process import check_output, usage
from musclejax.bench import table as tables
from musclejax.bench.options import BenchOptions
from musclejax.bench.plan import jobs_of
from musclejax.bench.record import Event, Failed, GroupBegins, Prepared, Record, RoundDone, Sampled
from musclejax.bench.runner import measure_steps
from musclejax.bench.whole_command import measure_command_steps
from musclejax.files import write_text
from musclejax.loops import Advance
from musclejax.reports.benchmark import draw
from musclejax.reports.tables import csv_text
from musclejax.system import machine

HEADINGS = {
    "slices_per_s": "slices/s",
    "seconds_median": "s",
    "seconds_iqr": "IQR",
    "compile_s": "compile s",
    "peak_memory_mib": "MiB",
    "gflops": "GFLOP/s",
    "share_of_peak": "of peak",
    "ratio_to_jax": "vs jax",
}
"""Column -> its heading in the printed table."""
WIDE = 300
"""Columns of a line that no screen cuts: the whole table goes into a pipe or a file."""


def run(job: BenchJob, options: BenchOptions) -> None:
    """Measure and write `bench_KIND.csv`, `bench_KIND_repeats.csv` and, if wanted, the picture.

    Raises:
        BadUsage: If an option is unusable.
        ClickException: If nothing could be measured.
    """
    with usage():
        jobs, skipped = jobs_of(options)
    check_output(job.output)
    for line in skipped:
        say(line)
    measure = measure_command_steps if options.kind == "segment" else measure_steps
    total = len(jobs) * (options.repeats + 1)
    record = _follow(measure(jobs, options.repeats), total, options.kind, job.output)
    if not record.samples:
        raise click.ClickException("nothing could be measured; the reasons stand above.")
    table = _write(record, options.kind, job.output)
    if job.plot:
        draw(table, job.output / f"bench_{options.kind}.png")
    say(_text(table))


def _follow(steps: Generator[Event, None, Record], total: int, kind: str, output: Path) -> Record:
    """Show the progress of measuring; write the tables after each round."""
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
    command = " ".join(["musclejax", *sys.argv[1:]])
    table = tables.rows(record, machine(), command)
    for name, rows in ((f"bench_{kind}", table), (f"bench_{kind}_repeats", tables.repeats(record))):
        text = csv_text(rows, "%.5g")
        write_text(output / f"{name}.csv", text)
    return table


def _text(table: pd.DataFrame) -> str:
    """Return medians and ratios as a table, options that took several values in front."""
    options = ["variant", "precision", "threads", "batch_size"]
    if (table["slices"] != table["batch_size"]).any():
        options.append("slices")
    keys = ["engine", *(o for o in options if table[o].nunique() > 1)]
    shown = [c for c in HEADINGS if c in table and table[c].notna().any()]
    printed = Table(*keys)
    for column in shown:
        printed.add_column(HEADINGS[column], justify="right")
    for _, row in table.iterrows():
        printed.add_row(*(str(row[k]) for k in keys), *(_cell(c, row[c]) for c in shown))
    console = Console(width=width(WIDE))
    with console.capture() as captured:
        console.print(printed)
    return captured.get().rstrip()


def _cell(column: str, value: float) -> str:
    if value != value:
        return ""
    if column == "share_of_peak":
        return f"{value:.0%}"
    return f"{value:.0f}" if column in ("peak_memory_mib", "gflops") else f"{value:.3g}"
