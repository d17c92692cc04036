"""Networks as StableHLO: what `jax.export` loads without musclejax."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float

from musclejax.anatomy import TASKS
from musclejax.models.fold import fold_batch_norm
from musclejax.models.network import Network

PLATFORMS = ("cpu",)
_PIXELS = ["batch", "row", "column"]
AXES = {"image": [*_PIXELS, "channel"], "logits": [*_PIXELS, "class"], "labels": _PIXELS}
"""Input and outputs -> their axes."""


def serialize(network: Network, metadata: Mapping[str, Any]) -> bytearray:
    """Return a network, its weights inside, as `jax.export.deserialize` reads it.

    Called with images [batch, row, column, 1] it returns a dictionary: "logits" [batch, row,
    column, class] and "labels" [batch, row, column], without row and column for the classifier.
    Any batch size; height and width are those of the model grid, because what is fast depends on
    them. The format has no place for metadata.
    """
    module, variables = fold_batch_norm(network)
    variables = jax.tree.map(jnp.asarray, variables)

    def apply(images: jax.Array) -> dict[str, jax.Array]:
        logits = jnp.asarray(module.apply(variables, images, train=False))
        return {"logits": logits, "labels": jnp.argmax(logits, -1).astype(jnp.uint8)}

    px = TASKS[network.task].input_px
    shape = export.symbolic_shape(f"batch, {px}, {px}, 1")
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return export.export(jax.jit(apply), platforms=PLATFORMS)(images).serialize()


def run(serialized: bytearray, images: Float[np.ndarray, "b h w 1"]) -> dict[str, Any]:
    """Return what a serialized network gives for images: "logits" and "labels"."""
    outputs = export.deserialize(serialized).call(images)
    return {name: np.asarray(output) for name, output in outputs.items()}
