"""`musclejax tune`: search learning rate, dropout and L2 by hyperband."""

import click

from musclejax.app.process import configure
from musclejax.app.recipe_options import TuneOptions
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(options=TuneOptions)
def tune(options: TuneOptions) -> None:
    """Search learning rate, dropout and L2 by hyperband.

    Many trials are trained for a few epochs; the best third resumes from its checkpoints for
    three times as many, and so forth up to tune.max_epochs. The best trial on the validation cases
    (tune.metric) wins. With the paper's 20 epochs: 17 trials, 154 epochs in all.

    \b
    In RUN:
      report.html    best trials, picture, all trials and the recipe; open this first
      trials.jsonl   log: one line per trial and rung, written as it finishes
      trials/NNN/    checkpoints of trial NNN
      trials.csv     the log as a table
      tune.png       metric by epochs, and the trials in the search space
      best.py        recipe of the best trial, ready for `musclejax train`
      best.json      the same with result, versions and machine

    A search that was stopped resumes when the same command is repeated: finished trials are
    taken from the log, others from their checkpoints. A trial that fails is reported and not tried
    again; the search continues.
    Exit code: 0 done, 1 no trial succeeded, 2 wrong usage, 130 stopped by Ctrl-C.

    \b
    Examples:
      musclejax tune --data thighs/ --workdir search
      musclejax tune --data thighs/ --workdir quick --set tune.max_epochs=9 --set seed=1
      musclejax train --config search/best.py --data thighs/ --workdir run

    \b
    On a cluster (pip install 'musclejax[cluster]'), here one of two workers on this machine;
    workers elsewhere must see the same folders under the same names:
      dask scheduler --port 8786 &
      dask worker tcp://127.0.0.1:8786 --nworkers 2 --nthreads 1 &
      musclejax tune --data thighs/ --workdir search --scheduler tcp://127.0.0.1:8786
    """
    configure(options.threads, trains=True)  # before jax is imported
    from musclejax.app.tune import run

    raise SystemExit(run(options))
