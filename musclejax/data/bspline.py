"""Cubic B-splines that jit: coefficients by two matrix products, values by sixteen taps."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

PAD = 2
"""Coefficients kept beyond each border, mirrored, so that no tap needs a test."""


def to_coefficients(images: Float[np.ndarray, "n r c"]) -> Float[np.ndarray, "n rr cc"]:
    """Return the spline coefficients of images, `PAD` mirrored pixels wider on each side.

    Source: `scipy.ndimage.spline_filter` with order 3 and mode "mirror", which is what
    `map_coordinates` applies first; here as a matrix for each axis.
    """
    rows, columns = (_filter_matrix(n) for n in images.shape[1:])
    return np.asarray(rows @ images @ columns.T, np.float32)


def interpolate(
    coefficients: Float[Array, "rr cc"],
    rows: Float[Array, "h w"],
    columns: Float[Array, "h w"],
) -> Float[Array, "h w"]:
    """Evaluate the spline at positions in pixels; 0 outside the image.

    Equals `scipy.ndimage.map_coordinates(image, [rows, columns], order=3)`.
    """
    height, width = (n - 2 * PAD for n in coefficients.shape)
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    row, column = jnp.floor(rows), jnp.floor(columns)
    row_weights, column_weights = _weights(rows - row), _weights(columns - column)
    flat, stride = coefficients.reshape(-1), width + 2 * PAD
    corner = (row.astype(jnp.int32) + PAD - 1) * stride + column.astype(jnp.int32) + PAD - 1
    value = jnp.zeros_like(rows)
    for i, row_weight in enumerate(row_weights):
        line = jnp.zeros_like(rows)
        for j, column_weight in enumerate(column_weights):
            tap = flat.at[corner + i * stride + j].get(mode="promise_in_bounds")
            line += column_weight * tap
        value += row_weight * line
    return jnp.where(inside, value, 0)


def _weights(t: Float[Array, "h w"]) -> tuple[Float[Array, "h w"], ...]:
    """Return the four weights of the cubic B-spline at a fraction of a pixel."""
    u = 1 - t
    return u**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * u**3 - 6 * u**2 + 4) / 6, t**3 / 6


@lru_cache(maxsize=8)
def _filter_matrix(n: int) -> Float[np.ndarray, "m n"]:
    impulses = ndimage.spline_filter1d(np.eye(n), 3, axis=0, mode="mirror")
    return np.pad(impulses, ((PAD, PAD), (0, 0)), mode="reflect").astype(np.float32)
