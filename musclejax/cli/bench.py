"""`musclejax bench`: how fast, on this machine, and against whom."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

    from musclejax.bench.job import Job
    from musclejax.bench.session import Record

SHOWN = {
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
"""Columns of a line that nobody's screen cuts: in a pipe or a file the whole table is told."""


@click.command()
@click.argument("kind", type=click.Choice(["infer", "train", "segment", "data"]))
@click.option("--variant", default="paper", show_default=True, metavar="V,...", help="Networks.")
@click.option(
    "--batch-size",
    metavar="N,...",
    help="Slices in a batch.  [default: train and data 5, others 4]",
)
@click.option("--threads", metavar="N,...", help="Processors.  [default: all]")
@click.option(
    "--engine",
    metavar="E,...",
    help="jax (ours), onnxruntime, openvino, flax (plain layers), torch, keras, or all.  "
    "[default: all; segment: jax]",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    metavar="P,...",
    help="float32, bfloat16, for the engines that have it.",
)
@click.option(
    "--slices",
    metavar="N,...",
    help="Slices that one repeat takes: growth.  [default: one batch; segment 31]",
)
@click.option(
    "--size", default="432", show_default=True, metavar="PX", help="Pixels, as 432 or 432x240."
)
@click.option("--repeats", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--plot", is_flag=True, help="Draw bench_KIND.png too.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the results."
)
def bench(kind: str, output: Path, repeats: int, plot: bool, **options: Any) -> None:
    """Measure speed and memory on this machine.

    \b
    KIND:
      infer     labelling slices: the network alone, in batches of a fixed shape
      train     training steps: forward, backward, AMSGrad, L2
      segment   the whole command on the sample scan, a process each run, from the second run on
      data      augmentation, weight maps, batches, loading a case

    Every configuration runs in a process of its own, bound to its processors; all take turns in
    shuffled order, so that a slow minute of the machine hits all of them. Ratios are taken round
    by round. When memory is short they run in groups, jax in each. Rivals and engines come with
    pip install 'musclejax[bench]'; those that are absent are skipped.

    \b
    In the output folder:
      bench_KIND.csv           a row per configuration: slices/s, medians and quartiles, compile
                               time, peak memory, GFLOP/s and its share of the best matrix product,
                               ratio to jax, processor, versions
      bench_KIND_repeats.csv   every repeat
      bench_KIND.png           with --plot

    \b
    Examples:
      musclejax bench infer --engine jax -o out
      musclejax bench infer --variant compact8,paper --batch-size 1,4 --threads 1,2 --plot -o out
      musclejax bench train --batch-size 5 --engine all -o out
      musclejax bench segment --variant compact8 --slices 1,31,100 --repeats 3 -o out
    """
    from musclejax.cli.bench_plan import jobs_of
    from musclejax.cli.process import check_output, usage

    with usage():
        jobs, skipped = jobs_of(kind, options)
    check_output(output)
    for line in skipped:
        click.echo(line)
    record = _measure(kind, jobs, repeats, lambda record: _write(kind, record, output))
    if not record.samples:
        raise click.ClickException("nothing could be measured; the reasons stand above.")
    table = _write(kind, record, output)
    if plot:
        from musclejax.bench.plot import draw

        draw(table, output / f"bench_{kind}.png")
    _print(table)


def _measure(
    kind: str, jobs: list["Job"], repeats: int, keep: Callable[["Record"], object]
) -> "Record":
    from musclejax.bench.command import measure_command
    from musclejax.bench.session import Hooks, measure
    from musclejax.cli.process import progress_bar

    with progress_bar() as progress:
        bar = progress.add_task("starting", total=len(jobs) * (repeats + 1))

        def advance(what: str) -> None:
            progress.update(bar, description=what, advance=1)

        def say(line: str) -> None:
            progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

        def note(line: str) -> None:
            if progress.disable:
                click.echo(line, err=True)

        hooks = Hooks(advance, say, note, keep)
        return (measure_command if kind == "segment" else measure)(jobs, repeats, hooks)


def _write(kind: str, record: "Record", output: Path) -> "pd.DataFrame":
    """Write the tables of what is measured so far; a reader never meets half of one."""
    from musclejax.bench import table as tables
    from musclejax.cli.process import machine
    from musclejax.files import write_text

    command = " ".join(["musclejax", *sys.argv[1:]])
    table = tables.rows(record, machine(), command)
    for name, rows in ((f"bench_{kind}", table), (f"bench_{kind}_repeats", tables.repeats(record))):
        text = rows.to_csv(index=False, float_format="%.5g", lineterminator="\n")
        write_text(output / f"{name}.csv", text)
    return table


def _print(table: "pd.DataFrame") -> None:
    """Print medians and ratios, options that took several values in front."""
    from rich.console import Console
    from rich.table import Table

    options = ["variant", "precision", "threads", "batch_size"]
    if (table["slices"] != table["batch_size"]).any():
        options.append("slices")
    keys = ["engine", *(o for o in options if table[o].nunique() > 1)]
    shown = [c for c in SHOWN if c in table and table[c].notna().any()]
    printed = Table(*keys)
    for column in shown:
        printed.add_column(SHOWN[column], justify="right")
    for _, row in table.iterrows():
        printed.add_row(*(str(row[k]) for k in keys), *(_cell(c, row[c]) for c in shown))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(printed)


def _cell(column: str, value: float) -> str:
    if value != value:
        return ""
    if column == "share_of_peak":
        return f"{value:.0%}"
    return f"{value:.0f}" if column in ("peak_memory_mib", "gflops") else f"{value:.3g}"
