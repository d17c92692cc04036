"""Networks that have not been trained yet."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from musclejax.config import default_config
from musclejax.models.network import Network
from musclejax.models.shapes import Shape, expected_shapes, nest_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import find, variant_name

_CUT = 2.0
"""Standard deviations at which Flax cuts its normal distribution, before it widens the rest."""


def initialize(task: str, variant_or_spec: str | NetworkSpec = "paper", seed: int = 0) -> Network:
    """Return an untrained network: Glorot-normal kernels (paper), zero biases.

    Raises:
        InputError: If the task or variant does not exist.
    """
    spec = find(variant_or_spec)
    variables = draw_variables(spec, task, seed)
    config = default_config()
    named = isinstance(variant_or_spec, str)
    config.task, config.variant = task, variant_or_spec if named else variant_name(spec)
    return Network(config, spec, variables)


def draw_variables(variant_or_spec: str | NetworkSpec, task: str, seed: int) -> dict[str, Any]:
    """Draw the variables of an untrained network.

    The same distribution as `module.init` (a test compares them); drawn by NumPy, because XLA
    needs a minute to compile the random numbers of so many shapes.
    """
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: Shape) -> Float[np.ndarray, "..."]:
        match name:
            case "kernel":
                return _glorot_normal(rng, shape)
            case "scale" | "var":
                return np.ones(shape, np.float32)
            case _:
                return np.zeros(shape, np.float32)

    shapes = expected_shapes(variant_or_spec, task)
    return nest_arrays({path: draw(path[-1], shape) for path, shape in shapes.items()})


def _glorot_normal(rng: np.random.Generator, shape: Shape) -> Float[np.ndarray, "..."]:
    """Draw a kernel: normal, cut at two standard deviations, and as wide as before the cut.

    By the inverse of the cut distribution, in logarithms.
    """
    fans = math.prod(shape[:-2]) * (shape[-2] + shape[-1])
    mass = special.log1p(-2 * special.ndtr(-_CUT))
    below = np.full(shape, special.log_ndtr(-_CUT))
    share = np.log(rng.uniform(size=shape)) + mass
    cut = special.ndtri_exp(special.logsumexp([below, share], axis=0))
    return np.asarray(cut * math.sqrt(2 / fans) / _cut_deviation(), np.float32)


def _cut_deviation() -> float:
    """Return the standard deviation of the normal distribution that is cut at `_CUT`."""
    edge = math.exp(-(_CUT**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * _CUT * edge / (1 - 2 * special.ndtr(-_CUT)))
