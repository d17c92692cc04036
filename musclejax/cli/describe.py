"""`musclejax describe`: what a variant has and costs."""

import click

from musclejax.cli.options import Command


@click.command(cls=Command)
@click.option("--variant", default="paper", show_default=True, help="Name of a variant, or 'all'.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def describe(variant: str, as_json: bool) -> None:
    """Show parameters, receptive fields and cost of the three networks.

    \b
    Examples:
      musclejax describe
      musclejax describe --variant compact8 --json
      musclejax describe --variant all
    """
    from musclejax.app.describe import show_variants

    show_variants(variant, as_json=as_json)
