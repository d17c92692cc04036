"""The paper's transformations as one jitted function: all displacements, then one resampling.

The steps, in the paper's order: each limb is translated, each limb is rotated, a grid of points is
moved, a smooth random field is added. An output pixel is traced back through them in reverse
(elastic, piecewise, limb), and the image is read there by a cubic B-spline, the labels by their
nearest pixel. `augment_imgaug` does the same step by step with imgaug.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from musclejax.data.bspline import interpolate

_TRUNCATE = 1.3
"""The elastic kernel ends at this many standard deviations. Source: imgaug 0.4.0, whose kernel is
2.6 standard deviations wide in the paper's range."""


class Limbs(NamedTuple):
    """Where the limbs are on a slice, in pixels of the model grid.

    Attributes:
        split: Columns left of it show the patient's right limb; -1 if one limb is in view.
        boxes: First and last row, first and last column of the right and of the left limb; a
            limb that is not in view has NaN.
        origin: First row and column of the window that is trained on.
    """

    split: Float[Array | np.ndarray, "*n"]
    boxes: Float[Array | np.ndarray, "*n 2 4"]
    origin: Float[Array | np.ndarray, "*n 2"]


class Augmentation(NamedTuple):
    """Ranges and switches; hashable, fixed while compiled. See `config.augment`."""

    enabled: bool
    size: tuple[int, int]
    probability: float = 0.5
    rotation_deg: float = 7.0
    piecewise_points: int = 4
    piecewise_scale: tuple[float, float] = (0.001, 0.01)
    elastic_strength_px: tuple[float, float] = (0.0, 20.0)
    elastic_sigma_px: tuple[float, float] = (5.0, 10.0)


class Motion(NamedTuple):
    """One sample of all random quantities, in pixels and radians, as motion of the tissue.

    Attributes:
        shift: Rows and columns by which the right and the left limb move.
        angle: Rotation of each.
        nodes: Displacement of the grid points, as an output point sees it.
        field: Displacement of every output pixel.
    """

    shift: Float[Array, "2 2"]
    angle: Float[Array, "2"]
    nodes: Float[Array, "p p 2"]
    field: Float[Array, "2 h w"]


def augmentation(config: ConfigDict, *, enabled: bool) -> Augmentation:
    """Return the ranges of a configuration.

    Args:
        config: As in `musclejax.config.default_config`.
        enabled: With False the window is cut out and nothing is moved.
    """
    ranges = {k: config.augment[k] for k in Augmentation._fields[2:]}
    return Augmentation(enabled, tuple(config.data.crop_px), **ranges)


def augment(
    key: PRNGKeyArray,
    coefficients: Float[Array, "rr cc"],
    labels: UInt8[Array, "r c"],
    limbs: Limbs,
    settings: Augmentation,
) -> tuple[Float[Array, "h w"], UInt8[Array, "h w"]]:
    """Return one augmented slice and its labels.

    Args:
        key: Source of all randomness.
        coefficients: Of the image, from `bspline.to_coefficients`.
        labels: Label numbers.
        limbs: Where the limbs are.
        settings: Ranges; `settings.size` is the shape of the result.

    Source: paper, "Preprocessing and data augmentation".
    """
    rows, columns = positions(sample_motion(key, limbs, settings), limbs, settings)
    image = interpolate(coefficients, rows, columns)
    height, width = labels.shape
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    row = jnp.clip(jnp.round(rows), 0, height - 1).astype(jnp.int32)
    column = jnp.clip(jnp.round(columns), 0, width - 1).astype(jnp.int32)
    return image, jnp.where(inside, labels[row, column], 0)


def sample_motion(key: PRNGKeyArray, limbs: Limbs, settings: Augmentation) -> Motion:
    """Sample the random quantities of one slice."""
    points, still = settings.piecewise_points, jnp.zeros((2, *settings.size))
    if not settings.enabled:
        return Motion(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros((points, points, 2)), still)
    coin, shift, angle, scale, nodes, elastic = jax.random.split(key, 6)
    happens = jax.random.bernoulli(coin, settings.probability, (4,))
    low, high = shift_bounds(limbs, settings.size)
    turn = jnp.deg2rad(settings.rotation_deg)
    low_scale, high_scale = settings.piecewise_scale
    spread = jax.random.uniform(scale, (), minval=low_scale, maxval=high_scale)
    # A branch of its own also keeps XLA from computing the field anew wherever it is used.
    field = jax.lax.cond(happens[3], lambda: _elastic_field(elastic, settings), lambda: still)
    return Motion(
        happens[0] * jax.random.uniform(shift, (2, 2), minval=low, maxval=high),
        happens[1] * jax.random.uniform(angle, (2,), minval=-turn, maxval=turn),
        happens[2] * _node_moves(spread * jax.random.normal(nodes, (points, points, 2)), settings),
        field,
    )


def _node_moves(share: Float[Array, "p p 2"], settings: Augmentation) -> Float[Array, "p p 2"]:
    """Return the displacements of the grid points, in pixels, that stay in the window.

    Args:
        share: Displacements as shares of height and width.
        settings: With the size of the window.

    Source: imgaug 0.4.0, whose points span the whole window and are held back at its border.
    """
    size = jnp.array(settings.size, jnp.float32)
    steps = jnp.arange(settings.piecewise_points) / (settings.piecewise_points - 1)
    rest = size * jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), -1)
    return jnp.clip(rest + size * share, 0, size - 1) - rest


def shift_bounds(
    limbs: Limbs, size: tuple[int, int]
) -> tuple[Float[Array, "2 2"], Float[Array, "2 2"]]:
    """Return the least and greatest shift of each limb, in rows and columns.

    The shortest distance of any limb to the border of the window, both ways; toward the other
    limb no further than the line that parts them.

    Source: paper; the stop at the line is ours: limbs do not run through one another.
    """
    height, width = size
    first, last = limbs.boxes[:, 0::2] - limbs.origin, limbs.boxes[:, 1::2] - limbs.origin
    end = jnp.array([height - 1, width - 1], jnp.float32)
    shortest = jnp.maximum(jnp.nanmin(jnp.minimum(first, end - last)), 0)
    shortest = jnp.where(jnp.isfinite(shortest), shortest, 0)
    to_line = jnp.array([limbs.split - limbs.boxes[0, 3], limbs.boxes[1, 2] - limbs.split])
    inward = jnp.clip(jnp.where(jnp.isnan(to_line), shortest, to_line), 0, shortest)
    high = jnp.full((2, 2), shortest).at[0, 1].set(inward[0])
    low = -jnp.full((2, 2), shortest).at[1, 1].set(inward[1])
    return low, high


def positions(
    motion: Motion, limbs: Limbs, settings: Augmentation
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Return where on the model grid each pixel of the window comes from; NaN where nowhere."""
    height, width = settings.size
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] + motion.field[0]
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] + motion.field[1]
    down, across = _piecewise(rows, columns, motion.nodes, settings.size)
    rows, columns = rows + down + limbs.origin[0], columns + across + limbs.origin[1]
    left = columns > limbs.split
    back = [_limb(rows, columns, motion, limbs, side) for side in (0, 1)]
    rows, columns = (jnp.where(left, b, a) for a, b in zip(*back, strict=True))
    # A limb leaves air behind, not a piece of the other limb.
    own = (columns > limbs.split) == left
    return jnp.where(own, rows, -1.0), jnp.where(own, columns, -1.0)


def _limb(
    rows: Array, columns: Array, motion: Motion, limbs: Limbs, side: int
) -> tuple[Array, Array]:
    """Undo the shift, then the rotation about the middle, of one limb."""
    box = jnp.nan_to_num(limbs.boxes[side])
    row, column = (box[0] + box[1]) / 2, (box[2] + box[3]) / 2
    y, x = rows - row - motion.shift[side, 0], columns - column - motion.shift[side, 1]
    cos, sin = jnp.cos(motion.angle[side]), jnp.sin(motion.angle[side])
    return cos * y - sin * x + row, sin * y + cos * x + column


def _piecewise(
    rows: Array, columns: Array, nodes: Float[Array, "p p 2"], size: tuple[int, int]
) -> tuple[Array, Array]:
    """Interpolate the displacements of a grid of points linearly on its triangles.

    Each point contributes by its hat function, so that no triangle has to be looked up.
    """
    points = nodes.shape[0]
    v, u = rows * ((points - 1) / size[0]), columns * ((points - 1) / size[1])
    v, u = jnp.clip(v, 0, points - 1), jnp.clip(u, 0, points - 1)
    down, across = jnp.zeros_like(v), jnp.zeros_like(v)
    for i in range(points):
        for j in range(points):
            y, x = v - i, u - j
            reach = jnp.maximum(jnp.maximum(jnp.abs(y), jnp.abs(x)), jnp.abs(y - x))
            hat = jnp.maximum(0, 1 - reach)
            down, across = down + hat * nodes[i, j, 0], across + hat * nodes[i, j, 1]
    return down, across


def _elastic_field(key: PRNGKeyArray, settings: Augmentation) -> Float[Array, "2 h w"]:
    """Smooth uniform noise with a Gaussian and scale it."""
    height, width = settings.size
    strength, sigma, noise = jax.random.split(key, 3)
    low, high = settings.elastic_strength_px
    alpha = jax.random.uniform(strength, (), minval=low, maxval=high)
    low, high = settings.elastic_sigma_px
    sd = jax.random.uniform(sigma, (), minval=low, maxval=high)
    margin = int(_TRUNCATE * high)
    kernel: Any = _gaussian(margin, sd)
    white = jax.random.uniform(noise, (2, height + 2 * margin, width + 2 * margin), minval=-1.0)
    # Sums of shifted arrays, which XLA makes one loop of: eight times faster than multiplying by
    # band matrices, and a hundred times faster than XLA's convolution on a CPU.
    down = sum(share * white[:, i : i + height] for i, share in enumerate(kernel))
    return alpha * sum(share * down[:, :, i : i + width] for i, share in enumerate(kernel))


def _gaussian(margin: int, sd: Array) -> Float[Array, " m"]:
    """Return the weights of the 2 * margin + 1 neighbors of a pixel on a line."""
    distance = jnp.arange(-margin, margin + 1)
    kernel = jnp.exp(-0.5 * (distance / sd) ** 2)
    kernel = jnp.where(jnp.abs(distance) <= jnp.floor(_TRUNCATE * sd), kernel, 0)
    return kernel / kernel.sum()
