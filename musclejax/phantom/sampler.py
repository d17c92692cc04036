"""Synthetic slices to learn from, made when they are needed and never twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from musclejax.anatomy import SLICE_PX, TASKS
from musclejax.errors import InputError
from musclejax.phantom.disease import SEVERITIES
from musclejax.phantom.generator import Phantom
from musclejax.phantom.scanner import Scanner
from musclejax.phantom.scene import Limbs
from musclejax.phantom.signal import NARROW, Contrast
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import load_anatomy
from musclejax.scan.intensity import normalize

GROUP_OF = {"train": "train", "validation": "held_out"}
"""Split -> group of people whose templates it uses."""
CONTRASTS = {"any": Contrast(), "narrow": NARROW}
"""`config.phantom.contrast` -> kinds of images."""
_BRIGHTNESS = 0.15
"""Spread of the logarithm of brightness: a slice's percentile is not its scan's. Source: ours."""


@dataclass(frozen=True, eq=False)
class PhantomSampler:
    """Synthetic slices: the index chooses a template, the seed all the rest.

    Attributes:
        phantoms: One per region.
        indices: Template of each slice, counted over all phantoms.
        seeds: Seed of each slice; None takes a new one each time.
        seed: Seed of order and variation.
        intensity: `config.intensity` of the network.
    """

    phantoms: Sequence[Phantom]
    indices: Int[np.ndarray, " m"]
    seeds: Int[np.ndarray, " m"] | None
    seed: int
    intensity: ConfigDict

    def __len__(self) -> int:
        """Return the number of slices per pass."""
        return len(self.indices)

    def sample(self, index: int, seed: int) -> tuple[Any, Any]:
        """Return a slice as the network sees it, and its labels."""
        phantom, template = self._find(index)
        sample = phantom.sample(template, seed)
        image = normalize(np.asarray(sample.image)[None], self.intensity)[0]
        return image * self._brightness(seed), np.asarray(sample.labels)

    def sample_many(
        self, indices: Int[np.ndarray, " b"], seeds: Int[np.ndarray, " b"]
    ) -> tuple[Any, Any]:
        """Return slices as `sample` does, [b, h, w] each, made in one call."""
        owners, templates = zip(*(self._find(int(index)) for index in indices), strict=True)
        # Of every region, so that shapes stay the same; only the classifier has two.
        samples = [p.sample_many(np.array(templates) % len(p), seeds) for p in self.phantoms]
        own = np.array([self.phantoms.index(owner) for owner in owners])
        each = zip(*samples, strict=True)
        images, labels = (jnp.choose(own[:, None, None], parts) for parts in each)
        brightness = np.array([self._brightness(int(seed)) for seed in seeds])
        return _normalize_each(images, brightness, self.intensity), labels

    def _brightness(self, seed: int) -> np.float32:
        spread = _BRIGHTNESS * np.random.default_rng([self.seed, seed, 1]).normal()
        return np.float32(np.exp(spread))

    def plain(self) -> "PhantomSampler":
        """Return itself: every synthetic slice is varied."""
        return self

    def region(self, index: int) -> str:
        """Return the region of a slice."""
        return self._find(index)[0].anatomy.region

    def origin(self, index: int) -> str:
        """Return the name of the template that a slice starts from."""
        phantom, template = self._find(index)
        owner = next(b for b in phantom.anatomy.limbs if template in b.tiles)
        return f"{phantom.anatomy.region} template {template} ({owner.subject})"

    def _find(self, index: int) -> tuple[Phantom, int]:
        template = int(self.indices[index])
        for phantom in self.phantoms:
            if template < len(phantom):
                return phantom, template
            template -= len(phantom)
        raise IndexError(index)


def phantom_samplers(config: ConfigDict) -> dict[str, PhantomSampler]:
    """Return the samplers to train on and to validate on; see `GROUP_OF`.

    Args:
        config: Settings; `config.phantom` describes the slices.

    Raises:
        InputError: If a setting of the phantom does not exist.
    """
    chosen, task = config.phantom, TASKS[config.task]
    for name, known in (("severity", SEVERITIES), ("contrast", CONTRASTS)):
        if chosen[name] not in known:
            raise InputError.choice(f"phantom.{name}", chosen[name], known)
    settings = Settings(
        (SLICE_PX, SLICE_PX) if task.is_classifier else tuple(config.data.crop_px),
        Limbs(deformation=float(chosen.deformation)),
        Scanner(artifacts=float(chosen.artifacts)),
        CONTRASTS[chosen.contrast],
    )
    samplers = {}
    for split, group in GROUP_OF.items():
        seed = int(config.seed) + 1_000_003 * (split == "validation")
        people = int(chosen.people) if split == "train" else 0
        phantoms = [
            Phantom(load_anatomy(name, group, people), chosen.severity, seed, settings)
            for name in task.regions
        ]
        indices, seeds = _every_template(phantoms), None
        if split == "validation":
            order = np.random.default_rng(seed).permutation(len(indices))
            indices = np.resize(indices[order], int(chosen.validation_slices))
            seeds = np.arange(len(indices))
        samplers[split] = PhantomSampler(phantoms, indices, seeds, seed, config.intensity)
    return samplers


def _normalize_each(
    images: Float[Array, "b h w"], brightness: Float[np.ndarray, " b"], intensity: ConfigDict
) -> Float[Array, "b h w"]:
    """Do what `intensity.normalize` does, slice by slice, on the device of the images."""
    if intensity.mode == "percentile":
        return _to_percentile(images, brightness, float(intensity.percentile))
    scale = float(intensity.divisor) if intensity.mode == "divide" else 1.0
    return images * (brightness / np.float32(scale))[:, None, None]


@partial(jax.jit, static_argnames="percentile")
def _to_percentile(images: Array, brightness: Array, percentile: float) -> Array:
    bright = jnp.where(images > images.mean((1, 2), keepdims=True), images, jnp.nan)
    scale = jnp.nanpercentile(bright, percentile, axis=(1, 2))
    return images * (brightness / jnp.where(scale > 0, scale, 1))[:, None, None]


def _every_template(phantoms: Sequence[Phantom]) -> Int[np.ndarray, " m"]:
    """Return all templates, those of the smaller regions repeated, so that regions are equal."""
    most = max(len(p) for p in phantoms)
    first, indices = 0, []
    for phantom in phantoms:
        indices.append(first + np.resize(np.arange(len(phantom)), most))
        first += len(phantom)
    return np.stack(indices, 1).ravel()
