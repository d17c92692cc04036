"""The paper's thigh network.

    musclejax train --config thigh --data DATA --workdir thigh

Data: thigh scans with the twelve muscles annotated in some slices, in nnU-Net's raw layout (see
    `musclejax dataset --help`); the paper had 7 slices of each of 110 scans of 44 subjects.
Time: about four days on two cores, at 9.2 s per step with oneDNN (benchmarks/README.md).
Result: a soft DSC with background of 0.93 in training and 0.89 in validation, in the paper on its
    own data (Table 2). Not run to its end here.
"""

from ml_collections import ConfigDict

from musclejax.config import default_config


def get_config() -> ConfigDict:
    """Return the settings of the paper's thigh network."""
    config = default_config()
    config.task = "thigh"
    return config
