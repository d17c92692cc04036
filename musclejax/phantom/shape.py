"""The shape of a limb: a template, deformed, with bone, fat and skin of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from musclejax.phantom.draws import Draws
from musclejax.phantom.templates import DEPTH_STEP, OUTSIDE_STEP, Tiles
from musclejax.phantom.tissues import (
    CODES,
    CORTEX,
    FAT,
    FEMORAL,
    GAP,
    MARROW,
    MUSCLES,
    SKIN,
    SPONGY,
    VESSEL,
    is_muscle,
)

LIMB_PX = 256
"""Height and width of the tile that a deformed limb lies on."""
FIELDS = ((4, 4.0), (7, 1.8), (14, 0.6))
"""Smooth displacements: bumps across the tile, and their size in pixels; together they never fold
the plane. Source: ours."""
VESSELS = 24
"""Small ones, anywhere in the fat of the tile, of which a limb is a part."""
BUNDLE = 3
"""Large ones, about the middle of a template's vessels."""
_SLANT = 0.35
"""Vessels that run at a slant are longer than disks and narrower: spread of the logarithm. Source:
ours; the popliteal vessels of real scans are up to twice as long as wide."""
_CANAL = (0.3, 0.85)
_CANAL_PX = 9.0
"""How much the canal of the femoral vessels widens at its center, as a share, and how far
muscles give way. Source: ours; a template's has a radius of 3 pixels, real ones have up to 8."""
_RIM_PX = (0.0, 2.5)
"""Width of the fat around femoral vessels that cut into muscles. Source: ours."""
_GROWTH = (0.05, 0.3)
"""How much the sizes of a limb's muscles differ from their template's, as a share of their radii:
disease leaves some large beside wasted ones. Source: ours."""
_THIN_PX = 1.5
"""Thickness of the cortex of spongy bones."""
_COARSE_STEP = 4


class Shape(NamedTuple):
    """Differences of one limb of one person from its template; from `sample_shape`."""

    affine: Float[Array, "2 2"]
    growth: Float[Array, " 13"]
    erosion: Float[Array, " 32"]
    closing: Array
    cortex: Array
    fat: Array
    ripple: Float[Array, "3 2"]
    skin: Array
    fields: tuple[Float[Array, "2 2 n n"], ...]
    vessels: Float[Array, "v 5"]
    bundle: Float[Array, "b 5"]
    canal: Array
    rim: Array


def sample_shape(
    key: PRNGKeyArray,
    fat_px: ArrayLike,
    amount: ArrayLike,
    wasting: ArrayLike,
    cutting: ArrayLike = 0.0,
) -> Shape:
    """Sample the shape of a limb.

    Args:
        key: Of the limb.
        fat_px: Thickness of the fat under the skin of this person.
        amount: Of deformation: 1 is the usual, 0 none.
        wasting: 0 (healthy) to 1: how much muscles may have shrunk.
        cutting: Share of limbs whose femoral vessels cut into the muscles around them.
    """
    draws = Draws(jax.random.split(key, 32), most=4 * max(cells for cells, _ in FIELDS) ** 2)
    normal, uniform = draws.normal, draws.uniform

    def vessels(places: Array, radii: Array) -> Array:
        slant = jnp.exp(_SLANT * normal(len(places), 1))
        return jnp.concatenate([places, radii, slant, uniform(0, jnp.pi, len(places), 1)], 1)

    angle, size, stretch, shear = normal(4) * jnp.array([0.22, 0.1, 0.06, 0.05]) * amount
    rotation = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    scaling = jnp.diag(jnp.exp(-size + jnp.array([-1, 1]) * stretch))
    shrunk = 4 * jnp.asarray(wasting) * uniform(0, 1, 32) ** 2
    return Shape(
        affine=scaling @ rotation + jnp.array([[0, 0], [1, 0]]) * shear,
        growth=normal(MUSCLES + 1) * uniform(*_GROWTH) * amount,
        erosion=shrunk + uniform(0, 0.7),
        closing=jax.random.choice(draws.key(), jnp.array([0.0, 1.5, 2.5, 4.0])) * (1 - wasting),
        cortex=uniform(2, 6),
        fat=jnp.asarray(fat_px) * jnp.exp(0.15 * normal()),
        ripple=jnp.stack([0.25 * normal(3), uniform(0, 2 * jnp.pi, 3)], 1),
        skin=uniform(1, 2.2),
        fields=tuple(
            jnp.asarray(amount * sigma) * uniform(0.2, 1) * normal(2, 2, cells, cells)
            for cells, sigma in FIELDS
        ),
        vessels=vessels(uniform(0, LIMB_PX, VESSELS, 2), uniform(0.7, 3.5, VESSELS, 1)),
        bundle=vessels(4 * normal(BUNDLE, 2), uniform(1, 6.5, BUNDLE, 1)),
        canal=uniform(*_CANAL) * jnp.minimum(amount, 1),
        rim=jnp.where(uniform(0, 1) < cutting, uniform(*_RIM_PX), -jnp.inf),  # or no disk at all
    )


def deform(
    template: Tiles,
    shape: Shape,
    shrunk: Float[Array, " 32"],
    height: ArrayLike,
) -> UInt8[Array, "LIMB_PX LIMB_PX"]:
    """Return the tissues of a limb; it looks like a right one.

    Args:
        template: One template.
        shape: Its deformation.
        shrunk: Share of its thickness that each muscle has lost, by code of its tissue.
        height: Relative: 0 (knee or ankle) to 1. Smooth displacements change from end to end.
    """
    place = _places(1)
    theta = jnp.arctan2(place[..., 0], place[..., 1])
    tile = jnp.array(template.packed.shape)
    source = place @ shape.affine.T + tile / 2 + _displacement(template, shape, height)
    rows, cols = jnp.clip(jnp.round(source).astype(jnp.int32), 0, tile - 1).transpose(2, 0, 1)
    found = template.packed[rows, cols]
    inside = ((source >= 0) & (source < tile)).all(-1)
    layers = [(found >> (8 * n)) & 255 for n in range(4)]
    tissue, nearest = (layer.astype(jnp.uint8) for layer in layers[:2])
    depth = DEPTH_STEP * (layers[2].astype(jnp.float32) - 128)
    outside = OUTSIDE_STEP * layers[3].astype(jnp.float32)
    tissue = jnp.where(inside, tissue, 0)
    outside = jnp.where(inside, outside, 255 * OUTSIDE_STEP)
    erosion = shape.erosion + shrunk * _half_thickness(tissue, depth)
    tissue = _resize_muscles(tissue, nearest, depth, erosion - shape.closing)
    cortex = jnp.where(tissue == MARROW, shape.cortex, jnp.where(tissue == SPONGY, _THIN_PX, 0))
    tissue = jnp.where((cortex > 0) & (depth < cortex), CORTEX, tissue)
    return _clothe(tissue, outside, theta, shape, place + LIMB_PX / 2)


def _places(step: int) -> Float[Array, "n n 2"]:
    """Return the centers of squares of `step` pixels, from the middle of the limb's tile."""
    centers = (jnp.arange(LIMB_PX // step) + 0.5) * step - 0.5 - LIMB_PX / 2
    return jnp.stack(jnp.meshgrid(centers, centers, indexing="ij"), -1)


def _displacement(
    template: Tiles, shape: Shape, height: ArrayLike
) -> Float[Array, "LIMB_PX LIMB_PX 2"]:
    """Return how far from the affine image of a pixel its source lies.

    Computed for every fourth pixel, which is a tenth of the work, and interpolated: it is smooth.
    """
    count = LIMB_PX // _COARSE_STEP
    begin = _places(_COARSE_STEP) @ shape.affine.T + jnp.array(template.packed.shape) / 2
    source = begin
    for ends in shape.fields:
        mixed = (1 - height) * ends[0] + height * ends[1]
        mixed = mixed / jnp.sqrt((1 - height) ** 2 + height**2)
        source = source + jnp.moveaxis(jax.image.resize(mixed, (2, count, count), "cubic"), 0, -1)
    source = _widen(_grow(source, template, shape.growth), template, shape.canal)
    return jax.image.resize(source - begin, (LIMB_PX, LIMB_PX, 2), "linear")


def _grow(source: Array, template: Tiles, growth: Array) -> Array:
    """Let muscles swell or shrink about their centers, and their neighbors give way."""
    for label in range(1, MUSCLES + 1):
        size = template.sizes[label]
        swelling = jnp.where(size > 0, growth[label], 0)
        source = _swell(source, template.centers[label], jnp.maximum(size, 1), swelling)
    return source


def _widen(source: Array, template: Tiles, canal: Array) -> Array:
    """Let the canal of the femoral vessels widen, and muscles give way."""
    there = template.packed & 255 == FEMORAL
    rows, cols = (jnp.arange(size) for size in there.shape)
    count = jnp.maximum(there.sum(), 1)
    center = jnp.stack([(there.sum(1) * rows).sum(), (there.sum(0) * cols).sum()]) / count
    return _swell(source, center, _CANAL_PX, jnp.where(there.any(), canal, 0))


def _swell(source: Array, center: Array, reach: ArrayLike, share: Array) -> Array:
    """Let the surroundings of a center swell by a share there, and less with distance."""
    away = source - center
    near = jnp.exp(-(away**2).sum(-1) / (2 * reach**2))
    return source - share * near[..., None] * away


def _half_thickness(tissue: Array, depth: Array) -> Array:
    """Return half of each muscle's thickness in pixels, by code; of a disk, two thirds of it."""
    sizes = jnp.zeros(CODES)
    for label in range(1, MUSCLES + 1):
        there = tissue == label
        mean = jnp.where(there, depth, 0).sum() / jnp.maximum(there.sum(), 1)
        sizes = sizes.at[label].set(2 * mean)
    return sizes


def _resize_muscles(tissue: Array, nearest: Array, depth: Array, erosion: Array) -> Array:
    """Let muscles grow into gaps, as in a lean limb, or waste from their borders inwards.

    One border moves, by the difference of both. If gaps were closed first and borders wasted then,
    a ring would stay behind around the wasted muscle where a gap had been closed.
    """
    gap = tissue == GAP
    inwards = erosion[jnp.where(gap, nearest, tissue)]
    wasted = is_muscle(tissue) & (depth >= 0) & (depth < inwards - 0.5)
    return jnp.where(wasted, GAP, jnp.where(gap & (-depth < -inwards), nearest, tissue))


def _clothe(tissue: Array, outside: Array, theta: Array, shape: Shape, place: Array) -> Array:
    """Add fat under the skin, skin and vessels."""
    angles = theta[..., None] * jnp.arange(1, 4) + shape.ripple[:, 1]
    thickness = shape.fat * jnp.clip(1 + (jnp.cos(angles) * shape.ripple[:, 0]).sum(-1), 0.4, 2)
    beyond = outside - thickness
    tissue = jnp.where((tissue == 0) & (beyond < 0), FAT, tissue)
    tissue = jnp.where((tissue == 0) & (beyond < shape.skin), SKIN, tissue)
    femoral = tissue == FEMORAL
    there = femoral | (tissue == VESSEL)
    middle = (place * there[..., None]).sum((0, 1)) / jnp.maximum(there.sum(), 1)
    bundle = shape.bundle.at[:, :2].add(middle).at[:, 2].multiply(there.any())
    cut = femoral.any() & is_muscle(tissue) & _covered(bundle, shape.rim)
    tissue = jnp.where(cut | femoral, GAP, tissue)
    spot = _covered(jnp.concatenate([shape.vessels, bundle]), 0)
    spot &= (tissue == GAP) | (tissue == FAT)
    return jnp.where(spot, VESSEL, tissue).astype(jnp.uint8)


def _covered(vessels: Float[Array, "v 5"], rim: ArrayLike) -> Bool[Array, "h w"]:
    """Return which pixels lie in vessels (row, column, radius, slant and its angle), or in rims."""
    row, column, radius, slant, angle = vessels.T
    down = (jnp.arange(LIMB_PX)[:, None] - row)[:, None]
    across = jnp.arange(LIMB_PX)[:, None] - column
    along = (down * jnp.cos(angle) + across * jnp.sin(angle)) / slant
    aside = (across * jnp.cos(angle) - down * jnp.sin(angle)) * slant
    return (along**2 + aside**2 < jnp.maximum(radius + rim, 0) ** 2).any(-1)
