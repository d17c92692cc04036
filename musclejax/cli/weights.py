"""`musclejax weights`: the bundled ones, random ones, and those of training runs."""

from pathlib import Path

import click

from musclejax.app.options import ListOptions, RandomWeights, ShowOptions, WeightsExport
from musclejax.cli.options import Group, record_options


@click.group(cls=Group)
def weights() -> None:
    """List weights, show all about them, make random ones, or export those of training runs."""


@weights.command("list")
@record_options(options=ListOptions)
def list_command(options: ListOptions) -> None:
    """List the weights that ship with the package, one line each.

    Their names go to `musclejax segment --weights NAME`; a folder of your own goes there too.
    """
    from musclejax.app.weights import show_bundled

    show_bundled(options)


@weights.command("show")
@record_options(options=ShowOptions)
def show(options: ShowOptions) -> None:
    """Show all details of bundled weights or of a weights folder.

    License, training data, metrics, specification of the networks, versions and checksums.

    \b
    Examples:
      musclejax weights show phantom
      musclejax weights show my_weights --json
    """
    from musclejax.app.weights import show_weights

    show_weights(options)


@weights.command("init")
@record_options(options=RandomWeights)
def init(options: RandomWeights) -> None:
    """Make random, untrained weights, to time a variant or to start training from."""
    from musclejax.app.weights import draw_random

    draw_random(options)


@weights.command("export")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@record_options(options=WeightsExport)
def export(runs: tuple[Path, ...], options: WeightsExport) -> None:
    """Make weights for `musclejax segment` from training runs.

    RUN is the --workdir of `musclejax train`; give up to three, one per network of the tree.
    Without --others the weights have these networks alone: `segment` then needs --region, and
    knows no levels unless one of the runs is that of the level network.

    \b
    Examples:
      musclejax weights export run -o tuned --others phantom
      musclejax weights export run_thigh run_leg run_region -o weights --version 1
      musclejax segment scan.nii.gz -o out --weights weights
    """
    from musclejax.app.weights import export_weights

    export_weights(runs, options)
