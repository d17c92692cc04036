"""Slices of one region: the templates and random keys of each seed."""

from collections.abc import Sequence
from functools import cached_property, partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from musclejax.phantom.disease import Disease, disease_of
from musclejax.phantom.slice import Keys, Sample, Settings, sample_slice
from musclejax.phantom.templates import Anatomy, Limb, Tiles, choose


class Phantom:
    """Endless slices of one region, each a function of the phantom's seed and its own.

    Args:
        anatomy: Templates.
        severity: One of `disease.SEVERITIES`.
        seed: Seed of all slices.
        settings: Size and ranges.
    """

    def __init__(self, anatomy: Anatomy, severity: str, seed: int, settings: Settings) -> None:
        """Find limb, relative height and level of every template."""
        self.anatomy = anatomy
        self._disease = disease_of(anatomy.region, severity)
        self._key = jax.random.key(seed)
        self._seed, self._settings = seed, settings
        limbs = anatomy.limbs
        self._owner = np.zeros(len(anatomy.tiles.sizes), int)
        self._height = np.zeros(len(anatomy.tiles.sizes), np.float32)
        self._level = np.zeros(len(anatomy.tiles.sizes), np.float32)
        for index, limb in enumerate(limbs):
            self._owner[limb.tiles] = index
            self._height[limb.tiles] = limb.heights
            self._level[limb.tiles] = limb.levels

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self._owner)

    def sample(self, template: int, seed: int) -> Sample:
        """Return one slice, of a person of its own.

        Args:
            template: Of one of the two limbs; the other's is chosen to go with it.
            seed: Seed of all else; the same seed gives the same slice.
        """
        return sample_slice(
            choose(self.anatomy.tiles, self._pair(template, seed)),
            self._height[template],
            _keys(self._key, seed),
            self._disease,
            self._settings,
        )

    def sample_many(self, templates: Int[np.ndarray, " b"], seeds: Int[np.ndarray, " b"]) -> Sample:
        """Return several slices in one call, as an accelerator prefers.

        Args:
            templates: As for `sample`, of each slice.
            seeds: The same.

        Returns:
            image [b, h, w] and labels [b, h, w]; up to rounding those of `sample`.
        """
        requested = zip(templates.tolist(), seeds.tolist(), strict=True)
        pairs = np.stack([self._pair(template, seed) for template, seed in requested])
        return _sample_many(
            choose(self._tiles, pairs),
            self._height[templates],
            self._key,
            seeds,
            self._disease,
            self._settings,
        )

    def levels(self, template: int, seed: int) -> Float[np.ndarray, " 2"]:
        """Return the levels of the right and the left limb of the slice that `sample` returns.

        One of them may be hidden: some scans show one limb only.
        """
        return self._level[self._pair(template, seed)]

    @cached_property
    def _tiles(self) -> Tiles:
        """Return the templates on the accelerator: a hundred megabytes, to be moved once."""
        return jax.device_put(self.anatomy.tiles)

    def _pair(self, template: int, seed: int) -> Int[np.ndarray, " 2"]:
        """Return the templates of the right and of the left limb."""
        rng = np.random.default_rng([self._seed, seed])
        pair = np.array([template, self._partner(template, rng)])
        rng.shuffle(pair)
        return pair

    def _partner(self, template: int, rng: np.random.Generator) -> int:
        """Return a template of the same level for the other limb, of that person or another."""
        limbs, own = self.anatomy.limbs, int(self._owner[template])
        level = self._level[[template]]
        other = other_limb(limbs, own, rng, self._settings.limbs.other_person, level)
        return int(limbs[other].at(level)[0])


def _keys(key: PRNGKeyArray, seed: int | Array) -> Keys:
    return Keys(*jax.random.split(jax.random.fold_in(key, seed), 4))


@partial(jax.jit, static_argnames="settings")
def _sample_many(
    pairs: Tiles,
    heights: Float[Array, " b"],
    key: PRNGKeyArray,
    seeds: Int[Array, " b"],
    disease: Disease,
    settings: Settings,
) -> Sample:
    def one(pair: Tiles, height: Array, seed: Array) -> Sample:
        return sample_slice(pair, height, _keys(key, seed), disease, settings)

    return jax.vmap(one)(pairs, heights, seeds)


def other_limb(
    limbs: Sequence[Limb],
    own: int,
    rng: np.random.Generator,
    other_person: float,
    level: Float[np.ndarray, " 1"] | None = None,
) -> int:
    """Return the index of the limb to lie beside one: the person's other one, or a stranger's.

    Args:
        limbs: All limbs.
        own: Index of the one.
        rng: Advances by two numbers.
        other_person: Probability that it is another person's.
        level: One that the limb must show, if given.
    """
    mixed = rng.random() < other_person
    subject = limbs[own].subject
    fits = [
        index
        for index, limb in enumerate(limbs)
        if index != own
        and (limb.subject == subject) != mixed
        and (level is None or limb.has(level)[0])
    ]
    return int(rng.choice(fits)) if fits else own
