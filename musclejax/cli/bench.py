"""`musclejax bench`: how fast, on this machine, and against which rivals."""

from dataclasses import replace
from inspect import cleandoc

import click

from musclejax.app.options import BenchComparison, BenchJob
from musclejax.bench.options import BenchOptions, Kind
from musclejax.cli.options import Group, record_options


@click.group(cls=Group)
def bench() -> None:
    """Measure speed and memory on this machine, or compare two measurements.

    Every configuration runs in a process of its own, bound to its processors; all take turns in
    shuffled order, so that a slow minute of the machine hits all of them. Ratios are taken round
    by round. When memory is short they run in groups, jax in each. What other programs do meanwhile
    is recorded: a repeat is disturbed if they keep 0.15 processors busy, and is repeated.
    Rivals and engines come with pip install 'musclejax[bench]'; those that are absent are skipped.

    \b
    In the output folder:
      report.html              tables and pictures of all that is measured there; open this first
      bench_KIND.csv           a row per configuration: slices/s, median and quartiles, latencies of
                               50, 90, 95 and 99 % of the calls, processor seconds, what else ran,
                               peak memory, energy where it can be read, GFLOP/s and their share of
                               the fastest arithmetic seen, ratio to jax, labels equal to float32
      bench_KIND_repeats.csv   every repeat
      bench_KIND.json          all of it, and the machine, in a versioned form with a schema
      bench_KIND.png           with --plot

    \b
    Scenarios of MLPerf: `infer --batch-size 1` and `segment` are single stream: read latency_p90.
    Larger batches and `cohort` are offline: read slices_per_s or scans_per_hour.

    \b
    Examples:
      musclejax bench segment -o out
      musclejax bench infer --engine all --batch-size 1,4 --threads 1,2 --plot -o out
      musclejax bench train --engine onednn,torch --precision float32,bfloat16 --minutes 20 -o out
      musclejax bench compare before/bench_infer.json after/bench_infer.json -o compared
    """


_LEFT_OUT: dict[Kind, tuple[str, ...]] = {
    "infer": ("scans", "weights"),
    "train": ("slices", "scans", "reference", "weights"),
    "segment": ("size", "scans"),
    "cohort": ("size",),
    "data": ("variant", "precision", "slices", "scans", "size", "reference", "weights"),
}
"""Kind -> options that it does not have."""
_HELP: dict[Kind, str] = {
    "infer": """Measure the network alone, in batches of a fixed shape.

    It gets the windows and gives the output that it does in `musclejax segment`: labels, confidence
    and probabilities. With --variant slim32, the weights that ship are taken, and the labels of the
    sample scan compared with those of jax in float32; other variants have random weights.

    \b
    Engines: jax (musclejax itself), onednn, openvino and torch, keras also in bfloat16;
    onnxruntime, flax (plain layers) in float32.

    \b
    Examples:
      musclejax bench infer --engine jax -o out
      musclejax bench infer --variant slim32 --precision float32,bfloat16 -o out
      musclejax bench infer --variant compact8,paper --batch-size 1,4 --threads 1,2 --plot -o out
    """,
    "train": """Measure training steps: forward, backward, AMSGrad, L2.

    \b
    Engines: onednn, torch, keras also in bfloat16; jax (musclejax with XLA alone), flax (plain
    layers) in float32.

    \b
    Examples:
      musclejax bench train --batch-size 5 --engine all -o out
      musclejax bench train --engine onednn,torch --precision float32,bfloat16 -o out
    """,
    "segment": """Measure `musclejax segment` on a scan: a process per run, from the second run on.

    As users run it: a scan of 31 slices, the weights that ship, with classifier, tables, picture
    and page; other variants have random weights and a given region. The engine "default" is what
    the command takes by itself; the column "used" names it.

    \b
    Engines: default; jax, onednn, openvino, all three also in bfloat16.

    \b
    Examples:
      musclejax bench segment -o out
      musclejax bench segment --engine default,jax --slices 1,31,100 --repeats 3 -o out
      musclejax bench segment --variant paper,compact8 -o out
      musclejax bench segment --weights run/weights --engine onednn --precision bfloat16 -o out
    """,
    "cohort": """Measure `musclejax segment` on a folder of scans: scans per hour.

    One process, from the second run on; thighs and lower legs in turn. For several processes and
    machines see docs/scaling.md.

    \b
    Engines: default; jax, onednn, openvino, all three also in bfloat16.

    \b
    Examples:
      musclejax bench cohort -o out
      musclejax bench cohort --scans 4,20 --minutes 30 -o out
    """,
    "data": """Measure what training needs besides steps: augmentation, weight maps, batches.

    Loading a case and synthetic slices too.

    \b
    Engines: jax; imgaug (augmentation), scipy (weight maps), one thread each.

    \b
    Examples:
      musclejax bench data -o out
      musclejax bench data --engine jax,scipy --repeats 3 -o out
    """,
}


def _add(kind: Kind) -> None:
    left_out = (f"options.{name}" for name in ("kind", *_LEFT_OUT[kind]))

    @bench.command(kind, help=cleandoc(_HELP[kind]))
    @record_options(*left_out, job=BenchJob, options=BenchOptions)
    def measure(job: BenchJob, options: BenchOptions) -> None:
        from musclejax.app.bench import run

        run(job, replace(options, kind=kind))


for _kind in _HELP:
    _add(_kind)


@bench.command("compare")
@record_options(options=BenchComparison)
def compare(options: BenchComparison) -> None:
    """Compare two results, such as before and after a change, or of two machines.

    A and B are bench_KIND.json files. Of each job that both have, the ratio of throughputs is
    printed: more than 1 if B is faster. Its 95 % interval is by bootstrap over the rounds; one that
    leaves 1 out is called a difference. Processor seconds, memory and labels stand beside it.
    Differences of machine, versions and commit are named, for ratios are of all that together.

    With -o: report.html and compare.png. Exit code: 0 compared, 2 no results or no job in common.

    \b
    Examples:
      musclejax bench compare before/bench_infer.json after/bench_infer.json
      musclejax bench compare xeon/bench_segment.json epyc/bench_segment.json -o compared
    """
    from musclejax.app.bench_compare import run

    run(options)
