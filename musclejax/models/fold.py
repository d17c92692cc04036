"""Fold batch normalisation into the convolutions before it, for inference."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from musclejax.models.normalisation import BATCH_NORM_EPSILON


def fold_batch_norm(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of the same network with `norm="none"` that computes the same.

    Args:
        variables: "params" and "batch_stats" of a network with batch norm.

    Returns:
        "params" only: every kernel scaled by gamma / sqrt(variance + epsilon), every bias moved
        by what the normalisation would subtract and add.
    """
    return {"params": _fold(variables["params"], variables["batch_stats"])}


def _fold(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    if "norm" not in params:
        return {
            name: _fold(value, statistics[name]) if name in statistics else value
            for name, value in params.items()
        }
    norm, stored = params["norm"], statistics["norm"]
    scale = norm["scale"] / np.sqrt(stored["var"] + BATCH_NORM_EPSILON)
    bias = (params["bias"] - stored["mean"]) * scale + norm["bias"]
    return {"kernel": params["kernel"] * scale, "bias": bias}
