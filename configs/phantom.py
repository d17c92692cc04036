"""Networks for two cores: compact, trained on synthetic slices that are made when they are needed.

    musclejax train --config phantom --workdir thigh
    musclejax train --config phantom --workdir leg --set task=leg --set data.crop_px=192,336
    musclejax train --config phantom_region --workdir region

Data: none; the package brings the anatomy.
Time: 2.2 hours for the thigh, 1.3 for the leg, on one core each of two (docs/weights.md). A run
    that was stopped continues with --resume.
Result: a validation DSC of 0.862 (thigh) and 0.866 (leg) on synthetic slices of held-out anatomy,
    on an earlier phantom (docs/weights.md). --resume --set train.epochs=N continues beyond the end.

Not the paper's recipe: the differences are listed here. Batches of 2 learn more from the same
slices than batches of 4, and Adam more than AMSGrad, whose first, large gradients keep all later
steps small.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the settings of training on synthetic slices."""
    config = default_config()
    config.task = "thigh"
    config.variant = "half16"
    config.data.source = "phantom"
    config.data.crop_px = (240, 384)  # both limbs, little air
    config.phantom.severity = "any"  # more disease than among patients: the hard cases
    config.loss.kind = "dice_cross_entropy"
    config.loss.reduction = "mean"
    config.loss.class_weights = "none"
    config.loss.border_weight = 2.0
    config.loss.border_sigma_px = 3.0
    config.optim.learning_rate = 1.5e-3
    # A steady rate, and an average over the last few thousand slices in place of a falling one:
    # a run can end or be continued at any epoch (--resume --set train.epochs=N).
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
