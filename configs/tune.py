"""The paper's search: learning rate, dropout and L2 by hyperband, on the thigh network.

    musclejax tune --config tune --data DATA --workdir search

Data: as for thigh.py.
Time: 17 trials, 154 epochs in all: about two weeks on two cores, at the speed of thigh.py. On a
    cluster (--scheduler) as many trials run at once as it has threads.
Result: search/best.py, a recipe with the best settings. The paper found a learning rate of
    0.009765, a dropout of 0.2 and an L2 of 0.01: the defaults. Not run to its end here.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the settings of the paper's search."""
    return default_config()
