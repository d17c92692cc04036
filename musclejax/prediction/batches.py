"""Networks applied to slices in batches of one fixed shape."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from musclejax.models.fold import fold_batch_norm
from musclejax.models.network import Network
from musclejax.models.weights import Weights
from musclejax.prediction.engine_choice import resolve
from musclejax.prediction.engines import predict_function
from musclejax.prediction.options import DEFAULTS, SegmentOptions

CLASSIFIER_BATCH_SIZE = 16


class Prediction(NamedTuple):
    """Output of a segmentation network for some slices.

    Attributes:
        labels: Most probable class.
        confidence: Its probability, in steps of 1/255.
        probabilities: Of every class, in steps of 1/255.
    """

    labels: UInt8[np.ndarray, "z r c"]
    confidence: UInt8[np.ndarray, "z r c"]
    probabilities: UInt8[np.ndarray, "z r c k"]


class SlicePrediction(NamedTuple):
    """Output of a segmentation network for one slice; as `Prediction`."""

    labels: UInt8[np.ndarray, "r c"]
    confidence: UInt8[np.ndarray, "r c"]
    probabilities: UInt8[np.ndarray, "r c k"]


def predict_labels(
    network: Network,
    slices: Float[np.ndarray, "z r c"],
    options: SegmentOptions = DEFAULTS,
) -> Prediction:
    """Segment slices that are normalized and on the model grid.

    Args:
        network: A segmentation network.
        slices: Height and width multiples of the network's `size_multiple`.
        options: Its engine, precision and batch size.

    Raises:
        InputError: If the engine is not installed or does not offer the precision.
    """
    options = resolve(options, Weights("", {network.task: network})).options
    size = batch_size(len(slices), options)
    starts = range(0, len(slices), size) or [0]
    parts = [predict_batch(network, slices[s : s + size], size, options) for s in starts]
    return Prediction(*map(np.concatenate, zip(*parts, strict=True)))


def batch_size(count: int, options: SegmentOptions) -> int:
    """Return the size of the batches of a scan: few slices do not pay for a whole one."""
    return max(1, min(options.batch_size, count))


def predict_batch(
    network: Network, slices: Float[np.ndarray, "z r c"], size: int, options: SegmentOptions
) -> Prediction:
    """Segment a batch, padded to a size, so that one shape is compiled; see `predict_labels`.

    Engine and precision are stated in the options: `resolve`.
    """
    apply = predict_function(network, options.engine, options.precision, True)
    return Prediction(*(np.asarray(o)[: len(slices)] for o in apply(_pad(slices, size))))


def predict_classes(
    network: Network, thumbnails: Iterable[Float[np.ndarray, "t t"]]
) -> Float[np.ndarray, "z k"]:
    """Return the probability of each class of a classifier for each thumbnail."""
    apply, size = _classifier(network), CLASSIFIER_BATCH_SIZE
    images, outputs = iter(thumbnails), [np.zeros((0, network.module.num_classes), np.float32)]
    while batch := list(islice(images, size)):
        outputs.append(np.asarray(apply(_pad(np.stack(batch), size)))[: len(batch)])
    return np.concatenate(outputs)


def _pad(batch: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(batch)
    return np.pad(batch, ((0, missing), (0, 0), (0, 0)))[..., None]


@lru_cache(maxsize=4)
def _classifier(network: Network) -> Callable[[np.ndarray], jax.Array]:
    module, variables = fold_batch_norm(network)
    placed = jax.device_put(variables)

    def apply(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.asarray(module.apply(variables, images, train=False)))

    jitted = jax.jit(apply)
    return lambda images: jitted(placed, images)
