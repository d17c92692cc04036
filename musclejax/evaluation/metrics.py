"""How alike two label maps are: overlap from voxel counts, distances between surfaces.

Every measure of overlap takes counts, so that a muscle, a side, a slice or all of them are one sum
away.

Distances are SciPy's exact Euclidean distance transform. The package `surface-distance` finds the
same largest distances (a test compares them); it counts the rim of the array as surface, has no
distances within slices, and calls a part of SciPy that SciPy 2 removes.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from musclejax import anatomy

GROUPS = (*anatomy.SIDES, "both")
"""Groups of voxels that are measured per muscle: either side, and both as one label."""
SurfaceDistances = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]
"""From every surface voxel of one mask to the nearest of the other, and the other way, in mm."""
Mask = Bool[np.ndarray, "x y z"]


def count_voxels(
    reference: UInt8[np.ndarray, "x y z"],
    prediction: UInt8[np.ndarray, "x y z"],
    sides: UInt8[np.ndarray, "x y z"],
    num_classes: int,
) -> Int[np.ndarray, "3 z groups classes"]:
    """Count the voxels of every label in every slice.

    Args:
        reference: Label numbers.
        prediction: Label numbers.
        sides: 1 + index into `anatomy.SIDES`; 0 belongs to neither side, but to "both".
        num_classes: Number of labels with background.

    Returns:
        Counts in the reference, in the prediction and in both at once; `GROUPS` on the third
        axis.
    """
    shape = reference.shape[2], len(anatomy.SIDES) + 1, num_classes
    # One number per slice, side and label, so that each count is one pass of bincount.
    place = np.arange(shape[0]) * shape[1] + sides

    def count(labels: np.ndarray, code: np.ndarray) -> np.ndarray:
        cells = code.astype(np.int64) * shape[2] + labels
        return np.bincount(cells.ravel(), minlength=int(np.prod(shape))).reshape(shape)

    same = reference == prediction
    counts = np.stack(
        [count(reference, place), count(prediction, place), count(reference[same], place[same])]
    )
    return np.concatenate([counts[:, :, 1:], counts.sum(2, keepdims=True)], axis=2)


def dsc(counts: Int[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """Return the hard Dice similarity coefficient, 0 to 1; NaN where both maps have nothing.

    Hard: of labels, as in the paper's test tables; the paper's training curves show the soft
    Dice of probabilities, which is another number.
    """
    reference, prediction, common = counts
    return _ratio(2 * common, reference + prediction)


def jaccard(counts: Int[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """Return intersection over union, 0 to 1; NaN where both maps have nothing."""
    return _ratio(counts[2], _either(counts))


def volume_error_percent(counts: Int[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """Return 100 (prediction - reference) / reference; NaN where the reference has nothing."""
    reference, prediction, _ = counts
    return 100 * _ratio(prediction - reference, reference)


def fat_fractions(
    reference: UInt8[np.ndarray, "x y z"],
    prediction: UInt8[np.ndarray, "x y z"],
    sides: UInt8[np.ndarray, "x y z"],
    fat: Float[np.ndarray, "x y z"],
    num_classes: int,
) -> dict[str, Float[np.ndarray, "groups classes"]]:
    """Return the mean fat fraction within both label maps, where the fat is known.

    Args:
        reference: Label numbers.
        prediction: Label numbers.
        sides: As for `count_voxels`.
        fat: Fat fractions, NaN where unknown.
        num_classes: As for `count_voxels`.

    Returns:
        fat_fraction_reference, fat_fraction_prediction, fat_fraction_error_pp (prediction -
        reference in percentage points) and fat_fraction_coverage (known share of the voxels of
        either map). NaN where nothing is known.
    """
    known, shape = np.isfinite(fat), (len(anatomy.SIDES) + 1, num_classes)
    maps = reference, prediction, sides
    shown = count_voxels(*maps, num_classes).sum(1)
    seen = tuple(a[known][:, None, None] for a in maps)
    measured = count_voxels(seen[0], seen[1], seen[2], num_classes).sum(1)
    means = []
    for labels, count in zip(maps[:2], measured, strict=False):
        code = sides[known].astype(np.int64) * num_classes + labels[known]
        total = np.bincount(code, fat[known], int(np.prod(shape))).reshape(shape)
        by_group = np.concatenate([total[1:], total.sum(0, keepdims=True)])
        means.append(_ratio(by_group, count))
    return {
        "fat_fraction_reference": means[0],
        "fat_fraction_prediction": means[1],
        "fat_fraction_error_pp": 100 * (means[1] - means[0]),
        "fat_fraction_coverage": _ratio(_either(measured), _either(shown)),
    }


def _either(counts: Int[np.ndarray, "3 ..."]) -> Int[np.ndarray, "..."]:
    reference, prediction, common = counts
    return reference + prediction - common


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)


def surface_distances(
    first: Mask, second: Mask, spacing_mm: tuple[float, float, float], *, in_plane: bool = False
) -> SurfaceDistances:
    """Measure from surface to surface, in both directions.

    A surface voxel has a face neighbor outside its mask. The rim of the array is no surface: the
    field of view truncates the muscle there, and distances along the cut would be 0 and flatter
    the result. (MedPy and surface-distance count the rim as surface.)

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
    pairs = list(_shared_slices(first, second) if in_plane else [(first, second)])
    found = [_between(*pair, spacing_mm) for pair in pairs]
    pooled = [np.concatenate([np.zeros(0), *parts]) for parts in zip(*found, strict=True)]
    return (pooled[0], pooled[1]) if pooled else (np.zeros(0), np.zeros(0))


def hausdorff_mm(distances: SurfaceDistances, percentile: float = 95.0) -> float:
    """Return the larger of both directions' percentiles; NaN if there is no distance.

    Source: Maier-Hein et al. 2024, "Metrics reloaded", HD95; MONAI does the same. MedPy takes one
    percentile over both directions together, in which a missed part of the smaller surface counts
    for less. `percentile` 100 is the Hausdorff distance itself.
    """
    if not all(direction.size for direction in distances):
        return float("nan")
    return float(max(np.percentile(direction, percentile) for direction in distances))


def mean_surface_mm(distances: SurfaceDistances) -> float:
    """Return the mean over the surface voxels of both masks; NaN if there is no distance.

    Source: Heimann et al. 2009, average symmetric surface distance; MedPy's `assd` takes the mean
    of the two directions' means.
    """
    if not all(direction.size for direction in distances):
        return float("nan")
    return float(np.concatenate(distances).mean())


def _shared_slices(first: Mask, second: Mask) -> Iterator[tuple[Mask, Mask]]:
    for z in np.flatnonzero(first.any((0, 1)) & second.any((0, 1))):
        yield first[:, :, z : z + 1], second[:, :, z : z + 1]


def _between(first: Mask, second: Mask, spacing_mm: tuple[float, float, float]) -> SurfaceDistances:
    if not (first.any() and second.any()):
        return np.zeros(0), np.zeros(0)
    box = _bounding_box(first | second)
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


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Return the bounding box of a mask and a voxel around it, as far as the array goes."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)
