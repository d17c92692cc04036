"""`musclejax export`: a network as a file that other programs run."""

from pathlib import Path

import click

from musclejax.cli.options import weights_option


@click.command()
@weights_option
@click.option(
    "--task",
    type=click.Choice(["thigh", "leg", "region"]),
    help="Which network; needed if the weights hold several.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["onnx", "stablehlo"]),
    required=True,
    help="onnx: any ONNX engine, any size. stablehlo: `jax.export`, 432 x 432.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write: *.onnx or *.stablehlo.",
)
def export(weights: str, task: str | None, format_: str, output: Path) -> None:
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
    from musclejax.cli.process import check_output, configure, usage

    configure(None)
    from musclejax.cli.weights import load_announced
    from musclejax.inference import export as exports

    with usage():
        loaded = load_announced(weights)
        task = task or _only_task(list(loaded.networks))
        exports.check_options(loaded, task, output, format_)
    check_output(output.parent)
    check = exports.export(loaded, task, output, format_)
    size = output.stat().st_size / 2**20
    click.echo(f"{output}: {task} network of {loaded.name}, {size:.1f} MiB")
    click.echo(
        f"compared with JAX on {check.slices} real slices: labels {check.agreement:.3%} equal, "
        f"logits {check.difference:.0e} of their scale apart"
    )
    click.echo(f"{output}.json: preparation of the input, labels, provenance")


def _only_task(tasks: list[str]) -> str:
    from musclejax.cli.process import BadUsage

    if len(tasks) > 1:
        raise BadUsage(f"--task: found none; accepted: {', '.join(tasks)}.")
    return tasks[0]
