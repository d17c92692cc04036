"""The thigh-or-leg classifier for two cores, trained on synthetic slices.

    musclejax train --config phantom_region --workdir region

Data: none; the package brings the anatomy.
Time: half an hour on one core of two (docs/weights.md).
Result: a validation accuracy of 0.883 on single synthetic slices of held-out anatomy; it decides
    for the right region in all of eight real scans (docs/weights.md).

As `phantom.py`, but for the settings below.
"""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the settings of training the classifier on synthetic slices."""
    config = load_recipe("phantom")
    config.task = "region"
    config.loss.kind = "cross_entropy"
    config.optim.learning_rate = 1.5e-3
    config.optim.decay = "cosine"
    config.optim.ema_decay = 0.0
    config.optim.l2 = 0.0  # with so few outputs it is most of the loss
    config.optim.batch_norm_momentum = 0.98
    config.train.batch_size = 8
    config.train.epoch_slices = 1500
    config.train.epochs = 16
    return config
