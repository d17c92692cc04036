"""Write a network for other programs: the program of `musclejax export`."""

from collections.abc import Sequence

from musclejax.app import console
from musclejax.app.announce import load_announced
from musclejax.app.options import NetworkExport
from musclejax.app.process import BadUsage, check_output, usage, writing
from musclejax.export.formats import check_options, export


def run(options: NetworkExport) -> None:
    """Export a network and say how it compares with JAX.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If the file does not compute what JAX computes.
    """
    path = options.output
    with usage():
        weights = load_announced(options.weights)
        task = options.task or _only_task(list(weights.networks))
        check_options(weights, task, path, options.format)
    check_output(path.parent)
    with writing(path.parent):
        check = export(weights, task, path, options.format)
    size = path.stat().st_size / 2**20
    console.say(f"{path}: {task} network of {weights.name}, {size:.1f} MiB")
    console.say(
        f"compared with JAX on {check.slices} real slices: labels {check.agreement:.3%} equal, "
        f"logits {check.difference:.0e} of their scale apart"
    )
    console.say(f"{path}.json: preparation of the input, labels, provenance")


def _only_task(tasks: Sequence[str]) -> str:
    if len(tasks) > 1:
        raise BadUsage(f"--task: found none; accepted: {', '.join(tasks)}.")
    return tasks[0]
