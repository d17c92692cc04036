"""Which templates make a slice, and the keys that go with its number."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from musclejax.phantom.disease import Disease, disease_of
from musclejax.phantom.slice import Keys, Sample, Settings, draw_slice
from musclejax.phantom.templates import Anatomy, Limb, Tiles


class Phantom:
    """An endless supply of slices of one region, each a function of the seed and its number.

    Args:
        anatomy: Templates.
        severity: One of `disease.SEVERITIES`.
        seed: Of everything.
        settings: Size and ranges.
    """

    def __init__(self, anatomy: Anatomy, severity: str, seed: int, settings: Settings) -> None:
        """Keep the templates where XLA finds them."""
        self.anatomy = anatomy
        self._tiles = jax.device_put(anatomy.tiles)
        self._disease = disease_of(anatomy.region, severity)
        self._key = jax.random.key(seed)
        self._seed, self._settings = seed, settings
        limbs = anatomy.limbs
        self._owner = np.zeros(len(anatomy.tiles.sizes), int)
        self._height = np.zeros(len(anatomy.tiles.sizes), np.float32)
        for number, limb in enumerate(limbs):
            self._owner[limb.tiles] = number
            self._height[limb.tiles] = limb.heights

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self._owner)

    def draw(self, template: int, number: int) -> Sample:
        """Return one slice, of a person of its own.

        Args:
            template: Of one of the two limbs; the other's is chosen to go with it.
            number: Decides the rest; the same number gives the same slice.
        """
        return draw_slice(
            self._tiles,
            self._pair(template, number),
            self._height[template],
            _keys(self._key, number),
            self._disease,
            self._settings,
        )

    def draw_many(self, templates: Int[np.ndarray, " b"], numbers: Int[np.ndarray, " b"]) -> Sample:
        """Return several slices drawn in one call: what an accelerator wants.

        Args:
            templates: As for `draw`, of each slice.
            numbers: The same.

        Returns:
            image [b, h, w] and labels [b, h, w]; up to rounding those of `draw`.
        """
        asked = zip(templates.tolist(), numbers.tolist(), strict=True)
        return _draw_many(
            self._tiles,
            np.stack([self._pair(template, number) for template, number in asked]),
            self._height[templates],
            self._key,
            numbers,
            self._disease,
            self._settings,
        )

    def _pair(self, template: int, number: int) -> Int[np.ndarray, " 2"]:
        """Return the templates of the right and of the left limb."""
        rng = np.random.default_rng([self._seed, number])
        pair = np.array([template, self._partner(template, rng)])
        rng.shuffle(pair)
        return pair

    def _partner(self, template: int, rng: np.random.Generator) -> int:
        """Return a template for the other limb: of the same person, or of another."""
        limbs, own = self.anatomy.limbs, int(self._owner[template])
        other = other_limb(limbs, own, rng, self._settings.limbs.other_person)
        return limbs[other].nearest(float(self._height[template]))


def _keys(key: PRNGKeyArray, number: int | Array) -> Keys:
    return Keys(*jax.random.split(jax.random.fold_in(key, number), 4))


@partial(jax.jit, static_argnames="settings")
def _draw_many(
    tiles: Tiles,
    pairs: Int[Array, "b 2"],
    levels: Float[Array, " b"],
    key: PRNGKeyArray,
    numbers: Int[Array, " b"],
    disease: Disease,
    settings: Settings,
) -> Sample:
    def one(pair: Array, level: Array, number: Array) -> Sample:
        return draw_slice(tiles, pair, level, _keys(key, number), disease, settings)

    return jax.vmap(one)(pairs, levels, numbers)


def other_limb(
    limbs: Sequence[Limb], own: int, rng: np.random.Generator, other_person: float
) -> int:
    """Return the number of the limb to lie beside one: the person's other one, or a stranger's.

    Args:
        limbs: All of them.
        own: Number of the one.
        rng: Two numbers are drawn from it.
        other_person: How often it is another person's.
    """
    mixed = rng.random() < other_person
    subject = limbs[own].subject
    fits = [
        number
        for number, limb in enumerate(limbs)
        if number != own and (limb.subject == subject) != mixed
    ]
    return int(rng.choice(fits)) if fits else own
