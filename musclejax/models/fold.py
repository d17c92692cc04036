"""Fold batch normalization into the convolutions before it, to predict."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from musclejax.models.cpu.normalization import BATCH_NORM_EPSILON
from musclejax.models.network import Module, Network, build


def fold_batch_norm(
    network: Network, precision: str = "float32", convolutions: str = "xla"
) -> tuple[Module, dict[str, Any]]:
    """Return a module and variables that predict what the network does, without batch norm.

    Every kernel is scaled by gamma / sqrt(variance + epsilon); every bias is moved by what the
    normalization would subtract and add. A network without batch norm keeps its variables.

    Args:
        network: As it was trained.
        precision: One of `PRECISIONS`: of the operands of convolutions.
        convolutions: One of `CONVOLUTIONS`: what computes the 3x3 convolutions.

    Raises:
        InputError: If one of these is none of its choices.
    """
    spec = replace(network.spec, precision=precision, convolutions=convolutions)
    variables = dict(network.variables)
    if spec.norm == "batch":
        spec = replace(spec, norm="none")
        variables = {"params": _fold(variables["params"], variables["batch_stats"])}
    return build(spec, network.task), variables


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
