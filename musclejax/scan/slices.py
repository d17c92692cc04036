"""Slices of a scan that are made when they are requested, so that few are in memory at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Shaped


@runtime_checkable
class Slices(Protocol):
    """Slices of a scan, from the feet up: an array, or one that is computed slice by slice."""

    def __len__(self) -> int:
        """Return the number of slices."""
        ...

    def __getitem__(self, z: Any, /) -> Any:
        """Return a slice."""
        ...


@dataclass(frozen=True, eq=False)
class Computed:
    """Slices that a function makes, each when it is requested."""

    count: int
    compute: Callable[[int], Shaped[np.ndarray, "r c"]]

    def __len__(self) -> int:
        """Return the number of slices."""
        return self.count

    def __getitem__(self, z: int) -> Shaped[np.ndarray, "r c"]:
        """Return a slice."""
        return self.compute(z)


def planes(array: Shaped[np.ndarray, "x y z"]) -> Iterator[Shaped[np.ndarray, "x y"]]:
    """Yield the slices of an array along its last axis.

    Each is contiguous, so that sums run in one order whatever the order of the array in memory.
    """
    return map(np.ascontiguousarray, np.moveaxis(array, 2, 0))


def spread_over(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Return places at even distances among `count`; all if they are no more than `most`."""
    few = min(count, most)
    return ((np.arange(few) + 0.5) / max(1, few) * count).astype(int)
