"""`musclejax augment`: the paper's fixed set of augmented slices."""

import click

from musclejax.app.process import configure
from musclejax.app.recipe_options import AugmentOptions
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(options=AugmentOptions)
def augment(options: AugmentOptions) -> None:
    """Write a fixed set of augmented slices, as the paper trained on.

    `musclejax train` augments on the fly, which gives more variety and needs no room; this command
    is for training something else on the same slices. Subjects are split first, and cases.csv has
    the split of each slice. A stopped command resumes with the same options, which augment.json
    keeps.

    \b
    Example:
      musclejax augment --config thigh --data DATA --n 5000 -o AUGMENTED
      musclejax train --config thigh --data AUGMENTED --workdir run --set augment.backend=none
    """
    configure(options.threads)  # before jax is imported
    from musclejax.app.augment import run

    run(options)
