"""An exported network against the network in JAX, on slices of real scans."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from musclejax.anatomy import TASKS
from musclejax.models.network import Network
from musclejax.samples import SAMPLES
from musclejax.scan.grid import to_model_grid, to_thumbnails
from musclejax.scan.intensity import normalize
from musclejax.scan.study import load

MIN_AGREEMENT = 0.9999
"""Share of pixels (of slices, for the classifier) that must get the label that JAX gives."""
MAX_DIFFERENCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit. Source: ours; rounding makes
1e-6 to 1e-5."""
SLICES = 4
"""Slices compared, from all sample scans of the network's regions together."""
_SAMPLE_OF = {"thigh": "test_up", "leg": "test_low"}
_MARGIN = 3
"""Slices at either end of a sample scan that are left out."""

Outputs = Mapping[str, np.ndarray]
"""An exported network's "logits", classes last, and "labels"."""


@dataclass(frozen=True)
class Check:
    """How an exported network compares with JAX on real slices.

    Attributes:
        slices: Slices compared.
        agreement: Share of equal labels.
        difference: Largest difference of a logit, as a share of the largest logit.
    """

    slices: int
    agreement: float
    difference: float

    @property
    def passed(self) -> bool:
        """Whether the two agree; NaN is no agreement."""
        return self.agreement >= MIN_AGREEMENT and self.difference <= MAX_DIFFERENCE


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
