"""A compact network, small slices and short epochs: minutes on two cores, to try the pipeline.

    musclejax train --config tiny --data DIR --workdir RUN --set task="leg"

Not the paper's recipe: what differs is listed here.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what makes a run small."""
    config = default_config()
    config.variant = "compact4"
    config.data.crop_px = (192, 336)
    config.train.epochs = 6
    config.train.epoch_slices = 100
    config.optim.batch_norm_momentum = 0.9
    config.optim.dropout = 0.0
    config.optim.l2 = 1e-4
    return config
