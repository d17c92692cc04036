"""One synthetic slice: a function of keys alone, compiled once for a size, in two parts."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from musclejax.data.dataset import IGNORE
from musclejax.phantom.disease import Disease, sample_person
from musclejax.phantom.scanner import Scanner, scan
from musclejax.phantom.scene import Limbs, compose
from musclejax.phantom.signal import Contrast, signal, water_and_fat
from musclejax.phantom.templates import Tiles
from musclejax.phantom.tissues import CODES, MUSCLES, UNKNOWN


class Settings(NamedTuple):
    """Settings; only the size is fixed while compiled.

    Attributes:
        size: Height and width of a slice.
        limbs: Variation of limbs.
        scanner: Amounts of the scanner's effects.
        contrast: Kinds of images.
    """

    size: tuple[int, int] = (432, 432)
    limbs: Limbs = Limbs()
    scanner: Scanner = Scanner()
    contrast: Contrast = Contrast()


class Keys(NamedTuple):
    """Random keys of a slice.

    Attributes:
        person: The same for all slices and visits of a person.
        visit: The same for all slices of a scan.
        texture: The same for one slice of a person at every visit: the places of fat in a muscle.
        noise: Of this slice alone.
    """

    person: PRNGKeyArray
    visit: PRNGKeyArray
    texture: PRNGKeyArray
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
    """Tissues, water and fat of a slice.

    Attributes:
        scene: Tissues, from `scene.compose`.
        water: Of every pixel.
        fat: The same.
    """

    scene: UInt8[Array, "h w"]
    water: Float[Array, "h w"]
    fat: Float[Array, "h w"]


def sample_slice(
    pair: Tiles,
    height: ArrayLike,
    keys: Keys,
    disease: Disease,
    settings: Settings,
) -> Sample:
    """Sample a slice.

    Args:
        pair: Template of the right and of the left limb, from `templates.choose`; they may be of
            two people.
        height: Relative: 0 (knee or ankle) to 1.
        keys: Random keys.
        disease: Of the cohort.
        settings: Size and ranges.
    """
    return sample_with_contents(pair, height, keys, disease, settings)[0]


def sample_with_contents(
    pair: Tiles,
    height: ArrayLike,
    keys: Keys,
    disease: Disease,
    settings: Settings,
) -> tuple[Sample, Contents]:
    """Sample a slice, as `sample_slice`, and return what it shows too."""
    # Compiled as one, XLA computes water and fat anew for each of their uses: a quarter slower. The
    # templates are chosen outside: all groups and regions share what is compiled for a size.
    contents = _fill(pair, height, keys, disease, settings.limbs, settings.size)
    return _picture(contents, keys, settings.contrast, settings.scanner), contents


@partial(jax.jit, static_argnames="size")
def _fill(
    pair: Tiles,
    height: ArrayLike,
    keys: Keys,
    disease: Disease,
    limbs: Limbs,
    size: tuple[int, int],
) -> Contents:
    person = sample_person(keys.person, disease, limbs.atrophy)
    scene = compose(pair, person, keys.visit, height, size, limbs)
    return Contents(scene, *water_and_fat(scene, person, keys.texture, keys.visit))


@jax.jit
def _picture(contents: Contents, keys: Keys, contrast: Contrast, scanner: Scanner) -> Sample:
    scene, water, fat = contents
    emitted = signal(water, fat, scene, keys.visit, contrast)
    image = scan(emitted, keys.visit, keys.noise, scanner)
    code = scene % CODES
    labels = jnp.where(code <= MUSCLES, code, jnp.where(code == UNKNOWN, IGNORE, 0))
    return Sample(image, labels.astype(jnp.uint8))
