"""From tissues to water and fat, and from those to the signal of a gradient echo, and to others."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray, UInt8

from musclejax.phantom import tissues
from musclejax.phantom.disease import Person
from musclejax.phantom.draws import Draws, folded
from musclejax.phantom.tissues import CODES, FAT, GAP, MUSCLES, VESSEL

_GAPS_OF_FAT = 0.65
"""Share of visits in which the tissue between muscles is as bright as the fat under the skin, so
that the muscles' outlines alone separate them. Source: ours."""
_REGIONAL = 1.5
"""Largest spread of fat between the parts of a limb, in logits / 1.6. Source: ours."""
_SHEATHS = (-0.2, 0.9)
"""Least and greatest share of a border that connective tissue takes, by person; below 0 it is not
seen. Source: ours; in-phase images of severe disease show dark lines around muscles."""
_SHEATH_WATER = 0.2
"""Signal of connective tissue, whose T2* is short; 1 is muscle. Source: ours."""
_AROUND = [
    (round(radius * np.sin(angle)), round(radius * np.cos(angle)))
    for radius in (4, 9)
    for angle in np.arange(8) * np.pi / 4
]
"""Rows and columns from a pixel to those around it."""
_WATER, _FAT = (tissues.ranges(part) for part in ("water", "fat"))
_IS_MUSCLE = tissues.is_muscle(np.arange(CODES))


class Contrast(NamedTuple):
    """Shares of the kinds of images; the rest are gradient echoes of any phase.

    Attributes:
        out_of_phase: Water and fat opposed.
        in_phase: Water and fat added.
        random: Every tissue at random, as in SynthSeg (Billot et al. 2023).
        fat_only: Muscle dark.
        suppressed: Fat suppressed, more or less.
        fat: Least and greatest signal of fat that is not suppressed, relative to muscle; real
            scans have up to twice.
        flow: How much the signal of blood differs from vessel to vessel and within one.
    """

    out_of_phase: float = 0.35
    in_phase: float = 0.2
    random: float = 0.15
    fat_only: float = 0.04
    suppressed: float = 0.4
    fat: tuple[float, float] = (0.3, 2.1)
    flow: float = 1.0


NARROW = Contrast(out_of_phase=1.0, in_phase=0.0, random=0.0, fat_only=0.0)
"""Out of phase alone, to measure the value of variety."""
GRADIENT_ECHO = Contrast(random=0.0, fat_only=0.0, suppressed=0.0, fat=(1.1, 1.7), flow=0.0)
"""The paper's: TR 35 ms and a flip angle of 7 degrees give fat (T1 0.37 s at 3 T) 1.2 times the
signal of as many protons of muscle (1.4 s), and muscle has fewer and loses more by T2*."""


def _most(size: tuple[int, ...]) -> int:
    """Return how many numbers the finest `smooth` noise here takes."""
    return math.prod(max(2, n // 5) for n in size)


def smooth(draws: Draws, size: tuple[int, ...], rows: int, cols: int) -> Float[Array, "h w"]:
    """Return smooth noise of about unit scale, `rows` by `cols` bumps, by one key."""
    small = draws.normal(max(2, rows), max(2, cols))
    return jax.image.resize(small, size, "cubic")


def water_and_fat(
    scene: UInt8[Array, "h w"],
    person: Person,
    texture: PRNGKeyArray,
    visit: PRNGKeyArray,
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Return the amounts of water and fat of every pixel.

    Args:
        scene: From `scene.compose`.
        person: Owner of the limbs: the fat of each muscle, and its pattern.
        texture: Key of the slice of that person: the places of fat in a muscle.
        visit: Key of the visit: all other differences from scan to scan.
    """
    size = scene.shape
    draws = Draws(jax.random.split(texture, 16), _most(size))
    tables = _tables(jax.random.fold_in(visit, 1), person.fractions)
    water, fat = (jnp.take(table.ravel(), scene.astype(jnp.int32)) for table in tables)
    code = scene % CODES
    muscle = jnp.asarray(_IS_MUSCLE)[code]
    streaky = _streaks(draws.key(), size)
    spread, finer = draws.uniform(jnp.array([0.3, 0]), 1, 2)
    patches = smooth(draws, size, size[0] // 18, size[1] // 18)
    fine = smooth(draws, size, size[0] // 5, size[1] // 5)
    pattern = spread * (0.6 * streaky + 0.6 * patches) + 0.5 * finer * fine
    pattern = pattern + jnp.minimum(5 * fat, 1) * _advanced(scene, person, draws, fine, patches)
    # More fat in some places and less in others, at about the same mean.
    logit = jnp.log(jnp.clip(fat, 0.005, 0.97)) - jnp.log1p(-jnp.clip(fat, 0.005, 0.97))
    mottled = jax.nn.sigmoid(logit + 1.6 * pattern)
    line = _septa(scene, muscle, draws)
    inside = jnp.clip(mottled + line * (1 - mottled), 0, 1)
    web = jnp.exp(-((smooth(draws, size, size[0] // 11, size[1] // 11) / 0.15) ** 2))
    thin = 1 - jnp.where(code == FAT, 0.3 * finer * web, 0)
    healthy = 1 + 0.05 * fine
    water = jnp.where(muscle, water * healthy * (1 - inside), water)
    fat = jnp.where(muscle, inside, fat * thin)
    sheath = _sheaths(scene, muscle, person, draws)
    return water * (1 - sheath) + _SHEATH_WATER * sheath, fat * (1 - sheath)


def _sheaths(scene: Array, muscle: Array, person: Person, draws: Draws) -> Array:
    """Return the share of connective tissue in lines around muscles, clearer in some places."""
    least, most = _SHEATHS
    seen = Draws(folded(person.key, 9), 1).uniform(least, most)
    across, down = _borders(scene, muscle, jnp.logical_or)
    clear = 0.7 + 0.5 * smooth(draws, scene.shape, scene.shape[0] // 14, scene.shape[1] // 14)
    return jnp.clip((across | down) * clear * jnp.maximum(seen, 0), 0, 0.9)


def _advanced(scene: Array, person: Person, draws: Draws, fine: Array, patches: Array) -> Array:
    """Return the change of the pattern of fat in muscle by advanced disease."""
    size = scene.shape
    # Strands and patches of either, with sharp borders.
    drawn_out, winding = draws.uniform() < 0.5, draws.key()
    round_ones = smooth(Draws(winding[None], _most(size)), size, size[0] // 7, size[1] // 7)
    winding = jnp.where(drawn_out, _streaks(winding, size), round_ones)
    strands = 2 * jnp.exp(-((winding / 0.4) ** 2)) - 0.8
    distinct = 2 * draws.uniform() ** 1.5
    # Some muscles waste from the rim, and some from within.
    own = Draws(folded(person.key, 5, 6), 2 * CODES)
    rims = 2 * own.normal(2 * CODES)
    rim = jnp.take(rims, scene.astype(jnp.int32)) * (_within(scene) - 0.6)
    # Disease takes one part of a limb before another, whatever muscle is there.
    regional = smooth(draws, size, size[0] // 60, size[1] // 60)
    part = _REGIONAL * own.uniform()
    return distinct * (0.7 * strands + 0.6 * fine + 0.6 * patches) + rim + part * regional


def _tables(key: PRNGKeyArray, fractions: Array) -> tuple[Array, Array]:
    """Sample water and fat of every code of both limbs; muscle's fat is its fraction."""
    draws = Draws(jax.random.split(key, 4), CODES)
    water, fat = (draws.uniform(r[:, 0], r[:, 1], CODES) for r in (_WATER, _FAT))
    gaps_of_fat = draws.uniform() < _GAPS_OF_FAT
    almost = draws.uniform(0.85, 1.0)
    water = water.at[GAP].set(jnp.where(gaps_of_fat, water[FAT], water[GAP]))
    fat = fat.at[GAP].set(jnp.where(gaps_of_fat, almost * fat[FAT], fat[GAP]))
    both = jnp.stack([water, water]), jnp.stack([fat, fat])
    return both[0], jnp.where(jnp.asarray(_IS_MUSCLE), fractions, both[1])


def _streaks(key: PRNGKeyArray, size: tuple[int, ...]) -> Array:
    """Return noise drawn out along one of two directions, which takes turns from place to place."""
    draws = Draws(jax.random.split(key, 3), _most(size))
    down = smooth(draws, size, size[0] // 4, size[1] // 16)
    across = smooth(draws, size, size[0] // 16, size[1] // 4)
    turn = jax.nn.sigmoid(4 * smooth(draws, size, size[0] // 60, size[1] // 60))
    return turn * down + (1 - turn) * across


def _within(scene: Array) -> Array:
    """Return the share of a pixel's surroundings that is of its own tissue."""
    same = [(jnp.roll(scene, shift, (0, 1)) == scene).astype(jnp.float32) for shift in _AROUND]
    return sum(same, start=jnp.zeros(scene.shape)) / len(same)


def _borders(
    scene: Array, muscle: Array, which: Callable[[Array, Array], Array]
) -> tuple[Array, Array]:
    """Return where tissue differs from that above and on the left, if `which` are muscle."""
    across, down = (
        (scene != jnp.roll(scene, 1, axis)) & which(muscle, jnp.roll(muscle, 1, axis))
        for axis in (0, 1)
    )
    return across, down


def _septa(scene: Array, muscle: Array, draws: Draws) -> Array:
    """Return the share of fat in thin lines: between muscles, mostly clear; within, short."""
    size = scene.shape
    seen, within = draws.uniform(jnp.array([0.35, -0.4]), 1, 2)
    across, down = _borders(scene, muscle, jnp.logical_and)
    border = across.astype(jnp.float32) + down
    clear = jnp.clip(0.8 + 0.6 * smooth(draws, size, size[0] // 14, size[1] // 14), 0, 1)
    crease = jnp.exp(-((smooth(draws, size, size[0] // 10, size[1] // 10) / 0.1) ** 2))
    short = crease * jnp.clip(smooth(draws, size, size[0] // 7, size[1] // 7), 0, 1)
    lines = border * clear * seen + jnp.clip(within, 0, 1) * short * muscle
    return jnp.clip(lines, 0, 0.9)


def signal(
    water: Float[Array, "h w"],
    fat: Float[Array, "h w"],
    scene: UInt8[Array, "h w"],
    visit: PRNGKeyArray,
    contrast: Contrast,
) -> Complex[Array, "h w"]:
    """Return the complex signal of an image of random contrast; 1 is about healthy muscle.

    |water + fat exp(i phi)| with phi = 2 pi TE / 2.3 ms at 3 T: pi is out of phase.
    """
    draws = Draws(jax.random.split(jax.random.fold_in(visit, 2), 8), 2 * CODES)
    kind, weak, free, angle = draws.uniform(0, 1, 4)
    bounds = contrast.out_of_phase, contrast.out_of_phase + contrast.in_phase
    phase = jnp.select([kind < bounds[0], kind < bounds[1]], [jnp.pi, 0.0], 2 * jnp.pi * angle)
    least, most = contrast.fat
    size = scene.shape
    pulse = smooth(Draws(folded(visit, 4), _most(size)), size, size[0] // 5, size[1] // 5)
    water = jnp.where(scene % CODES == VESSEL, water * jnp.exp(0.7 * contrast.flow * pulse), water)
    strength = least + (most - least) * free
    strength = jnp.where(weak < contrast.suppressed, 0.08 * 12.5**free, strength)
    dark = draws.uniform() < contrast.fat_only
    echo = jnp.where(dark, 0.1, 1.0) * water + strength * fat * jnp.exp(1j * phase)
    values = draws.uniform(0.05, 1.3, 2 * CODES)
    own = jnp.where(jnp.arange(CODES) <= MUSCLES, 0.05, 0.15) * draws.normal(CODES)
    values = jnp.where(jnp.asarray(_IS_MUSCLE), values[1] * (1 + own), values[:CODES])
    gap = jnp.where(draws.uniform() < _GAPS_OF_FAT, values[FAT], values[GAP])
    values = values.at[jnp.array([0, GAP])].set(jnp.array([0, gap]))
    painted = jnp.take(values, (scene % CODES).astype(jnp.int32))
    infiltrated = painted * water + values[FAT] * fat
    tinted = jnp.where(jnp.asarray(_IS_MUSCLE)[scene % CODES], infiltrated, painted)
    is_random = draws.uniform() < contrast.random
    return jnp.where(is_random, tinted.astype(jnp.complex64), echo)
