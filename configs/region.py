"""The paper's thigh-or-leg classifier."""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what the classifier changes."""
    config = default_config()
    config.task = "region"
    return config
