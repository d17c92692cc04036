"""Fine-tune the compact thigh network on one real scan; validate on another person's.

    musclejax train --config examples/huashan.py --data examples/huashan_thigh --workdir run \
        --init phantom

About three minutes on two cores. See docs/training.md.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the default with what suits two short scans."""
    config = default_config()
    config.task = "thigh"
    config.variant = "slim32"
    config.data.crop_px = (192, 384)
    config.data.min_muscles = 8
    config.data.absent = "AL"
    config.optim.learning_rate = 2e-3
    config.optim.dropout = 0.0
    config.optim.l2 = 1e-4
    config.optim.batch_norm_momentum = 0.9
    config.loss.kind = "dice_cross_entropy"
    config.loss.class_weights = "none"
    config.loss.border_weight = 1.0
    config.train.batch_size = 2
    config.train.epoch_slices = 40
    config.train.epochs = 8
    return config
