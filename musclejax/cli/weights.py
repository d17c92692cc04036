"""`musclejax weights`: the bundled ones, random ones, and those of a training run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from musclejax.models.weights import Weights


def load_announced(name_or_folder: str) -> "Weights":
    """Load weights and say what they are.

    Raises:
        InputError: If there are no such weights.
    """
    from musclejax.models.weights import load_weights

    loaded = load_weights(name_or_folder)
    click.echo(f"weights {loaded.name}: {loaded.provenance.get('description', 'no description')}")
    if loaded.caution:
        click.echo(f"note: {loaded.caution}")
    return loaded


@click.group()
def weights() -> None:
    """List the bundled weights, make random ones, or export those of training runs."""


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_command(as_json: bool) -> None:
    """List the weights that ship with the package.

    Their names go to `musclejax segment --weights NAME`; a folder of your own goes there too.
    """
    import json

    from musclejax.models.weights import list_weights

    bundled = list_weights()
    if as_json:
        click.echo(json.dumps(bundled, indent=2))
        return
    for name, index in bundled.items():
        configs, provenance = index["networks"], index["provenance"]
        variants = ", ".join(sorted({c["variant"] for c in configs.values()}))
        click.echo(f"{name}: {variants} ({', '.join(configs)})")
        for key in ("description", "caution", "licence"):
            # One licence for all networks, or one for each.
            value = provenance.get(key, {})
            texts = value if isinstance(value, dict) else {"": value}
            for task, text in texts.items():
                click.echo(f"  {' '.join(filter(None, (key, task)))}: {text}")


@weights.command("init")
@click.option("--variant", default="paper", show_default=True, help="See `describe`.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random numbers.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def init(variant: str, seed: int, output: Path) -> None:
    """Make random, untrained weights, to time a variant or to start training from."""
    from musclejax import anatomy
    from musclejax.models.weights import initialise, save_weights

    networks = {task: initialise(task, variant, seed) for task in anatomy.TASKS}
    provenance = {
        "trained": False,
        "description": f"Random weights (Glorot normal, seed {seed}); not trained",
    }
    save_weights(output, networks, provenance)
    click.echo(f"{output}: {', '.join(networks)} of variant {variant}, random, not trained")


@weights.command("export")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option(
    "--checkpoint",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="best: the epoch with the highest validation figure.",
)
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights.")
@click.option("--caution", default="", help="What every result made with them shall say.")
@click.option("--half", is_flag=True, help="Store kernels in 16 bits: half of the space on disk.")
def export(
    runs: tuple[Path, ...], output: Path, checkpoint: str, licence: str, caution: str, half: bool
) -> None:
    """Make weights for `musclejax segment` from training runs.

    RUN is the --workdir of `musclejax train`; give up to three, one a network of the tree.

    \b
    Example:
      musclejax weights export run_thigh run_leg run_region -o weights
      musclejax segment scan.nii.gz -o out --weights weights
    """
    from musclejax.training.export import export_runs

    for line in export_runs(runs, output, checkpoint, licence, caution, half=half):
        click.echo(line)
