"""The paper's leg network."""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what the leg network changes."""
    config = default_config()
    config.task = "leg"
    config.loss.border_sigma_px = 8.0  # paper, Eq. 2
    return config
