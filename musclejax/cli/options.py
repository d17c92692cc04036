"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --data and --set to a command."""
    path = click.Path(path_type=Path)
    options = (
        click.option(
            "--config",
            default="thigh",
            show_default=True,
            metavar="NAME_OR_FILE",
            help="thigh, leg, region (the paper's networks), tiny, or a Python file with "
            "get_config().",
        ),
        click.option(
            "--data",
            type=path,
            multiple=True,
            required=True,
            metavar="DIR",
            help="Dataset in nnU-Net's raw layout (see `musclejax dataset --help`); may be given "
            "more than once.",
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
    for option in reversed(options):
        command = option(command)
    return command
