"""A scan on the model grid, slice by slice: a scan of any length takes the same memory."""

import math

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from musclejax.scan.grid import find_transform, resample, slices_of
from musclejax.scan.intensity import find_scale
from musclejax.scan.slices import Computed, Slices
from musclejax.scan.volume import Volume

_CHUNK = 16
"""Slices that are resampled at once."""
_KEPT, _KEPT_OF_LONG = 8, 2
"""Chunks that are kept: a scan of up to eight, 95 MB, is resampled once. Of a longer one, which is
resampled whenever all of it is requested, those that mirror images may be taken of."""


class ModelGrid:
    """A scan on the model grid, as `scan.grid.to_model_grid` brings it there.

    Attributes:
        volume: The scan.
        transform: The way back.
    """

    def __init__(self, volume: Volume, geometry: str = "world") -> None:
        self.volume = volume
        self.transform = find_transform(volume, geometry)
        self._slices = slices_of(volume, geometry, self.transform)
        chunks = math.ceil(len(self._slices) / _CHUNK)
        self._most = chunks if chunks <= _KEPT else _KEPT_OF_LONG
        self._kept: dict[int, Float[np.ndarray, "z r c"]] = {}
        self._scales: dict[str, np.float32] = {}

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._slices)

    def __getitem__(self, z: int) -> Float[np.ndarray, "r c"]:
        """Return a slice: intensities as the scanner gave them, air at 0."""
        chunk, place = divmod(z, _CHUNK)
        if chunk not in self._kept:
            if len(self._kept) == self._most:
                del self._kept[next(iter(self._kept))]
            source = self._slices[chunk * _CHUNK : (chunk + 1) * _CHUNK]
            self._kept[chunk] = resample(source, self.transform)
        return self._kept[chunk][place]

    def take(self, chosen: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n r c"]:
        """Return some slices."""
        return np.stack([self[z] for z in chosen.tolist()])

    @property
    def body(self) -> Slices:
        """Which pixels of the slices show the body."""
        threshold = self.volume.lps.body_threshold
        return Computed(len(self), lambda z: np.asarray(self[z] >= threshold))

    def scale(self, intensity: ConfigDict) -> np.float32:
        """Return what the scan is divided by for networks of these settings; found once."""
        key = intensity.to_json()
        if key not in self._scales:
            self._scales[key] = find_scale(self, intensity)
        return self._scales[key]


def normalized(slices: Slices, intensity: ConfigDict) -> Slices:
    """Return slices as a network of these settings expects them; see `intensity.normalize`."""
    scale = (
        slices.scale(intensity) if isinstance(slices, ModelGrid) else find_scale(slices, intensity)
    )
    return Computed(len(slices), lambda z: slices[z] / scale)
