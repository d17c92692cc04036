"""Synthetic slices to learn from, drawn when they are needed and never twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.config import SLICE_PX
from musclejax.errors import InputError
from musclejax.phantom.disease import SEVERITIES
from musclejax.phantom.draw import Phantom
from musclejax.phantom.scanner import Scanner
from musclejax.phantom.scene import Limbs
from musclejax.phantom.signal import NARROW, Contrast
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import load_anatomy
from musclejax.scan.intensity import normalise

GROUP_OF = {"train": "train", "validation": "held_out"}
"""Split -> people whose templates it uses."""
_LEVEL = 0.15
"""Spread of the logarithm of brightness: a slice's percentile is not its scan's. Source: ours."""


@dataclass(frozen=True, eq=False)
class PhantomFeed:
    """Synthetic slices; an item is a template, the number decides all the rest.

    Attributes:
        phantoms: One for each region that is drawn.
        items: Template of each item, counted over all phantoms.
        numbers: Number that decides each item; None draws a new one each time.
        seed: Seed of order and variation.
        intensity: `config.intensity` of the network.
    """

    phantoms: Sequence[Phantom]
    items: Int[np.ndarray, " m"]
    numbers: Int[np.ndarray, " m"] | None
    seed: int
    intensity: ConfigDict

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def draw(self, item: int, number: int) -> tuple[Any, Any]:
        """Return a slice as the network sees it, and its labels."""
        phantom, template = self._find(item)
        sample = phantom.draw(template, number)
        image = normalise(np.asarray(sample.image)[None], self.intensity)[0]
        return image * self._brightness(number), np.asarray(sample.labels)

    def draw_many(self, items: np.ndarray, numbers: np.ndarray) -> tuple[Any, Any]:
        """Return slices as `draw` does, [b, h, w] each, drawn in one call."""
        owners, templates = zip(*(self._find(int(item)) for item in items), strict=True)
        # Of every region, so that shapes stay the same; only the classifier has two.
        drawn = [p.draw_many(np.array(templates) % len(p), numbers) for p in self.phantoms]
        own = np.array([self.phantoms.index(owner) for owner in owners])
        each = zip(*drawn, strict=True)
        images, labels = (jnp.choose(own[:, None, None], parts) for parts in each)
        brightness = np.array([self._brightness(int(n)) for n in numbers])
        return _normalise_each(images, brightness, self.intensity), labels

    def _brightness(self, number: int) -> np.float32:
        spread = _LEVEL * np.random.default_rng([self.seed, number, 1]).normal()
        return np.float32(np.exp(spread))

    def plain(self) -> "PhantomFeed":
        """Return itself: there is no slice that is not varied."""
        return self

    def region(self, item: int) -> str:
        """Return the region of an item."""
        return self._find(item)[0].anatomy.region

    def origin(self, item: int) -> str:
        """Return the template that an item starts from."""
        phantom, template = self._find(item)
        owner = next(b for b in phantom.anatomy.limbs if template in b.tiles)
        return f"{phantom.anatomy.region} template {template} ({owner.subject})"

    def _find(self, item: int) -> tuple[Phantom, int]:
        template = int(self.items[item])
        for phantom in self.phantoms:
            if template < len(phantom):
                return phantom, template
            template -= len(phantom)
        raise IndexError(item)


def phantom_feeds(config: ConfigDict) -> dict[str, PhantomFeed]:
    """Return what to train on and what to validate on: other templates (`templates.GROUPS`).

    Args:
        config: Settings; `config.phantom` says what is drawn.

    Raises:
        InputError: If a setting of the phantom does not exist.
    """
    chosen = config.phantom
    if chosen.severity not in SEVERITIES:
        raise InputError("phantom.severity", repr(chosen.severity), ", ".join(SEVERITIES))
    contrasts = {"any": Contrast(), "narrow": NARROW}
    if chosen.contrast not in contrasts:
        raise InputError("phantom.contrast", repr(chosen.contrast), ", ".join(contrasts))
    region = config.task == "region"
    settings = Settings(
        (SLICE_PX, SLICE_PX) if region else tuple(config.data.crop_px),
        Limbs(deformation=float(chosen.deformation)),
        Scanner(artefacts=float(chosen.artefacts)),
        contrasts[chosen.contrast],
    )
    names = tuple(anatomy.REGIONS) if region else (config.task,)
    feeds = {}
    for split, group in GROUP_OF.items():
        seed = int(config.seed) + 1_000_003 * (split == "validation")
        people = int(chosen.people) if split == "train" else 0
        phantoms = [
            Phantom(load_anatomy(name, group, people), chosen.severity, seed, settings)
            for name in names
        ]
        items, numbers = _items(phantoms), None
        if split == "validation":
            order = np.random.default_rng(seed).permutation(len(items))
            items = np.resize(items[order], int(chosen.validation_slices))
            numbers = np.arange(len(items))
        feeds[split] = PhantomFeed(phantoms, items, numbers, seed, config.intensity)
    return feeds


def _normalise_each(
    images: Float[Array, "b h w"], brightness: Float[np.ndarray, " b"], intensity: ConfigDict
) -> Float[Array, "b h w"]:
    """Do what `intensity.normalise` does, slice by slice, where the images are."""
    if intensity.mode == "percentile":
        return _to_percentile(images, brightness, float(intensity.percentile))
    scale = float(intensity.divisor) if intensity.mode == "divide" else 1.0
    return images * (brightness / np.float32(scale))[:, None, None]


@partial(jax.jit, static_argnames="percentile")
def _to_percentile(images: Array, brightness: Array, percentile: float) -> Array:
    bright = jnp.where(images > images.mean((1, 2), keepdims=True), images, jnp.nan)
    scale = jnp.nanpercentile(bright, percentile, axis=(1, 2))
    return images * (brightness / jnp.where(scale > 0, scale, 1))[:, None, None]


def _items(phantoms: Sequence[Phantom]) -> np.ndarray:
    """Return all templates, those of the smaller regions repeated, so that regions are equal."""
    most = max(len(p) for p in phantoms)
    first, items = 0, []
    for phantom in phantoms:
        items.append(first + np.resize(np.arange(len(phantom)), most))
        first += len(phantom)
    return np.stack(items, 1).ravel()
