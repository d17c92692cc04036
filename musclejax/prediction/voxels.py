"""Labeled voxels, counted and summed up by slice, side, and muscle or group: each in one pass."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Num, Shaped, UInt8

from musclejax.anatomy import GROUPS, SIDES, Region

Counts = Int[np.ndarray, "*z sides keys"]


class Spread(NamedTuple):
    """Values over the voxels of each side, and muscle or group; NaN where there are none."""

    voxels: Int[np.ndarray, "*z sides keys"]
    mean: Float[np.ndarray, "*z sides keys"]
    sd: Float[np.ndarray, "*z sides keys"]
    median: Float[np.ndarray, "*z sides keys"]


def members_of(region: Region) -> Bool[np.ndarray, "classes groups"]:
    """Return which label numbers belong to which of the `GROUPS` of a region."""
    names = ["", *(muscle.abbreviation for muscle in region.muscles)]
    groups = GROUPS[region.name]
    rows = [[name in group.muscles for group in groups] for name in names]
    return np.array(rows, bool).reshape(len(names), len(groups))


@dataclass(frozen=True, eq=False)
class Voxels:
    """Labeled voxels, one after the other.

    The last axis of what is counted has a key per label number, background first, then one per
    group. Voxels that belong to no side are not counted.

    Attributes:
        at: Where they are in the label map, if that were flat.
        z: Slice of each.
        side: Index into `SIDES` of each.
        label: Number of each.
        slices: Number of slices.
        members: As of `members_of`.
    """

    at: Int[np.ndarray, " n"]
    z: Int[np.ndarray, " n"]
    side: Int[np.ndarray, " n"]
    label: UInt8[np.ndarray, " n"]
    slices: int
    members: Bool[np.ndarray, "classes groups"]

    def take(self, array: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, " n"]:
        """Return the values of an array of the label map's shape at these voxels."""
        return np.ascontiguousarray(array).ravel()[self.at]

    def only(self, chosen: Bool[np.ndarray, " n"]) -> "Voxels":
        """Return some of the voxels."""
        at, z, side, label = (a[chosen] for a in (self.at, self.z, self.side, self.label))
        return Voxels(at, z, side, label, self.slices, self.members)

    @property
    def group(self) -> Int[np.ndarray, " n"]:
        """Index of the group of each; -1 of none."""
        return self.group_of(self.label)

    def group_of(self, labels: UInt8[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Return the index of the group of each label; -1 of none."""
        return np.where(self.members.any(1), self.members.argmax(1), -1)[labels]

    def count(self) -> Counts:
        """Return the number of voxels of each key."""
        return self._sum(None).astype(np.int64)

    def mean(self, values: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Return means of known values, by slice and of the whole scan; NaN where none is known."""
        count, total = self.count(), self._sum(values)
        return ratio(total, count), ratio(total.sum(0), count.sum(0))

    def spread(self, values: Float[np.ndarray, " n"]) -> tuple[Spread, Spread]:
        """Return the spread of known values, by slice and of the whole scan."""
        offset = float(values.mean(dtype=np.float64)) if values.size else 0.0
        shifted = values.astype(np.float64) - offset  # squares of large values lose digits
        count, total, squares = self.count(), self._sum(shifted), self._sum(shifted**2)
        ascending = np.argsort(values)
        whole, by_slice = (self._median(values, ascending, by_slice=b) for b in (False, True))
        return (
            _spread(count, total, squares, offset, by_slice),
            _spread(count.sum(0), total.sum(0), squares.sum(0), offset, whole),
        )

    def _sum(self, values: Float[np.ndarray, " n"] | None) -> Num[np.ndarray, "z sides keys"]:
        shape = self.slices, len(SIDES), len(self.members)
        sums = np.bincount(self._code, values, int(np.prod(shape))).reshape(shape)
        return np.concatenate([sums, sums @ self.members], axis=2)

    @cached_property
    def _code(self) -> Int[np.ndarray, " n"]:
        """One number per slice, side and label, so that each sum is one pass of bincount."""
        return (self.z * len(SIDES) + self.side) * len(self.members) + self.label

    def _median(
        self, values: Float[np.ndarray, " n"], ascending: Int[np.ndarray, " n"], *, by_slice: bool
    ) -> Float[np.ndarray, "*z sides keys"]:
        """Return exact medians."""
        slices = self.slices if by_slice else 1
        place = (self.z * len(SIDES) if by_slice else 0) + self.side
        grouped = ascending[self.group[ascending] >= 0]
        parts = []
        for key, keys, order in (
            (self.label, self.members.shape[0], ascending),
            (self.group, self.members.shape[1], grouped),
        ):
            shape = slices, len(SIDES), keys
            # Of 16 bits, so that NumPy sorts by radix.
            code = (place * keys + key)[order].astype(np.min_scalar_type(int(np.prod(shape))))
            found = _medians(values[order], code, int(np.prod(shape)))
            parts.append(found.reshape(shape))
        medians = np.concatenate(parts, axis=2)
        return medians if by_slice else medians[0]


def find_voxels(
    labels: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    axial_axis: int,
    region: Region,
) -> Voxels:
    """Return the labeled voxels of a label map with sides as of `scan.sides.Sides`."""
    flat = np.ascontiguousarray(labels).ravel()
    at = np.flatnonzero(flat)
    side = np.ascontiguousarray(sides).ravel()[at].astype(np.int32) - 1
    step = int(np.prod(labels.shape[axial_axis + 1 :]))
    slices = labels.shape[axial_axis]
    z = (at // step % slices).astype(np.int32)
    found = Voxels(at, z, side, flat[at], slices, members_of(region))
    return found if (side >= 0).all() else found.only(side >= 0)


def count_keys(
    labels: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    axial_axis: int,
    region: Region,
) -> Counts:
    """Return the number of voxels of each key; see `Voxels`. Nothing is kept of single voxels."""
    counts = count_by_slice(labels, sides, axial_axis, region.num_classes)
    counts[..., 0] = 0
    return np.concatenate([counts, counts @ members_of(region)], axis=2)


def count_by_slice(
    labels: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    axial_axis: int,
    classes: int,
) -> Counts:
    """Return the number of voxels of each label number; nothing is kept of single voxels."""
    maps = (np.moveaxis(array, axial_axis, 0) for array in (labels, sides))
    size = (len(SIDES) + 1) * classes
    codes = (s * classes + m for m, s in zip(*maps, strict=True))
    counts = [np.bincount(code.ravel(), minlength=size) for code in codes]
    return np.stack(counts).reshape(-1, len(SIDES) + 1, classes)[:, 1:]


def _medians(
    ascending: Float[np.ndarray, " n"], code: Integer[np.ndarray, " n"], codes: int
) -> Float[np.ndarray, " codes"]:
    """Return the median of the values of each code; NaN of a code without any."""
    ordered = ascending[np.argsort(code, kind="stable")].astype(np.float64)
    count = np.bincount(code, minlength=codes)
    present = count > 0
    first, n = (np.cumsum(count) - count)[present], count[present]
    medians = np.full(codes, np.nan)
    medians[present] = (ordered[first + (n - 1) // 2] + ordered[first + n // 2]) / 2
    return medians


def _spread(
    count: Int[np.ndarray, "..."],
    total: Float[np.ndarray, "..."],
    squares: Float[np.ndarray, "..."],
    offset: float,
    median: Float[np.ndarray, "..."],
) -> Spread:
    mean, mean_square = ratio(total, count), ratio(squares, count)
    sd = np.sqrt(np.maximum(mean_square - mean**2, 0))
    return Spread(count, mean + offset, sd, median)


def ratio(above: Num[np.ndarray, "..."], below: Num[np.ndarray, "..."]) -> np.ndarray:
    """Return above / below; NaN where below is 0."""
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
