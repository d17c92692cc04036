"""`musclejax bench`: how fast, on this machine, and against which rivals."""

import click

from musclejax.app.options import BenchJob
from musclejax.bench.options import BenchOptions
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(job=BenchJob, options=BenchOptions)
def bench(job: BenchJob, options: BenchOptions) -> None:
    """Measure speed and memory on this machine.

    \b
    KIND:
      infer     the network alone, in batches of a fixed shape
      train     training steps: forward, backward, AMSGrad, L2
      segment   the whole command on the sample scan, a process per run, from the second run on
      data      augmentation, weight maps, batches, loading a case, synthetic slices

    Every configuration runs in a process of its own, bound to its processors; all take turns in
    shuffled order, so that a slow minute of the machine hits all of them. Ratios are taken round
    by round. When memory is short they run in groups, jax in each. Rivals and engines come with
    pip install 'musclejax[bench]'; those that are absent are skipped.

    \b
    In the output folder:
      report.html              tables and pictures of all KINDs measured there; open this first
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
    from musclejax.app.bench import run

    run(job, options)
