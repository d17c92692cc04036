"""The bundled networks, for which a GPU is wanted: wider than `phantom.py`, and larger batches.

    musclejax train --config phantom_gpu --workdir thigh
    musclejax train --config phantom_gpu --workdir leg --set task=leg

Needs JAX for CUDA: half a minute an epoch on an H200, both commands at the same time. For legs
--set data.crop_px=(192,336) is a third faster.
"""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the recipe of the bundled networks with what a GPU wants."""
    config = load_recipe("phantom")
    config.variant = "slim32"
    config.optim.learning_rate = 3e-3
    config.train.batch_size = 32
    config.train.epoch_slices = 16000
    config.train.epochs = 24
    config.phantom.validation_slices = 128
    return config
