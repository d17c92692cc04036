"""Distances between the surfaces of two masks: Hausdorff, its 95th percentile, and the mean.

SciPy's exact Euclidean distance transform; the packages that offer these measures need PyTorch,
an old NumPy or the GPL.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Directed = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]
"""From every surface voxel of one mask to the nearest of the other, and the other way, in mm."""
Mask = Bool[np.ndarray, "x y z"]


def surface_distances(
    first: Mask, second: Mask, spacing_mm: tuple[float, float, float], *, in_plane: bool = False
) -> Directed:
    """Measure from surface to surface, both ways.

    A surface voxel has a face neighbour outside its mask. The rim of the array is no surface: a
    muscle that the field of view cuts goes on, and distances along the cut would be 0 and
    flatter the result. (MedPy counts the rim as surface.)

    Args:
        first: A mask.
        second: Another on the same grid.
        spacing_mm: Distance between voxels along each axis.
        in_plane: Whether slices of the last axis are compared each by itself and their distances
            pooled, for slices that do not lie side by side. A slice that shows one of the masks
            only has no distance.

    Returns:
        Both directions; empty if either mask has no surface.
    """
    pairs = list(_slices(first, second) if in_plane else [(first, second)])
    found = [_directed(*pair, spacing_mm) for pair in pairs]
    ways = [np.concatenate([np.zeros(0), *way]) for way in zip(*found, strict=True)]
    return (ways[0], ways[1]) if ways else (np.zeros(0), np.zeros(0))


def hausdorff_mm(distances: Directed, percentile: float = 95.0) -> float:
    """Return the larger of both directions' percentiles; NaN if there is no distance.

    Source: Maier-Hein et al. 2024, "Metrics reloaded", HD95; MONAI does the same. MedPy takes one
    percentile over both directions together, in which a missed part of the smaller surface counts
    for less. `percentile` 100 is the Hausdorff distance itself.
    """
    if not all(way.size for way in distances):
        return float("nan")
    return float(max(np.percentile(way, percentile) for way in distances))


def mean_surface_mm(distances: Directed) -> float:
    """Return the mean over the surface voxels of both masks; NaN if there is no distance.

    Source: Heimann et al. 2009, average symmetric surface distance; MedPy's `assd` takes the mean
    of the two directions' means.
    """
    if not all(way.size for way in distances):
        return float("nan")
    return float(np.concatenate(distances).mean())


def _slices(first: Mask, second: Mask) -> Iterator[tuple[Mask, Mask]]:
    for z in np.flatnonzero(first.any((0, 1)) & second.any((0, 1))):
        yield first[:, :, z : z + 1], second[:, :, z : z + 1]


def _directed(first: Mask, second: Mask, spacing_mm: tuple[float, float, float]) -> Directed:
    if not (first.any() and second.any()):
        return np.zeros(0), np.zeros(0)
    box = _box(first | second)
    surfaces = [_surface(mask[box]) for mask in (first, second)]
    if not all(surface.any() for surface in surfaces):
        return np.zeros(0), np.zeros(0)
    to_first, to_second = (
        ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces
    )
    return to_second[surfaces[0]], to_first[surfaces[1]]


def _surface(mask: Mask) -> Mask:
    # Beyond the array counts as inside: the rim is no surface.
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def _box(mask: Mask) -> tuple[slice, ...]:
    """Return the bounding box of a mask and a voxel around it, as far as the array goes."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)
