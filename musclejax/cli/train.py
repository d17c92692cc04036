"""`musclejax train`: the paper's recipe on one's own data."""

from pathlib import Path
from typing import Any

import click

from musclejax.cli.options import recipe_options, threads_option

_PATH = click.Path(path_type=Path)


@click.command()
@recipe_options()
@click.option("--workdir", type=_PATH, required=True, help="Folder of the run.")
@click.option("--init", metavar="NAME_OR_DIR", help="Weights to fine-tune, instead of random ones.")
@click.option("--resume", is_flag=True, help="Go on with the run in --workdir.")
@click.option(
    "--early-stopping",
    is_flag=True,
    help="Stop after train.early_stopping_patience epochs without a better validation DSC.",
)
@threads_option
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    help="Train on several processes: address of process 0, the same for all.",
)
@click.option("--processes", type=click.IntRange(min=1), help="How many, with --coordinator.")
@click.option("--process", type=click.IntRange(min=0), help="Which one this is, from 0.")
def train(**options: Any) -> None:
    """Train one network: the thigh, the leg, or the thigh-or-leg classifier.

    Only annotated slices train. Subjects are held out for validation before anything is augmented
    (`split` of the recipe; a split column in cases.csv goes before). The paper's recipe takes days
    with its full-width network: start with --config tiny or --set variant=compact8.

    \b
    In --workdir:
      metrics.jsonl    figures of every epoch, one JSON object a line
      curves.png       loss and accuracy (the paper's Fig. 7)
      tensorboard/     the same figures as events
      checkpoints/     the best (by validation DSC) and the last state
      run.json         settings, versions, subjects of each split

    Killed or stopped at any moment, --resume goes on and ends with the same weights, bit for bit.
    Then `musclejax weights export RUN -o WEIGHTS` makes weights for `musclejax segment`.
    Exit code: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C or SIGTERM.

    \b
    On two machines that share a disk, the batch being split between them:
      musclejax train ... --coordinator 10.0.0.1:9000 --processes 2 --process 0    on 10.0.0.1
      musclejax train ... --coordinator 10.0.0.1:9000 --processes 2 --process 1    on the other

    \b
    Examples:
      musclejax dataset check DATA
      musclejax train --config tiny --data DATA --workdir run
      musclejax train --config leg --data DATA --workdir run --set variant=slim32 --init phantom
      musclejax train --config leg --data DATA --workdir run --resume
    """
    from musclejax.cli.fitting import Settings, run

    raise SystemExit(run(Settings(**options)))
