"""Networks applied to slices in batches of one fixed shape."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, UInt8

from musclejax.inference.engines import STEPS as STEPS
from musclejax.inference.engines import folded, labeller, resolve
from musclejax.models.weights import Network

BATCH_SIZE = 4
"""Slices in a batch. Source: ours; in batches of 1, 2 and 4 the paper's network took 1.69, 1.16
and 1.07 s a slice on two AVX2 cores."""
CLASSIFIER_BATCH_SIZE = 16


class Prediction(NamedTuple):
    """What a segmentation network says of slices.

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
    *,
    batch_size: int = BATCH_SIZE,
    engine: str = "jax",
    precision: str = "float32",
    advance: Callable[[int], None] = lambda slices: None,
) -> Prediction:
    """Segment slices that are normalised and on the model grid.

    Args:
        network: A segmentation network.
        slices: Height and width multiples of the network's `size_multiple`.
        batch_size: Slices at once, or all where they are fewer; the last batch is padded, so that
            one shape is compiled.
        engine: What computes: see `inference.engines.ENGINES`; "auto" takes the fastest here.
        precision: "float32", or "bfloat16" where the engine and the processor have it.
        advance: Called with the number of slices done, after each batch.

    Raises:
        InputError: If the engine is not installed or does not offer the precision.
    """
    apply = labeller(network, resolve(engine, precision), precision, True)
    shape = slices.shape
    labels, confidence = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    classes = network.module.num_classes
    every = np.empty((*shape, classes), np.uint8)
    batch_size = max(1, min(batch_size, len(slices)))  # few do not pay for a whole batch
    for start in range(0, len(slices), batch_size):
        batch = slices[start : start + batch_size]
        stop = start + len(batch)
        outputs = [np.asarray(o)[: len(batch)] for o in apply(_pad(batch, batch_size))]
        labels[start:stop], confidence[start:stop], every[start:stop] = outputs
        advance(len(batch))
    return Prediction(labels, confidence, every)


def predict_regions(
    network: Network, thumbnails: Float[np.ndarray, "z t t"]
) -> Float[np.ndarray, "z k"]:
    """Return the probability of each region for each thumbnail."""
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
    module, variables = folded(network)
    placed = jax.device_put(variables)

    def apply(variables: dict, images: jax.Array) -> jax.Array:
        return nn.softmax(jnp.asarray(module.apply(variables, images, train=False)))

    jitted = jax.jit(apply)
    return lambda images: jitted(placed, images)
