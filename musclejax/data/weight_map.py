"""Weight of every pixel: class balance and borders between muscles (paper, Eq. 2)."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from musclejax import anatomy
from musclejax.data.dataset import IGNORE
from musclejax.errors import InputError

_REACH = 6.0
"""Distances count up to this many sigma: beyond, the border term is below 2e-8 of its peak, less
than one rounding of the class weight it is added to."""


def class_weights(
    labels: Sequence[UInt8[np.ndarray, "r c"]], region: str, absent: Sequence[str] = ()
) -> Float[np.ndarray, " k"]:
    """Return the inverse frequency of each class among the labelled pixels of the training set.

    Args:
        labels: Label maps of the training slices.
        region: Whose muscles they show.
        absent: Abbreviations of muscles that are knowingly unlabelled: weight 0.

    Raises:
        InputError: If another class never occurs, or an absent one does: its weight would be
            infinite.

    Source: paper, Eq. 2, first term.
    """
    classes = anatomy.REGIONS[region].num_classes
    counts = np.zeros(256, np.int64)
    for slice_labels in labels:
        counts += np.bincount(slice_labels.ravel(), minlength=256)
    known = counts[:classes]
    muscles = {m.abbreviation: m for m in anatomy.REGIONS[region].muscles}
    unknown = [a for a in absent if a not in muscles]
    if unknown:
        raise InputError("data.absent", ", ".join(unknown), ", ".join(muscles))
    missing = [a for a, m in muscles.items() if not known[m.number] and a not in absent]
    if missing:
        names = ",".join(missing)
        found = f"no pixel of {', '.join(missing)} in the training slices"
        remedy = f'If unlabelled on purpose, say so: --set data.absent="{names}"'
        accepted = "every muscle at least once, as a class weight is 1 / frequency"
        raise InputError("labels", found, accepted, remedy)
    safe = np.maximum(known, 1)
    return np.where(known > 0, known.sum() / safe, 0).astype(np.float32)


def border_term(
    labels: UInt8[Array, "r c"], num_classes: int, weight: float, sigma_px: float
) -> Float[Array, "r c"]:
    """Return w0 exp(-(d1 + d2)^2 / 2 sigma^2): high between muscles that nearly touch.

    d1 and d2 are the exact Euclidean distances, in pixels, to the nearest and second nearest
    muscle; left and right of a muscle are one class.

    Args:
        labels: Label numbers.
        num_classes: Background and muscles.
        weight: w0.
        sigma_px: Sigma.

    Source: paper, Eq. 2, second term.
    """
    squared = squared_distances(labels, num_classes, math.ceil(_REACH * sigma_px))
    nearest = squared.min(0)
    first = jnp.argmin(squared, 0)
    others = jnp.arange(num_classes - 1)[:, None, None] != first
    second = jnp.where(others, squared, squared.max()).min(0)
    total = jnp.sqrt(nearest.astype(jnp.float32)) + jnp.sqrt(second.astype(jnp.float32))
    near = total <= math.ceil(_REACH * sigma_px)
    return jnp.where(near, weight * jnp.exp(-(total**2) / (2 * sigma_px**2)), 0)


def squared_distances(
    labels: UInt8[Array, "r c"], num_classes: int, reach: int
) -> Int[Array, "k r c"]:
    """Return the squared distance to each muscle; more than `reach` squared means "further".

    Exact: along columns by doubling steps, then along rows by erosion with the parabola
    k^2 = 1 + 3 + 5 + ..., one odd number a pass. Whole numbers in 16 bits go through memory and
    vector units twice as fast as floats.
    """
    far = reach + 1
    muscle = jnp.arange(1, num_classes, dtype=labels.dtype)[:, None, None]
    line = jnp.where(labels == muscle, 0, far).astype(jnp.int16)
    step = 1
    while step <= reach:
        line = jnp.minimum(line, _from_neighbours(line, 2, step, far) + jnp.int16(step))
        step *= 2
    squared = jnp.minimum(line, far) ** 2

    def erode(k: Array, squared: Array) -> Array:
        odd = (2 * k - 1).astype(jnp.int16)
        return jnp.minimum(squared, _from_neighbours(squared, 1, 1, far**2) + odd)

    return jax.lax.fori_loop(1, reach + 1, erode, squared)


def _from_neighbours(values: Array, axis: int, step: int, fill: int) -> Array:
    """Return the lesser of the two values `step` away along an axis."""
    n = values.shape[axis]
    width = [(0, 0)] * values.ndim
    width[axis] = (step, step)
    padded = jnp.pad(values, width, constant_values=fill)
    ahead = jax.lax.slice_in_dim(padded, 2 * step, 2 * step + n, axis=axis)
    return jnp.minimum(jax.lax.slice_in_dim(padded, 0, n, axis=axis), ahead)


def weight_map(
    labels: UInt8[Array, "r c"],
    classes: Float[Array, " k"],
    border_weight: float,
    border_sigma_px: float,
) -> Float[Array, "r c"]:
    """Return w(x) of Eq. 2; 0 where the label is unknown.

    Args:
        labels: Label numbers, `IGNORE` where unknown.
        classes: Weight of each class, from `class_weights`.
        border_weight: w0.
        border_sigma_px: Sigma in pixels.
    """
    known = labels != IGNORE
    balance = classes[jnp.where(known, labels, 0)]
    border = border_term(labels, len(classes), border_weight, border_sigma_px)
    return jnp.where(known, balance + border, 0)
