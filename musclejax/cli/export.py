"""`musclejax export`: a network as a file that other programs run."""

import click

from musclejax.app.options import NetworkExport
from musclejax.app.process import configure
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(options=NetworkExport)
def export(options: NetworkExport) -> None:
    """Write a network, its batch norm folded, as one file that needs no musclejax.

    Outputs are "logits" and "labels". OUTPUT.json says how to prepare the input, what the labels
    mean and where the weights come from; an ONNX file holds the same as metadata. The file is
    loaded again and compared with JAX on slices of a real scan; it is kept only if they agree.

    Needs: pip install 'musclejax[engines]'

    \b
    Examples:
      musclejax export --task thigh --format onnx -o thigh.onnx
      musclejax export --weights my_weights --task leg --format stablehlo -o leg.stablehlo
    """
    configure(None)  # before jax is imported
    from musclejax.app.export import run

    run(options)
