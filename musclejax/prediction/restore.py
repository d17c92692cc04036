"""Predictions brought back onto the grid of the scan, slice by slice as they come."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, UInt8

from musclejax.prediction.batches import SlicePrediction
from musclejax.prediction.gather import ColumnSums, PackedSums, pack, sum_columns, unpack
from musclejax.prediction.windows import paste
from musclejax.scan.grid import (
    GridTransform,
    covered_voxels,
    interpolate,
    labels_from_model_grid,
    to_scan,
)


class Restoring:
    """The predictions for a scan on its own grid; see `Segmentation`.

    Probabilities are large: they are kept if they were requested only.

    Attributes:
        columns: Sums of the prediction for each slice.
    """

    def __init__(self, transform: GridTransform, classes: int, *, keep_probabilities: bool) -> None:
        slices = transform.stop - transform.start
        shape = slices, len(transform.rows.position), len(transform.columns.position)
        self._transform = transform
        self._labels, self._confidence = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._probabilities = np.zeros((*shape, classes), np.uint8) if keep_probabilities else None
        self._columns: dict[int, PackedSums] = {}

    def take(self, z: int, part: SlicePrediction, inside: tuple[slice, slice]) -> None:
        """Take the prediction for a slice, in a window."""
        self._columns[z] = pack(sum_columns(part, inside[1].start))
        found = paste(part, inside)
        self._labels[z], self._confidence[z] = labels_from_model_grid(*found, self._transform)
        if self._probabilities is not None:
            self._probabilities[z] = np.round(interpolate(found.probabilities, self._transform))

    @property
    def columns(self) -> Iterator[ColumnSums]:
        """Sums of the prediction for each slice, from the feet up."""
        return (unpack(self._columns[z]) for z in range(len(self._labels)))

    @property
    def labels(self) -> UInt8[np.ndarray, "i j k"]:
        """The most probable label of each voxel."""
        return to_scan(self._labels, self._transform)

    @property
    def confidence(self) -> UInt8[np.ndarray, "i j k"]:
        """Its probability in steps."""
        return to_scan(self._confidence, self._transform)

    @property
    def probabilities(self) -> UInt8[np.ndarray, "i j k c"] | None:
        """Those of every class in steps, if they were requested."""
        kept = self._probabilities
        return None if kept is None else to_scan(kept, self._transform)

    @property
    def covered(self) -> Bool[np.ndarray, "i j k"]:
        """Voxels that the network has seen."""
        return covered_voxels(self._transform)
