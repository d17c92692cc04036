"""The network that finds the level of a limb's slice, for two cores, trained on synthetic slices.

    musclejax train --config phantom_level --workdir level

Data: none; the package brings the anatomy.
Time: TIME on one core of two (docs/weights.md).
Result: RESULT (docs/weights.md).

As `phantom_region.py`, but for the settings below.
"""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the settings of training the level network on synthetic slices."""
    config = load_recipe("phantom_region")
    config.task = "level"
    config.phantom.empty = 0.4  # pelvis, knee and foot are as frequent as their share of a limb
    config.phantom.whole = 0.5
    return config
