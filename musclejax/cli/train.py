"""`musclejax train`: the paper's recipe on one's own data."""

import click

from musclejax.app.process import configure
from musclejax.app.recipe_options import TrainOptions
from musclejax.cli.options import Command, record_options
from musclejax.config.folder import recipe_titles


class _Command(Command):
    """Ends its help with the recipes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Recipes"):
            formatter.write_dl([*recipe_titles().items()])


@click.command(cls=_Command)
@record_options(options=TrainOptions)
def train(options: TrainOptions) -> None:
    """Train one network: the thigh, the leg, or the thigh-or-leg classifier.

    Only annotated slices train. Subjects are held out for validation before anything is augmented
    (`split` of the recipe; a split column in cases.csv takes precedence). The paper's recipe takes
    days with its full-width network: start with --config tiny or --set variant=compact8.

    \b
    In --workdir:
      report.html      curves and figures of every epoch so far, in one page
      metrics.jsonl    figures of every epoch, one JSON object per line
      curves.png       loss and accuracy (the paper's Fig. 7)
      tensorboard/     the same figures as events
      checkpoints/     the best (by validation DSC) and the last state
      run.json         settings, versions, subjects of each split

    A run that was killed or stopped at any moment resumes with --resume and ends with the same
    weights, bit for bit.
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
    joins = options.coordinator is not None
    configure(options.threads, joins=joins, trains=True)  # before jax is imported
    from musclejax.app.train import run

    raise SystemExit(run(options))
