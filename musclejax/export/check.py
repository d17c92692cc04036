"""An exported network against the network in JAX, on slices of real scans."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from musclejax.anatomy import TASKS
from musclejax.export.result import Check
from musclejax.models.network import Network
from musclejax.samples import SAMPLES
from musclejax.scan.grid import to_model_grid, to_thumbnails
from musclejax.scan.intensity import normalize
from musclejax.scan.study import load

SLICES = 4
"""Slices compared, from all sample scans of the network's regions together."""
_SAMPLE_OF = {"thigh": "test_up", "leg": "test_low"}
_MARGIN = 3
"""Slices at either end of a sample scan that are left out."""

Outputs = Mapping[str, np.ndarray]
"""An exported network's "logits", classes last, and "labels"."""


def compare(network: Network, run: Callable[[np.ndarray], Outputs]) -> Check:
    """Compare logits and labels with those of the network as it was trained, in JAX."""
    images = sample_slices(network)[..., None]
    apply = jax.jit(partial(network.module.apply, train=False))
    expected = np.asarray(apply(dict(network.variables), images))
    found = run(images)
    difference = np.abs(found["logits"] - expected).max() / np.abs(expected).max()
    same = found["labels"] == expected.argmax(-1)
    return Check(len(images), float(same.mean()), float(difference))


def sample_slices(network: Network) -> Float[np.ndarray, "n r c"]:
    """Return `SLICES` slices of the sample scans, as the network sees them."""
    task = TASKS[network.task]
    each, chosen = SLICES // len(task.regions), []
    for region in task.regions:
        volume = load(SAMPLES[_SAMPLE_OF[region]])
        slices = normalize(to_model_grid(volume)[0], network.config.intensity)
        slices = slices[np.linspace(_MARGIN, len(slices) - 1 - _MARGIN, each).astype(int)]
        chosen.append(to_thumbnails(slices) if task.is_classifier else slices)
    return np.concatenate(chosen)
