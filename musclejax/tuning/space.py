"""What hyperband searches: a table of settings, and the draws from it."""

from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from musclejax.errors import InputError

SPACE = {
    "learning_rate": ("optim.learning_rate", "log"),
    "dropout": ("optim.dropout", "linear"),
    "l2": ("optim.l2", "linear"),
}
"""Name in `config.tune`, where its range stands -> setting that is drawn, scale of the draw.

Source: paper, "Hyperparameters optimization"; it calls the space discrete and does not list its
points, so draws are continuous, and the logarithmic scale is ours.
"""
DIGITS = 4
"""Significant digits of a draw, so that log, table and recipe show the very number. Ours."""


def draw_settings(config: ConfigDict, trial: int) -> dict[str, float]:
    """Return the settings of a trial, by their names in `SPACE`.

    They depend on `config.seed`, the ranges and the trial's number only: not on the order in
    which trials run, nor on how many there are.

    Raises:
        InputError: If a range is empty, or has no logarithm where one is needed.
    """
    random = np.random.default_rng([config.seed, trial])
    settings = {}
    for name, (_, scale) in SPACE.items():
        low, high = config.tune[name]
        if not low <= high or (scale == "log" and low <= 0):
            accepted = "(LOW, HIGH) with LOW <= HIGH" + (" and LOW > 0" if scale == "log" else "")
            raise InputError(f"tune.{name}", str((low, high)), accepted)
        share = random.random()
        value = low * (high / low) ** share if scale == "log" else low + (high - low) * share
        settings[name] = min(max(float(f"{value:.{DIGITS}g}"), low), high)
    return settings


def with_settings(config: ConfigDict, settings: Mapping[str, float]) -> ConfigDict:
    """Return the configuration with a trial's settings in their places."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({SPACE[name][0]: value for name, value in settings.items()})
    return config


def trial_config(config: ConfigDict, trial: int) -> ConfigDict:
    """Return what a trial trains with: its settings, and a learning rate that is never halved.

    Source: paper, "Hyperparameters optimization": the learning rate is scheduled after the
    search.
    """
    config = with_settings(config, draw_settings(config, trial))
    config.plateau.patience = config.tune.max_epochs
    return config
