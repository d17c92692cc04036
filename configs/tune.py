"""The paper's search: learning rate, dropout and L2 by hyperband, on the thigh network.

musclejax tune --config tune --data DIR --workdir RUN
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default: its `tune` section is the paper's search space and budget."""
    return default_config()
