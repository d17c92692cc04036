"""How the sums of `evidence` are gathered from the network's predictions.

Every quantity costs one pass over the slices; no network is applied again.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16

from musclejax.anatomy import SIDES, SLICE_PX
from musclejax.prediction.batches import SlicePrediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.evidence import CORE_PX, Evidence, Sums
from musclejax.prediction.voxels import count_by_slice
from musclejax.scan.grid import GridTransform, sides_of_columns
from musclejax.scan.volume import Volume


class ColumnSums(NamedTuple):
    """The first six of `Evidence` by column of a slice of the model grid: sides are columns."""

    pixels: Float[np.ndarray, "c k"]
    inside: Float[np.ndarray, "c k"]
    total: Float[np.ndarray, "c k"]
    core: Float[np.ndarray, "c k"]
    core_inside: Float[np.ndarray, "c k"]
    core_other: Float[np.ndarray, "c k"]


class PackedSums(NamedTuple):
    """The sums of a slice that are not 0: a quarter of all.

    Attributes:
        at: Where they are in the six arrays one after the other, if these were flat.
        values: The sums.
        shape: Of each of the six.
    """

    at: UInt16[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    shape: tuple[int, ...]


def pack(sums: ColumnSums) -> PackedSums:
    """Return sums in little memory; see `unpack`."""
    flat = np.ravel(sums)
    at = np.flatnonzero(flat).astype(np.uint16)
    return PackedSums(at, flat[at], sums.pixels.shape)


def unpack(packed: PackedSums) -> ColumnSums:
    """Return what was packed: the inverse of `pack`."""
    flat = np.zeros(len(ColumnSums._fields) * math.prod(packed.shape), np.float32)
    flat[packed.at] = packed.values
    return ColumnSums(*flat.reshape(-1, *packed.shape))


def sum_columns(found: SlicePrediction, first: int = 0) -> ColumnSums:
    """Add up the prediction for a slice by column and class.

    Args:
        found: The prediction, for a slice or for a window of it: beyond is background.
        first: The first column of the window.
    """
    height, width = found.labels.shape
    classes = found.probabilities.shape[-1]
    by_row = found.probabilities.reshape(height, -1).astype(np.float32)
    total = np.zeros((SLICE_PX, classes), np.float32)
    # Whole numbers that float32 holds: their sum is exact.
    total[first : first + width] = by_row.sum(0).reshape(width, classes)

    def add(at: Int[np.ndarray, " n"], values: np.ndarray | None = None) -> np.ndarray:
        code = (at % width + first) * classes + labels[at]
        sums = np.bincount(code, values, minlength=SLICE_PX * classes)
        return sums.reshape(SLICE_PX, classes).astype(np.float32)

    labels = found.labels.ravel()
    muscle, core = np.flatnonzero(labels), np.flatnonzero(_core(found.labels))
    certain = found.confidence.ravel() / np.float32(STEPS)
    background = found.probabilities[..., 0].ravel()[core] / np.float32(STEPS)
    return ColumnSums(
        pixels=add(muscle),
        inside=add(muscle, certain[muscle]),
        total=total / np.float32(STEPS),
        core=add(core),
        core_inside=add(core, certain[core]),
        core_other=add(core, 1 - certain[core] - background),
    )


def gather(
    columns: Iterable[ColumnSums],
    labels: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    volume: Volume,
    transform: GridTransform,
) -> Evidence:
    """Add up by side what was added up by column; measure the sections after post-processing.

    Args:
        columns: Of every slice of the model grid by geometry "world", from the feet up.
        labels: After post-processing, in the order of the file, as `sides`.
        sides: As of `Sides`; they are whole columns.
        volume: The scan.
        transform: As of `to_model_grid`.
    """
    side_of_column = sides_of_columns(sides, volume, transform)
    by_slice = [
        [_by_side(sums, side) for sums in own]
        for own, side in zip(columns, side_of_column, strict=True)
    ]
    split = [np.stack(sums) for sums in zip(*by_slice, strict=True)]
    area = count_by_slice(labels, sides, volume.axial_axis, split[0].shape[2])
    sections = _sections(area[volume.lps.file_index(np.arange(len(area)))], volume.pixel_mm2)
    left = sections[0] > 0
    return Evidence(*(sums * left for sums in split), *sections)


def _by_side(
    sums: Float[np.ndarray, "c k"], side_of_column: UInt8[np.ndarray, " c"]
) -> Float[np.ndarray, "sides k"]:
    return np.stack([sums[side_of_column == side].sum(0) for side in range(1, len(SIDES) + 1)])


def _sections(area: Int[np.ndarray, "z sides k"], pixel_mm2: float) -> list[Sums]:
    """Return the fields of `Evidence` from `area_mm2` on, by the number of labeled pixels."""
    area[..., 0] = 0
    both = (area.sum(2) > 0).all(1)[:, None, None]
    other = area[:, ::-1]
    sums = area, np.abs(area - other) * both, (area + other) * both
    return [(values * pixel_mm2).astype(np.float32) for values in sums]


def _core(labels: UInt8[np.ndarray, "r c"]) -> Bool[np.ndarray, "r c"]:
    """Return the pixels in the core of a muscle's section."""
    d = CORE_PX
    padded = np.pad(labels, d)
    core = labels > 0
    rows, columns = labels.shape
    for r, c in ((0, d), (2 * d, d), (d, 0), (d, 2 * d)):
        core &= padded[r : r + rows, c : c + columns] == labels
    return core
