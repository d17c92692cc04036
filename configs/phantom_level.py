"""The network that finds the level of a limb's slice, for two cores, trained on synthetic slices.

    musclejax train --config phantom_level --workdir level --init phantom

Data: none; the package brings the anatomy.
Time: 18 minutes on a part of one core of two (docs/weights.md).
Result: 57 % of single synthetic slices of held-out anatomy in the right one of 26 levels, a median
    error of 0.04 (docs/weights.md).

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
