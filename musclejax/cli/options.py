"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from musclejax.bundled import DEFAULT_WEIGHTS

weights_option = click.option(
    "--weights",
    default=DEFAULT_WEIGHTS,
    show_default=True,
    metavar="NAME_OR_DIR",
    help="Bundled weights (see `musclejax weights list`) or a weights folder.",
)
threads_option = click.option("--threads", type=int, help="Processors to use.  [default: all]")
memory_option = click.option(
    "--memory",
    "memory_gb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="Take the largest batch, up to 8, that keeps memory below so many GB, instead of "
    "--batch-size.",
)

ENGINES = ("jax", "onednn", "onnxruntime", "openvino", "auto")
PRECISIONS = ("float32", "bfloat16")
"""Those of `inference.engines`, which is not imported for `--help`; a test compares them."""


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine and --precision to a command."""
    command = click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="float32",
        show_default=True,
        help="Of the factors in convolutions; sums are float32. Not every engine and processor has "
        "bfloat16.",
    )(command)
    return click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="jax",
        show_default=True,
        help="What computes the network; auto: the fastest one here. All but jax need "
        "musclejax[engines].",
    )(command)


def recipe_options(default: str = "thigh") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds --config, --data and --set to a command.

    Args:
        default: Recipe that is taken if none is given.
    """
    options = (
        click.option(
            "--config",
            default=default,
            show_default=True,
            metavar="NAME_OR_FILE",
            help="Recipe: thigh, leg, region (the paper's networks), phantom, phantom_gpu, "
            "phantom_region (synthetic slices), tiny, tune, or a Python file with get_config().",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            multiple=True,
            metavar="DIR",
            help="Dataset in nnU-Net's raw layout (see `musclejax dataset --help`); may be given "
            "more than once. Recipes that draw synthetic slices need none.",
        ),
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="NAME=VALUE",
            help="Change a setting of the recipe, such as optim.learning_rate=0.001; may be given "
            "more than once.",
        ),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add
