"""`musclejax bench`: how fast, on this machine, and against whom."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from musclejax.bench.job import Grid, Job
    from musclejax.bench.session import Record

DEFAULT_BATCH = {"infer": "4", "train": "5", "segment": "4", "data": "5"}
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
    from musclejax.cli.process import check_output, usage

    with usage():
        jobs, skipped = _jobs(kind, options)
    check_output(output)
    for line in skipped:
        click.echo(line)
    record = _measure(kind, jobs, repeats)
    if not record.samples:
        raise click.ClickException("nothing could be measured; the reasons stand above.")
    table = _write(kind, record, output, plot)
    _print(table)


def _jobs(kind: str, options: dict[str, Any]) -> tuple[list["Job"], list[str]]:
    """Return what to measure, and a line for each engine that is absent."""
    from musclejax.bench.job import ENGINES, missing_package, plan

    named, skipped = _engines(kind, options["engine"]), []
    present = []
    for name in named:
        package = missing_package(name)
        if package:
            extra = "test" if name == "imgaug" else "bench"
            skipped.append(
                f"{name}: not installed, skipped (pip install 'musclejax[{extra}]'; "
                f"no module {package})"
            )
        else:
            present.append(name)
    grid = _grid(kind, present, options)
    jobs = plan(kind, grid)
    for name in present:
        if not any(j.engine == name for j in jobs):
            has = " and ".join(ENGINES[name].precisions[kind])
            skipped.append(f"{name}: computes in {has} only, left out")
    if not jobs:
        why = "; ".join(skipped)
        raise InputError("--engine", f"nothing that can run here ({why})", "jax, which always can")
    return jobs, skipped


def _engines(kind: str, text: str | None) -> list[str]:
    from musclejax.bench.job import engines_of

    known = engines_of(kind)
    if text is None and kind == "segment":
        return ["jax"]
    if text in (None, "all"):
        return known
    return _values("--engine", text or "", _one_of("--engine", known))


def _grid(kind: str, engines: list[str], options: dict[str, Any]) -> "Grid":
    from musclejax.bench.job import CASE_SLICES, PRECISIONS, Grid
    from musclejax.cli.process import available_threads
    from musclejax.models.variants import VARIANTS, find

    most = available_threads()
    variants = _values("--variant", options["variant"], _one_of("--variant", list(VARIANTS)))
    sizes = [_number("--size", text, 4096) for text in options["size"].split("x")]
    if not 1 <= len(sizes) <= 2:
        raise InputError("--size", repr(options["size"]), "a number of pixels, or two as 432x240")
    for variant in variants:
        multiple = find(variant).size_multiple
        if any(px % multiple for px in sizes):
            raise InputError("--size", options["size"], f"multiples of {multiple} for {variant}")
    if kind == "segment" and options["size"] != "432":
        raise InputError("--size", options["size"], "432, the model grid, with segment")
    if options["slices"] and kind in ("train", "data"):
        raise InputError("--slices", options["slices"], f"none with {kind}", "Give --batch-size.")
    slices = options["slices"] or (str(CASE_SLICES) if kind == "segment" else "")
    return Grid(
        variants=variants,
        engines=engines,
        precisions=_values(
            "--precision", options["precision"], _one_of("--precision", list(PRECISIONS))
        ),
        batch_sizes=_numbers("--batch-size", options["batch_size"] or DEFAULT_BATCH[kind], 10_000),
        threads=_numbers(
            "--threads", options["threads"] or str(most), most, ", as this machine has"
        ),
        slices=_numbers("--slices", slices, 100_000) if slices else (),
        height=sizes[0],
        width=sizes[-1],
    )


def _values(option: str, text: str, check: Callable[[str], Any]) -> list[Any]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InputError(option, "an empty list", "values with commas between")
    return list(dict.fromkeys(check(word) for word in words))


def _numbers(option: str, text: str, most: int, note: str = "") -> list[int]:
    return _values(option, text, lambda word: _number(option, word, most, note))


def _number(option: str, text: str, most: int, note: str = "") -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise InputError(option, repr(text), f"1 to {most}{note}")
    return int(text)


def _one_of(option: str, known: list[str]) -> Callable[[str], str]:
    import difflib

    def check(word: str) -> str:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else ""
            raise InputError(option, repr(word), ", ".join(known), hint)
        return word

    return check


def _measure(kind: str, jobs: list["Job"], repeats: int) -> "Record":
    from musclejax.bench.command import measure_command
    from musclejax.bench.session import Hooks, measure
    from musclejax.cli.process import progress_bar

    with progress_bar() as progress:
        bar = progress.add_task("starting", total=len(jobs) * (repeats + 1))

        def advance(what: str) -> None:
            progress.update(bar, description=what, advance=1)

        def say(line: str) -> None:
            progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

        hooks = Hooks(advance, say)
        return (measure_command if kind == "segment" else measure)(jobs, repeats, hooks)


def _write(kind: str, record: "Record", output: Path, plot: bool) -> "pd.DataFrame":
    from musclejax.bench import table as tables
    from musclejax.cli.process import machine
    from musclejax.files import write_text

    command = " ".join(["musclejax", *sys.argv[1:]])
    table = tables.rows(record, machine(), command)
    for name, rows in ((f"bench_{kind}", table), (f"bench_{kind}_repeats", tables.repeats(record))):
        text = rows.to_csv(index=False, float_format="%.5g", lineterminator="\n")
        write_text(output / f"{name}.csv", text)
    if plot:
        from musclejax.bench.plot import draw

        draw(table, output / f"bench_{kind}.png")
    return table


def _print(table: "pd.DataFrame") -> None:
    """Print medians and ratios, options that took several values in front."""
    from rich.console import Console
    from rich.table import Table

    options = ("variant", "batch_size", "threads", "slices", "precision")
    keys = ["engine", *(o for o in options if table[o].nunique() > 1)]
    shown = [c for c in SHOWN if c in table and table[c].notna().any()]
    printed = Table(*keys)
    for column in shown:
        printed.add_column(SHOWN[column], justify="right")
    for _, row in table.iterrows():
        printed.add_row(*(str(row[k]) for k in keys), *(_cell(c, row[c]) for c in shown))
    Console().print(printed)


def _cell(column: str, value: float) -> str:
    if value != value:
        return ""
    if column == "share_of_peak":
        return f"{value:.0%}"
    return f"{value:.0f}" if column in ("peak_memory_mib", "gflops") else f"{value:.3g}"
