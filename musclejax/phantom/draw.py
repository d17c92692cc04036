"""Which templates make a slice, and the keys that go with its number."""

from collections.abc import Sequence

import jax
import numpy as np

from musclejax.phantom.signal import SEVERITIES
from musclejax.phantom.slice import Keys, Sample, Settings, draw_slice
from musclejax.phantom.templates import Anatomy

OTHER_PERSON = 0.3
"""Share of slices whose two limbs come from two people."""


class Phantom:
    """An endless supply of slices of one region, each a function of the seed and its number.

    Args:
        anatomy: Templates.
        severity: One of `SEVERITIES`.
        seed: Of everything.
        settings: Size and ranges.
    """

    def __init__(self, anatomy: Anatomy, severity: str, seed: int, settings: Settings) -> None:
        """Keep the templates where XLA finds them."""
        self.anatomy = anatomy
        self._tiles = jax.device_put(anatomy.tiles)
        self._grades = np.asarray(SEVERITIES[severity], np.float32)
        self._key = jax.random.key(seed)
        self._seed, self._settings = seed, settings
        limbs = anatomy.limbs
        self._owner = np.zeros(len(anatomy.tiles.sizes), int)
        self._height = np.zeros(len(anatomy.tiles.sizes), np.float32)
        for number, limb in enumerate(limbs):
            self._owner[limb.tiles] = number
            self._height[limb.tiles] = relative_heights(limb.levels_mm)

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self._owner)

    def draw(self, template: int, number: int) -> Sample:
        """Return one slice, of a person of its own.

        Args:
            template: Of one of the two limbs; the other's is chosen to go with it.
            number: Decides the rest; the same number gives the same slice.
        """
        rng = np.random.default_rng([self._seed, number])
        pair = [template, self._partner(template, rng)]
        rng.shuffle(pair)
        keys = jax.random.split(jax.random.fold_in(self._key, number), 4)
        level = self._height[template]
        return draw_slice(
            self._tiles, np.array(pair), level, Keys(*keys), self._grades, self._settings
        )

    def _partner(self, template: int, rng: np.random.Generator) -> int:
        """Return a template for the other limb: of the same person, or of another."""
        subjects = [limb.subject for limb in self.anatomy.limbs]
        own = self._owner[template]
        mixed = rng.random() < OTHER_PERSON
        fits = [
            n
            for n, s in enumerate(subjects)
            if (s != subjects[own] if mixed else s == subjects[own])
        ]
        other = int(rng.choice(fits)) if fits else own
        height = float(self._height[template])
        return nearest(self.anatomy.limbs[other].tiles, self._height, height)


def relative_heights(levels_mm: np.ndarray) -> np.ndarray:
    """Return heights from 0 (lowest) to 1."""
    low, high = float(levels_mm.min()), float(levels_mm.max())
    return np.asarray((levels_mm - low) / max(high - low, 1.0), np.float32)


def nearest(tiles: Sequence[int] | np.ndarray, heights: np.ndarray, height: float) -> int:
    """Return which of the tiles is at the nearest relative height."""
    tiles = np.asarray(tiles)
    return int(tiles[np.abs(heights[tiles] - height).argmin()])
