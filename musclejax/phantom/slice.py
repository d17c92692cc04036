"""One synthetic slice: a function of keys alone, compiled once for a size, in two parts."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from musclejax.phantom.disease import Disease, draw_person
from musclejax.phantom.scanner import Scanner, scan
from musclejax.phantom.scene import Limbs, compose
from musclejax.phantom.signal import Contrast, signal, water_and_fat
from musclejax.phantom.templates import Tiles
from musclejax.phantom.tissues import CODES, MUSCLES, UNKNOWN

IGNORE = 255
"""Label of what is not known; as `data.dataset.IGNORE`."""


class Settings(NamedTuple):
    """What is fixed while compiled.

    Attributes:
        size: Height and width of a slice; multiples are the network's affair.
        limbs: How much they vary.
        scanner: What it adds.
        contrast: Which kinds of images.
    """

    size: tuple[int, int] = (432, 432)
    limbs: Limbs = Limbs()
    scanner: Scanner = Scanner()
    contrast: Contrast = Contrast()


class Keys(NamedTuple):
    """What decides a slice.

    Attributes:
        person: The same for all slices and visits of a person.
        visit: The same for all slices of a scan.
        level: The same for a level of a person: where in a muscle the fat is.
        noise: Of this slice alone.
    """

    person: PRNGKeyArray
    visit: PRNGKeyArray
    level: PRNGKeyArray
    noise: PRNGKeyArray


class Sample(NamedTuple):
    """A synthetic slice in radiological view.

    Attributes:
        image: Magnitude; healthy muscle is about 1 in most contrasts.
        labels: Muscles of the region, 0, or `IGNORE`.
    """

    image: Float[Array, "h w"]
    labels: UInt8[Array, "h w"]


class Contents(NamedTuple):
    """What a slice shows.

    Attributes:
        scene: Tissues, from `scene.compose`.
        water: Of every pixel.
        fat: The same.
    """

    scene: UInt8[Array, "h w"]
    water: Float[Array, "h w"]
    fat: Float[Array, "h w"]


def draw_slice(
    tiles: Tiles,
    chosen: Int[Array | np.ndarray, " 2"],
    level: ArrayLike,
    keys: Keys,
    disease: Disease,
    settings: Settings,
) -> Sample:
    """Draw a slice.

    Args:
        tiles: Templates of a region.
        chosen: Template of the right and of the left limb; may be of two people.
        level: 0 (knee or ankle) to 1.
        keys: What decides it.
        disease: Of the cohort.
        settings: What is fixed.
    """
    # Compiled as one, XLA computes water and fat anew for each of their uses: a quarter slower.
    contents = _fill(tiles, chosen, level, keys, disease, settings)
    return _picture(contents, keys, settings)


@partial(jax.jit, static_argnames="settings")
def _fill(
    tiles: Tiles,
    chosen: Int[Array | np.ndarray, " 2"],
    level: ArrayLike,
    keys: Keys,
    disease: Disease,
    settings: Settings,
) -> Contents:
    person = draw_person(keys.person, disease, settings.limbs.atrophy)
    scene = compose(tiles, chosen, person, keys.visit, level, settings.size, settings.limbs)
    return Contents(scene, *water_and_fat(scene, person, keys.level, keys.visit))


@partial(jax.jit, static_argnames="settings")
def _picture(contents: Contents, keys: Keys, settings: Settings) -> Sample:
    scene, water, fat = contents
    emitted = signal(water, fat, scene, keys.visit, settings.contrast)
    image = scan(emitted, keys.visit, keys.noise, settings.scanner)
    code = scene % CODES
    labels = jnp.where(code <= MUSCLES, code, jnp.where(code == UNKNOWN, IGNORE, 0))
    return Sample(image, labels.astype(jnp.uint8))
