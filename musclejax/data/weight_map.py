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
_ROWS_PER_PASS = 6
"""Rows at a time in `squared_distances`: one takes half as long again, more gain nothing."""


def class_weights(
    labels: Sequence[UInt8[np.ndarray, "_ _"]], region: str, absent: Sequence[str] = ()
) -> Float[np.ndarray, " k"]:
    """Return the inverse frequency of each class among the labeled pixels of the training set.

    Args:
        labels: Label maps of the training slices.
        region: The region that they show.
        absent: Abbreviations of muscles that are unlabeled on purpose: weight 0.

    Raises:
        InputError: If another class never occurs (its weight would be infinite), or a muscle of
            `absent` does not exist.

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
        remedy = f'If unlabeled on purpose, say so: --set data.absent="{names}"'
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
    reach = math.ceil(_REACH * sigma_px)
    first = second = jnp.full(labels.shape, (reach + 1) ** 2)
    for squared in squared_distances(labels, num_classes, reach):
        second = jnp.minimum(second, jnp.maximum(first, squared))
        first = jnp.minimum(first, squared)
    total = jnp.sqrt(first.astype(jnp.float32)) + jnp.sqrt(second.astype(jnp.float32))
    near = total <= reach
    return jnp.where(near, weight * jnp.exp(-(total**2) / (2 * sigma_px**2)), 0)


def squared_distances(
    labels: UInt8[Array, "r c"], num_classes: int, reach: int
) -> Int[Array, "k r c"]:
    """Return the squared distance to each muscle; more than `reach` squared means "further".

    Exact: along columns by doubling steps, then along rows as the minimum over all rows within
    reach. Integers in 16 bits go through memory and vector units twice as fast as floats. These are
    loops, because XLA computes unrolled code anew wherever it is used, and a few rows per pass,
    because each pass goes through memory.
    """
    far, margin = reach + 1, reach + _ROWS_PER_PASS
    whole = jnp.int16 if 2 * margin**2 < 2**15 else jnp.int32
    muscle = jnp.arange(1, num_classes, dtype=labels.dtype)[:, None, None]
    line = jnp.where(labels == muscle, 0, far).astype(whole)
    doublings = reach.bit_length()
    longest = 2 ** (doublings - 1)

    def double(n: Array, line: Array) -> Array:
        step = 1 << n
        beside = jnp.pad(line, ((0, 0), (0, 0), (longest, longest)), constant_values=far)
        return jnp.minimum(line, _least_of_two(beside, 2, longest, step) + step.astype(whole))

    squared = jnp.minimum(jax.lax.fori_loop(0, doublings, double, line), far) ** 2
    beyond = jnp.pad(squared, ((0, 0), (margin, margin), (0, 0)), constant_values=far**2)

    def approach(n: Array, squared: Array) -> Array:
        for more in range(1, _ROWS_PER_PASS + 1):
            rows = _ROWS_PER_PASS * n + more
            there = _least_of_two(beyond, 1, margin, rows) + (rows**2).astype(whole)
            squared = jnp.minimum(squared, there)
        return squared

    return jax.lax.fori_loop(0, math.ceil(reach / _ROWS_PER_PASS), approach, squared)


def _least_of_two(padded: Array, axis: int, margin: int, step: int | Array) -> Array:
    """Return the lesser of the two values `step` away along an axis that is padded."""
    n = padded.shape[axis] - 2 * margin
    before = jax.lax.dynamic_slice_in_dim(padded, margin - step, n, axis)
    return jnp.minimum(before, jax.lax.dynamic_slice_in_dim(padded, margin + step, n, axis))


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
