"""The bundled thigh-or-leg classifier, trained on synthetic slices; see `phantom.py`."""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what learning from synthetic slices needs."""
    config = default_config()
    config.task = "region"
    config.variant = "half16"
    config.data.source = "phantom"
    config.phantom.severity = "any"
    config.loss.reduction = "mean"
    config.optim.learning_rate = 1.5e-3
    config.optim.l2 = 0.0  # with so few outputs it is most of the loss
    config.optim.decay = "cosine"
    config.optim.amsgrad = False
    config.optim.dropout = 0.0
    config.optim.batch_norm_momentum = 0.98
    config.plateau.patience = 1000  # the cosine alone
    config.train.batch_size = 8
    config.train.epoch_slices = 1500
    config.train.epochs = 8
    config.train.checkpoint_minutes = 5.0
    return config
