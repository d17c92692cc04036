"""A slice through one or both limbs: tissues on the model grid."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, UInt8

from musclejax.phantom.disease import Person
from musclejax.phantom.draws import Draws, folded
from musclejax.phantom.shape import LIMB_PX, deform, sample_shape
from musclejax.phantom.templates import Tiles
from musclejax.phantom.tissues import CODES

_FAT_PX = ((2, 6), (6, 20), (20, 45))
_FAT_SHARES = (0.5, 0.88, 1.0)
"""Ranges of the thickness of the fat under the skin, and shares of people up to each range. Source:
ours; the real scans have 4 to 60 mm."""


class Limbs(NamedTuple):
    """Variation of limbs, from person to person and between the two of a scan.

    Attributes:
        deformation: 1 is the usual, 0 none.
        other_person: Share of scans whose two limbs start from templates of two people.
        alike: Share of people whose limbs differ by their templates alone, not in size and shape.
        alone: Share of scans that show one limb only.
        framed: 1: such a limb is a right one in the middle, as the level network sees limbs.
        atrophy: How far fat-replaced muscles may shrink within their old borders, 0 to 1.
        cutting: Share of limbs whose femoral vessels cut into the muscles around them. In the rest
            muscles give way, as real ones do; but networks learn more from muscles that are cut.
    """

    deformation: float = 1.0
    other_person: float = 0.3
    alike: float = 0.5
    alone: float = 0.12
    framed: float = 0.0
    atrophy: float = 0.9
    cutting: float = 0.5


def compose(
    pair: Tiles,
    person: Person,
    visit: PRNGKeyArray,
    height: ArrayLike,
    size: tuple[int, int],
    how: Limbs,
) -> UInt8[Array, "h w"]:
    """Return the tissues of a slice, in radiological view; the left limb's are `CODES` higher.

    Args:
        pair: Template of the right and of the left limb.
        person: Person to scan.
        visit: Key of the visit: the position of the limbs.
        height: Relative: 0 (knee or ankle) to 1.
        size: Height and width of the slice.
        how: Variation of the limbs.
    """
    limbs = _limbs(pair, person, height, how)
    return _place(limbs, visit, size, how)


def _limbs(pair: Tiles, person: Person, height: ArrayLike, how: Limbs) -> list[Array]:
    body, alike = jax.random.split(jax.random.fold_in(person.key, 0))
    draws = Draws(jnp.stack([body, alike]), 2)
    share, which = draws.uniform(0, 1, 2)
    low, high = jnp.select([which < shares for shares in _FAT_SHARES], list(jnp.array(_FAT_PX)))
    fat_px = low + (high - low) * share
    keys = folded(person.key, 1, 2)
    twin = draws.uniform() < how.alike
    same = jax.random.wrap_key_data(
        jnp.where(twin, jax.random.key_data(keys[0]), jax.random.key_data(keys[1]))
    )

    def limb(one: tuple[Tiles, Array, Array]) -> Array:
        template, data, shrunk = one
        key = jax.random.wrap_key_data(data)
        shape = sample_shape(key, fat_px, how.deformation, person.wasting, how.cutting)
        return deform(template, shape, shrunk, height)

    # One after the other: XLA compiles what they have in common once.
    data = jnp.stack([jax.random.key_data(key) for key in (keys[0], same)])
    right, left = jax.lax.map(limb, (Tiles(*map(jnp.asarray, pair)), data, person.shrunk))
    return [right, jnp.where(left > 0, left + CODES, 0)[:, ::-1]]


def _place(limbs: list[Array], visit: PRNGKeyArray, size: tuple[int, int], how: Limbs) -> Array:
    """Lay the limbs side by side, or one of them alone."""
    height, width = size
    draws = Draws(jax.random.split(visit, 8), 3)
    extents = [_extent(limb) for limb in limbs]
    spread = sum(last - first for first, last in extents)
    close, apart, choice = draws.uniform(0, 1, 3)
    gap = jnp.where(choice < 0.5, -3 + 18 * close, 60 * apart)
    gap = jnp.clip(gap, -3, jnp.maximum(width - 6 - spread, -3))
    drift = draws.normal(2) * jnp.array([0.06 * height, 0.03 * width])
    alone = draws.uniform() < how.alone
    framed = alone & (how.framed > 0)
    hidden = jnp.where(alone, (draws.uniform() < 0.5).astype(jnp.int32), -1)
    hidden = jnp.where(framed, 1, hidden)
    # A limb that is scanned alone may lie anywhere, often in the middle.
    inwards = jnp.where(hidden == 0, -1, 1) * width / 4 * jnp.minimum(1.5 * apart, 1)
    begin = (width - spread - gap) / 2 + drift[1] + jnp.where(alone, inwards, 0)
    top = (height - LIMB_PX) / 2 + drift[0] + 4 * draws.normal(2)
    own = extents[0][1] - extents[0][0]
    left = jnp.array([begin, begin + own + gap])
    left = jnp.where(framed, (width - own) / 2 + 0.3 * drift[1], left)
    left = left - jnp.array([first for first, _ in extents])
    canvas = jnp.zeros((height + 2 * LIMB_PX, width + 2 * LIMB_PX), jnp.uint8)
    for side, limb in enumerate(limbs):
        limb = jnp.where(hidden == side, 0, limb)
        corner = [(LIMB_PX + x[side]).astype(jnp.int32) for x in (top, left)]
        there = jax.lax.dynamic_slice(canvas, corner, limb.shape)
        canvas = jax.lax.dynamic_update_slice(canvas, jnp.where(there > 0, there, limb), corner)
    return canvas[LIMB_PX:-LIMB_PX, LIMB_PX:-LIMB_PX]


def _extent(limb: Array) -> tuple[Array, Array]:
    """Return the first column that shows the limb, and the one after the last."""
    seen = (limb > 0).any(0)
    return jnp.argmax(seen), limb.shape[1] - jnp.argmax(seen[::-1])
