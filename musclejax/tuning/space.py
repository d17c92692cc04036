"""Search space of hyperband: a table of settings, and samples from it."""

from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from musclejax.config import check_setting

SPACE = {
    "learning_rate": ("optim.learning_rate", "log"),
    "dropout": ("optim.dropout", "linear"),
    "l2": ("optim.l2", "linear"),
}
"""Name of the range in `config.tune` -> setting, scale of its samples.

Source: paper, "Hyperparameters optimization"; it calls the space discrete and does not list its
points, so samples are continuous, and the logarithmic scale is ours.
"""
DIGITS = 4
"""Significant digits of a sample, so that log, table and recipe show the very number. Ours."""


def sample_settings(config: ConfigDict, trial: int) -> dict[str, float]:
    """Return the settings of a trial, by their names in `SPACE`.

    They depend on `config.seed`, the ranges and the trial's number only: not on the order in
    which trials run, nor on how many there are.

    Raises:
        InputError: If a range of `config.tune` is empty or out of bounds.
    """
    random = np.random.default_rng([config.seed, trial])
    settings = {}
    for name, (_, scale) in SPACE.items():
        check_setting(f"tune.{name}", config.tune[name])
        low, high = config.tune[name]
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
    """Return the configuration of a trial: its settings, and a learning rate that stays.

    Source: paper, "Hyperparameters optimization": the learning rate is scheduled after the
    search.
    """
    config = with_settings(config, sample_settings(config, trial))
    config.plateau.patience = config.tune.max_epochs
    return config
