"""`musclejax describe`: what a variant has and costs."""

import click

from musclejax.app.options import DescribeOptions
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(options=DescribeOptions)
def describe(options: DescribeOptions) -> None:
    """Show parameters, receptive fields and cost of the three networks.

    \b
    Examples:
      musclejax describe
      musclejax describe --variant compact8 --json
      musclejax describe --variant all
    """
    from musclejax.app.describe import show_variants

    show_variants(options)
