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

from musclejax.anatomy import CLASSIFIER, LEVEL, LEVELS, TASKS
from musclejax.errors import InputError
from musclejax.phantom.disease import SEVERITIES
from musclejax.phantom.generator import Phantom
from musclejax.phantom.levels import Levels, levels_of
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
_LONE = {"alone": 1.0, "framed": 1.0}
"""The level network sees one limb at a time."""
_BRIGHTNESS = 0.15
"""Spread of the logarithm of brightness: a slice's percentile is not its scan's. Source: ours."""


@dataclass(frozen=True, eq=False)
class PhantomSampler:
    """Synthetic slices: regions take turns, and a pass goes through all levels of each evenly.

    Attributes:
        phantoms: One per region.
        levels: Of each.
        count: Slices per pass.
        seeds: Seed of each slice; None takes a new one each time.
        seed: Seed of order and variation.
        intensity: `config.intensity` of the network.
    """

    phantoms: Sequence[Phantom]
    levels: Sequence[Levels]
    count: int
    seeds: Int[np.ndarray, " m"] | None
    seed: int
    intensity: ConfigDict

    def __len__(self) -> int:
        """Return the number of slices per pass."""
        return self.count

    def sample(self, index: int, seed: int) -> tuple[Any, Any]:
        """Return a slice as the network sees it, and its labels."""
        phantom, template = self._find(index, seed)
        sample = phantom.sample(template, seed)
        image = normalize(np.asarray(sample.image)[None], self.intensity)[0]
        return image * self._brightness(seed), np.asarray(sample.labels)

    def sample_many(
        self, indices: Int[np.ndarray, " b"], seeds: Int[np.ndarray, " b"]
    ) -> tuple[Any, Any]:
        """Return slices as `sample` does, [b, h, w] each, made in one call."""
        requested = zip(indices.tolist(), seeds.tolist(), strict=True)
        owners, templates = zip(*(self._find(*one) for one in requested), strict=True)
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
        return self.phantoms[index % len(self.phantoms)].anatomy.region

    def class_of(self, task: str, index: int, seed: int) -> int:
        """Return the class of a slice, for a classifier; 0 for other tasks."""
        if task == LEVEL:
            return int(np.argmin(np.abs(np.array(LEVELS) - self.limb_levels(index, seed).mean())))
        return TASKS[task].class_names.index(self.region(index)) if task == CLASSIFIER else 0

    def limb_levels(self, index: int, seed: int) -> Float[np.ndarray, " 2"]:
        """Return the levels of the right and the left limb of a slice; see `Phantom.levels`."""
        phantom, template = self._find(index, seed)
        return phantom.levels(template, seed)

    def origin(self, index: int) -> str:
        """Return the name of the template that a slice starts from, or its level if any may be."""
        if self.seeds is None:
            own = self.levels[index % len(self.phantoms)]
            place = np.searchsorted(own.ends, self._quantile(index)[1])
            return f"a {self.region(index)} template of level {own.grid[place]:.2f}"
        phantom, template = self._find(index, int(self.seeds[index]))
        owner = next(b for b in phantom.anatomy.limbs if template in b.tiles)
        return f"{phantom.anatomy.region} template {template} ({owner.subject})"

    def _quantile(self, index: int, share: float = 0.5) -> tuple[int, float]:
        """Return the region of a slice and its place among the levels, 0 to 1."""
        place, turn = divmod(index % self.count, len(self.phantoms))
        return turn, (place + share) * len(self.phantoms) / self.count

    def _find(self, index: int, seed: int) -> tuple[Phantom, int]:
        """Return the phantom of a slice, and its template."""
        rng = np.random.default_rng([self.seed, seed, 2])
        turn, quantile = self._quantile(index, rng.random())
        return self.phantoms[turn], self.levels[turn].draw(quantile, rng)


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
        (task.slice_px, task.slice_px) if task.is_classifier else tuple(config.data.crop_px),
        Limbs(deformation=float(chosen.deformation), **_LONE if task.name == LEVEL else {}),
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
        span = float(chosen.levels[0]), float(chosen.levels[1])
        levels = [
            levels_of(phantom.anatomy, span, float(chosen.empty), float(chosen.whole))
            for phantom in phantoms
        ]
        count, seeds = max(len(p) for p in phantoms) * len(phantoms), None
        if split == "validation":
            count = int(chosen.validation_slices)
            seeds = np.arange(count)
        samplers[split] = PhantomSampler(phantoms, levels, count, seeds, seed, config.intensity)
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
