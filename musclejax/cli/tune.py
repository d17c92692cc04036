"""`musclejax tune`: search learning rate, dropout and L2 by hyperband."""

from pathlib import Path

import click

from musclejax.cli.options import recipe_options

_PATH = click.Path(path_type=Path)


@click.command()
@recipe_options("tune")
@click.option("--workdir", type=_PATH, required=True, metavar="RUN", help="Folder of the search.")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Train on the workers of this Dask cluster: its address, or its scheduler file (.json).  "
    "[default: here, one trial at a time]",
)
@click.option("--threads", type=int, help="Processors to use, without --scheduler.  [default: all]")
def tune(data: tuple[Path, ...], workdir: Path, **options: object) -> None:
    """Search learning rate, dropout and L2 by hyperband.

    Many trials are trained for a few epochs; the best third goes on from its checkpoints for
    three times as many, and so forth up to tune.max_epochs. What is best on the validation
    cases (tune.metric) wins. With the paper's 20 epochs: 17 trials, 154 epochs in all.

    \b
    In RUN:
      trials.jsonl   log: one line for each trial and rung, written as it finishes
      trials/NNN/    checkpoints of trial NNN
      trials.csv     the log as a table
      tune.png       metric by epochs, and the trials in the search space
      best.py        recipe of the best trial, ready for `musclejax train`
      best.json      the same with result, versions and machine

    A search that was stopped goes on when the same command is repeated: finished trials are
    taken from the log, others from their checkpoints. A trial that fails is reported, and the
    rest go on; it is not tried again.
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
    from musclejax.cli.search import Settings, run

    raise SystemExit(run(Settings(data, workdir, **options)))  # type: ignore[arg-type]
