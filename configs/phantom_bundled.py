"""The bundled thigh and leg networks, for two cores, on synthetic slices that are made when needed.

    musclejax train --config phantom_bundled --workdir thigh --init phantom
    musclejax train --config phantom_bundled --workdir leg --init phantom LEG
    musclejax train --config phantom_level --workdir level --init phantom
    musclejax weights export thigh leg level -o weights

LEG: --set task=leg --set data.crop_px=192,336
Data: none; the package brings the anatomy.
Time: 1.7 hours, beside other work, on one core each of two with avx512_bf16 and
    --set models.precision=bfloat16; 1.6 times as long without (docs/weights.md).
Result: a validation DSC of 0.901 (thigh) after 9 epochs and 0.903 (leg) after 11, on synthetic
    slices of held-out anatomy; the bundled weights. `--init phantom` starts from bundled weights.

As `phantom.py`, but for the settings below.
"""

from ml_collections import ConfigDict

from musclejax.config import load_recipe


def get_config() -> ConfigDict:
    """Return the settings of the bundled networks."""
    config = load_recipe("phantom")
    config.variant = "slim32"
    config.optim.learning_rate = 8e-4
    return config
