"""The folded networks as StableHLO: what `jax.export` loads without musclejax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float

from musclejax.inference.engines import folded
from musclejax.models.variants import input_px
from musclejax.models.weights import Network

PLATFORMS = ("cpu",)


def serialise(network: Network) -> bytearray:
    """Return a network, its weights inside, as `jax.export.deserialize` reads it.

    Called with images [batch, row, column, 1] it returns a dictionary: "logits" [batch, row,
    column, class] and "labels" [batch, row, column], without row and column for the classifier.
    Any batch size; height and width are those of the model grid, because what is fast depends on
    them.
    """
    module, variables = folded(network)
    variables = jax.tree.map(jnp.asarray, variables)

    def apply(images: jax.Array) -> dict[str, jax.Array]:
        logits = jnp.asarray(module.apply(variables, images, train=False))
        return {"logits": logits, "labels": jnp.argmax(logits, -1).astype(jnp.uint8)}

    px = input_px(network.task)
    shape = export.symbolic_shape(f"batch, {px}, {px}, 1")
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return export.export(jax.jit(apply), platforms=PLATFORMS)(images).serialize()


def run(serialised: bytearray, images: Float[np.ndarray, "b h w 1"]) -> dict[str, Any]:
    """Return what a serialised network gives for images: "logits" and "labels"."""
    outputs = export.deserialize(serialised).call(images)
    return {name: np.asarray(output) for name, output in outputs.items()}
