"""A compact network, small slices and short epochs, to try the pipeline.

    musclejax train --config tiny --data DATA --workdir run --set task=leg

Data: any dataset of the region, in nnU-Net's raw layout (see `musclejax dataset --help`); for
    example `musclejax phantom --region leg --subjects 6 --test 2 -o DATA`.
Time: two minutes on one core for legs, three for thighs.
Result: a validation DSC of 0.05 on those legs, as six epochs are far too few: use the variants and
    settings of phantom.py for a useful network.

Not the paper's recipe: the differences are listed here.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the settings of a small run."""
    config = default_config()
    config.variant = "compact4"
    config.data.crop_px = (192, 336)
    config.train.epochs = 6
    config.train.epoch_slices = 100
    config.optim.batch_norm_momentum = 0.9
    config.optim.dropout = 0.0
    config.optim.l2 = 1e-4
    return config
