"""The bundled networks, for a GPU: wider than those of `phantom.py`, and larger batches.

    musclejax train --config phantom_gpu --workdir thigh
    musclejax train --config phantom_gpu --workdir leg --set task=leg --set data.crop_px=192,336

Data: none; the package brings the anatomy.
Time: half a minute per epoch on an H200 with JAX for CUDA, both commands at the same time.
Result: a validation DSC of 0.889 (thigh) after 91,000 slices and of 0.911 (leg) after 128,000,
    seven minutes each, on an earlier phantom; the bundled networks were trained further
    (docs/development/weights-log.md).
"""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the settings of training on synthetic slices with a GPU."""
    config = load_recipe("phantom")
    config.variant = "slim32"
    config.optim.learning_rate = 3e-3
    config.train.batch_size = 32
    config.train.epoch_slices = 16000
    config.train.epochs = 24
    config.phantom.validation_slices = 128
    return config
