"""Inference as musclejax itself runs it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from musclejax.bench import noise
from musclejax.bench.job import TASK, Job
from musclejax.bench.sample import BUNDLED, bundled_weights
from musclejax.config import default_config
from musclejax.models.network import Network
from musclejax.models.shapes import expected_shapes, nest_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import find, variant_name
from musclejax.prediction.engines import predict_function


def inference(job: Job) -> Callable[[np.ndarray], Any]:
    """Return images -> labels, confidence and probabilities, as `musclejax segment` has them."""
    return predict_function(network_of(find(job.variant)), job.engine, job.precision, True)


def network_of(spec: NetworkSpec) -> Network:
    """Return the network that ships, if it is of this kind, else one of random weights."""
    variant = variant_name(spec)
    return bundled_weights(variant).networks[TASK] if variant in BUNDLED else random_network(spec)


def random_network(spec: NetworkSpec) -> Network:
    """Return a network of random weights."""
    config, rng = default_config(), np.random.default_rng(0)
    config.task, config.variant = TASK, variant_name(spec)
    shapes = expected_shapes(spec, TASK)
    arrays = {path: noise.array(rng, path[-1], shape) for path, shape in shapes.items()}
    return Network(config, spec, nest_arrays(arrays))
