"""The bundled thigh-or-leg classifier, trained on synthetic slices: `phantom.py`, but for this."""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the recipe of the bundled networks with what the classifier needs."""
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
