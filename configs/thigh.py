"""The paper's thigh network."""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what the thigh network changes."""
    config = default_config()
    config.task = "thigh"
    return config
