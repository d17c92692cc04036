"""Networks applied to slices in batches of one fixed shape."""

from collections.abc import Callable, Generator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from musclejax.loops import Advance, result_of
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


def predict_labels(
    network: Network,
    slices: Float[np.ndarray, "z r c"],
    options: SegmentOptions = DEFAULTS,
) -> Prediction:
    """Segment slices that are normalized and on the model grid; see `predict_labels_steps`."""
    return result_of(predict_labels_steps(network, slices, options))


def predict_labels_steps(
    network: Network, slices: Float[np.ndarray, "z r c"], options: SegmentOptions
) -> Generator[Advance, None, Prediction]:
    """Segment slices that are normalized and on the model grid.

    Args:
        network: A segmentation network.
        slices: Height and width multiples of the network's `size_multiple`.
        options: Its engine, precision and batch size. With fewer slices than a batch has, the
            batch is as small; the last batch is padded, so that one shape is compiled.

    Raises:
        InputError: If the engine is not installed or does not offer the precision.
    """
    options = resolve(options, Weights("", {network.task: network})).options
    apply = predict_function(network, options.engine, options.precision, True)
    shape, classes = slices.shape, network.module.num_classes
    labels, confidence = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    probabilities = np.empty((*shape, classes), np.uint8)
    size = max(1, min(options.batch_size, len(slices)))  # few do not pay for a whole batch
    for start in range(0, len(slices), size):
        batch = slices[start : start + size]
        stop = start + len(batch)
        outputs = [np.asarray(o)[: len(batch)] for o in apply(_pad(batch, size))]
        labels[start:stop], confidence[start:stop], probabilities[start:stop] = outputs
        yield Advance(stop, len(slices))
    return Prediction(labels, confidence, probabilities)


def predict_classes(
    network: Network, thumbnails: Float[np.ndarray, "z t t"]
) -> Float[np.ndarray, "z k"]:
    """Return the probability of each class of a classifier for each thumbnail."""
    apply = _classifier(network)
    size = CLASSIFIER_BATCH_SIZE
    starts = range(0, len(thumbnails), size)
    outputs = [np.asarray(apply(_pad(thumbnails[s : s + size], size))) for s in starts]
    return np.concatenate(outputs)[: len(thumbnails)]


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
