"""Fat replacement of muscles: alike within a person, with some muscles spared."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from musclejax.anatomy import REGIONS
from musclejax.phantom.draws import Draws, folded
from musclejax.phantom.tissues import CODES

GRADES = np.array([[0.0, 0.06], [0.02, 0.12], [0.08, 0.3], [0.25, 0.6], [0.6, 0.95]], np.float32)
"""Fat fraction of a muscle by grade 0 to 4 of Mercuri et al. 2005: normal; traces; below 30 %; 30
to 60 %; above. The fractions within a grade are ours."""
SEVERITIES = {
    "mild": (0.55, 0.25, 0.2, 0.0, 0.0),
    "severe": (0.1, 0.15, 0.25, 0.3, 0.2),
    "mixed": (0.6, 0.12, 0.12, 0.1, 0.06),
    "any": (0.25, 0.13, 0.2, 0.22, 0.2),
}
"""Probability of each grade for a muscle, before some are spared. Source: ours."""
SPARED = {"SAR": 0.5, "GRA": 0.5}
"""Share of people in whom disease spares a muscle, which then stands out of its thigh. Source: many
diseases do so, Mercuri et al. 2005; the shares are ours."""
_SPARED, _SICKEST = 0.2, 0.4
"""The share for all other muscles; the part of its rank of disease that a spared muscle keeps."""
_ALIKE = 0.6
"""Largest share of a muscle's rank of disease that all muscles of a person have in common."""
_SIZE_KEPT = 0.4
"""People whose muscles keep their size, for each one in whom they may not. Source: ours."""
_WASTING = np.array([0, 0.1, 0.4, 0.8, 1.0], np.float32)
"""Largest share of its size that a muscle of each grade may lose. Source: ours."""


class Disease(NamedTuple):
    """The disease of a cohort; see `disease_of`.

    Attributes:
        grades: Probability of each grade for a muscle.
        spared: Probability that it is spared, by code of its tissue.
    """

    grades: Float[Array | np.ndarray, " 5"]
    spared: Float[Array | np.ndarray, " CODES"]


class Person(NamedTuple):
    """A person to be scanned; see `sample_person`.

    Attributes:
        key: Seed of all that stays the same from slice to slice and from visit to visit.
        wasting: 0 (healthy) to 1 (muscles shrunk by disease, all by some pixels).
        fractions: Fat fraction of every muscle of both limbs.
        shrunk: Share of its thickness that each of them has lost; around it lies fat.
    """

    key: PRNGKeyArray
    wasting: Float[Array, ""]
    fractions: Float[Array, "2 CODES"]
    shrunk: Float[Array, "2 CODES"]


def disease_of(region: str, severity: str) -> Disease:
    """Return the disease of a cohort.

    Args:
        region: "thigh" or "leg".
        severity: One of `SEVERITIES`.
    """
    spared = np.full(CODES, _SPARED, np.float32)
    for muscle in REGIONS[region].muscles:
        spared[muscle.number] = SPARED.get(muscle.abbreviation, _SPARED)
    return Disease(np.asarray(SEVERITIES[severity], np.float32), spared)


def sample_person(key: PRNGKeyArray, disease: Disease, atrophy: ArrayLike) -> Person:
    """Sample the effects of disease on a person.

    Args:
        key: Of the person.
        disease: Of the cohort.
        atrophy: How far muscles that fat replaces may shrink, 0 to 1.
    """
    # The sicker a cohort, the more muscle may have wasted away.
    sickness = jnp.clip((disease.grades * _WASTING).sum() * 2, 0, 1)
    wasting = sickness * Draws(folded(key, 4), 1).uniform()
    fractions = fat_fractions(key, disease)
    return Person(key, wasting, fractions, shrinkage(key, fractions, atrophy))


def fat_fractions(key: PRNGKeyArray, disease: Disease) -> Float[Array, "2 CODES"]:
    """Sample the fat fraction of every muscle of both limbs: alike on both sides, but for some."""
    draws = Draws(jax.random.split(jax.random.fold_in(key, 3), 6), 2 * CODES)
    # One person is of one severity, more or less, and disease chooses among the muscles.
    common = draws.uniform(0, 1, 1, 1)
    own = draws.uniform(0, 1, 2, CODES)
    own = own.at[1].set(jnp.where(draws.uniform(0, 1, CODES) < 0.7, own[0], own[1]))
    within_grade = draws.uniform(0, 1, 2, CODES)
    alike = draws.uniform(0.05, _ALIKE)
    rank = _rank(alike * common + (1 - alike) * own, alike)
    rank = jnp.where(draws.uniform(0, 1, CODES) < disease.spared, _SICKEST * rank, rank)
    grade = jnp.minimum((rank[..., None] > jnp.cumsum(disease.grades)).sum(-1), len(GRADES) - 1)
    low, high = jnp.asarray(GRADES)[grade].transpose(2, 0, 1)
    return low + (high - low) * within_grade


def shrinkage(
    key: PRNGKeyArray, fractions: Float[Array, "2 CODES"], atrophy: ArrayLike
) -> Float[Array, "2 CODES"]:
    """Sample the share of its thickness that each muscle has lost: the more fat, the more."""
    draws = Draws(folded(key, 7, 8), fractions.size)
    drive = draws.uniform(-_SIZE_KEPT, 1.0)
    own = draws.uniform(0, 1, *fractions.shape)
    most = jnp.maximum(drive, 0) * atrophy
    return most * own * jnp.minimum(0.25 + 1.5 * fractions, 1)


def _rank(mixed: Array, share: Array) -> Array:
    """Return the rank of a weighted mean of two uniform numbers, uniform again.

    Args:
        mixed: share * one + (1 - share) * another.
        share: Weight of the one.
    """
    less, more = jnp.minimum(share, 1 - share), jnp.maximum(share, 1 - share)
    low, high = mixed**2 / (2 * less * more), 1 - (1 - mixed) ** 2 / (2 * less * more)
    rank = jnp.select([mixed < less, mixed < more], [low, (mixed - less / 2) / more], high)
    return jnp.clip(rank, 0, 1)
