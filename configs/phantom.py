"""Networks for two cores: compact, trained on synthetic slices that are drawn as they are needed.

    musclejax train --config phantom --workdir thigh
    musclejax train --config phantom --workdir leg --set task=leg
    musclejax train --config phantom_region --workdir region

Hours on two cores (docs/weights.md); --resume goes on. Not the paper's recipe: what differs is
listed here. Batches of 2 learn more from the same slices than batches of 4, and Adam more than
AMSGrad, whose first, large gradients keep all later steps small.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what learning from synthetic slices needs."""
    config = default_config()
    config.task = "thigh"
    config.variant = "half16"
    config.data.source = "phantom"
    config.data.crop_px = (240, 384)  # both limbs, little air
    config.phantom.severity = "any"  # more disease than among patients: it is what is hard
    config.loss.kind = "dice_cross_entropy"
    config.loss.reduction = "mean"
    config.loss.class_weights = "none"
    config.loss.border_weight = 2.0
    config.loss.border_sigma_px = 3.0
    config.optim.learning_rate = 1.5e-3
    # A steady rate, and an average over the last few thousand slices in place of a falling one:
    # a run can be ended or gone on with at any epoch (--resume --set train.epochs=N).
    config.optim.ema_decay = 0.9995
    config.optim.amsgrad = False
    config.optim.dropout = 0.0
    config.optim.batch_norm_momentum = 0.99
    config.plateau.patience = 1000  # never
    config.train.batch_size = 2
    config.train.epoch_slices = 2000
    config.train.epochs = 20
    config.train.checkpoint_minutes = 5.0
    return config
