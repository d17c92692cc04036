"""Fine-tune the bundled thigh or leg network on corrected scans, without forgetting other images.

    musclejax dataset make OUT -o DATA
    musclejax train --config finetune --data DATA --workdir run --init phantom
    musclejax train --config finetune --data DATA --workdir run --init phantom LEG

LEG: --set task=leg --set data.crop_px=192,336
Data: a few corrected scans of two people or more, in nnU-Net's raw layout.
Time: three minutes on one core of two.
Result: see the table of docs/training.md. With few scans to validate, export --checkpoint last.

As `phantom_bundled.py`, which trained these networks, but for the settings below.
"""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the settings of fine-tuning on few scans."""
    config = load_recipe("phantom_bundled")
    config.data.source = "dataset"
    config.optim.learning_rate = 4e-4
    config.optim.ema_decay = 0.98
    config.optim.batch_norm_momentum = 0.99
    config.train.epoch_slices = 100  # half of them synthetic
    config.train.epochs = 4
    return config
