"""Left and right: from where limbs part, from the labeled muscles and from world coordinates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy import ndimage

from musclejax import anatomy
from musclejax.scan.slices import planes
from musclejax.scan.volume import LpsView, Volume

# All of these: ours, chosen on the scans in the tests and documented here.
_VALLEY = 0.6  # two limbs: the gap has less than this share of the lower of the two peaks
_MIN_LIMB_SHARE = 0.1  # of the signal, for either side of the gap
_SMOOTHING_MM = 6.0
_WINDOW_MM = 40.0  # how far from the gap of the whole scan a slice's own gap may be
_MIN_ORDER = 0.7  # of pairs of a lateral and a medial voxel, by the best split; see `_order`
_MIN_SHARE = 0.05  # of lateral, and of medial muscles: with fewer the labels are not reliable
_AS_GOOD = 0.02  # of splits as good as the best: the gap, else one limb
_BESIDE_MM = (60.0, 300.0)  # no left limb lies so far to the right of the scanner's center; bores
# are narrower than the second, and positions beyond it mean nothing

_ONE_LIMB = "the body parts in two, but the labeled muscles are of one limb: is the rest an object?"
_ELSEWHERE = "the body parts elsewhere than the labeled muscles: left and right follow the muscles"
_ABOVE = "two limbs lie one above the other: are the rows and columns of its slices exchanged?"
_BY_POSITION = "one limb in view, its side found only by its position in the scanner"
_MIRRORED = "its muscles are of a {} limb, but it lies on the other side: check the header"


@dataclass(frozen=True, eq=False)
class Sides:
    """The side of every voxel, and the method that found it.

    Attributes:
        voxels: 1 + index into `anatomy.SIDES` for each voxel, in the order of the scan's file:
            1 left, 2 right. Not to be written to: voxels of a column may share one place.
        method: "gap" (two limbs, split where the body parts) or "muscles" (two limbs, split where
            the labeled muscles part or mirror one another); for one limb "anatomy" (lateral
            against medial muscles) or "position" (left or right of the scanner's center).
        warnings: Where body, labels and position disagree.
    """

    voxels: UInt8[np.ndarray, "i j k"]
    method: str
    warnings: tuple[str, ...] = ()

    @property
    def limbs(self) -> int:
        """Number of limbs in view: 1 or 2."""
        return 2 if self.method in ("gap", "muscles") else 1


def find_sides(volume: Volume, labels: UInt8[np.ndarray, "i j k"], region: anatomy.Region) -> Sides:
    """Find the left and the right limb.

    Directions always come from the affine. A split is a column per slice: what lies beyond it is
    left. Four are compared: where the body parts, where the labeled muscles do, and before the
    first or after the last column, which leaves one limb. From the true split, lateral muscles lie
    farther away than medial ones, in both limbs and in a lone one: the split for which that holds
    best is taken. Thighs that touch, and a bottle or a hand beside a limb, do not change that.

    Without reliable labels, limbs are split where the body parts, and the side of a lone limb
    follows from its world coordinate.

    Args:
        volume: The scan.
        labels: Its label map.
        region: The region that the labels belong to.
    """
    view = volume.lps
    muscles = view.from_file(labels)
    x_mm = view.spacing_mm[0]
    gap = limb_split(view.projections.y, x_mm)
    split = _split_by_muscles(gap, muscles, x_mm, region) or _split_by_body(gap, view)
    x = np.arange(muscles.shape[0])[:, None, None]
    columns = np.where(x > split.columns[None, None, :], np.uint8(1), np.uint8(2))
    lps = np.broadcast_to(columns, muscles.shape)
    warnings = tuple(_disagreements(split, gap, view))
    return Sides(view.to_file(lps), split.method, warnings)


class _Split(NamedTuple):
    """In each slice, what lies beyond this column is left, the rest is right."""

    method: str
    columns: Float[np.ndarray, " z"]


def _lone(method: str, left: bool, shape: tuple[int, ...]) -> _Split:
    """Return the split that puts everything on one side."""
    columns, _, slices = shape
    return _Split(method, np.full(slices, -1.0 if left else float(columns)))


def _split_by_body(gap: Float[np.ndarray, " z"] | None, view: LpsView) -> _Split:
    if gap is not None:
        return _Split("gap", gap)
    return _lone("position", _center_mm(view) < 0, view.data.shape)


def _split_by_muscles(
    gap: Float[np.ndarray, " z"] | None,
    muscles: UInt8[np.ndarray, "x y z"],
    x_mm: float,
    region: anatomy.Region,
) -> _Split | None:
    """Return the split that orders the muscles best; None if the labels are not reliable."""
    counts = _count_columns(muscles, region)
    sign = np.array([0, *(m.laterality for m in region.muscles)])
    lateral, medial = counts[sign > 0].sum(0), counts[sign < 0].sum(0)
    totals = lateral.sum(), medial.sum()
    if min(totals) <= _MIN_SHARE * sum(totals):
        return None
    splits = [
        *([] if gap is None else [_Split("gap", gap)]),
        *(_lone("anatomy", left, muscles.shape) for left in (True, False)),
        _Split("muscles", _split_pairs(counts[1:], x_mm)),
    ]
    orders = [_order(lateral, medial, split.columns, x_mm) for split in splits]
    if max(orders) < _MIN_ORDER:
        return None
    return splits[int(np.argmax(np.array(orders) >= max(orders) - _AS_GOOD))]


def _count_columns(
    muscles: UInt8[np.ndarray, "x y z"], region: anatomy.Region
) -> Int[np.ndarray, "m x z"]:
    """Return the voxels of each number in each column of each slice; none of number 0."""
    columns, _, slices = muscles.shape
    counts = np.zeros((slices, columns * region.num_classes), int)
    for z, plane in enumerate(planes(muscles)):
        column, row = np.nonzero(plane)
        code = plane[column, row] * np.intp(columns) + column
        counts[z] = np.bincount(code, minlength=counts.shape[1])
    return counts.T.reshape(region.num_classes, columns, slices)


def _split_pairs(counts: Int[np.ndarray, "m x z"], x_mm: float) -> Float[np.ndarray, " z"]:
    """Return the split of two limbs after which each muscle is as large in both.

    Either where the muscles part, or one column for all slices, about which they mirror one another
    best: a muscle's voxels per column, convolved with themselves, peak at twice that column.
    """
    mirrored = sum(np.convolve(own, own) for own in counts.sum(2))
    middle = np.full(counts.shape[2], np.argmax(mirrored) / 2)
    own = limb_split(counts.sum(0), x_mm)
    return middle if own is None else min(own, middle, key=lambda s: _imbalance(counts, s))


def _imbalance(counts: Int[np.ndarray, "m x z"], columns: Float[np.ndarray, " z"]) -> int:
    """Return by how many voxels the muscles differ between the sides of a split."""
    sign = np.where(np.arange(counts.shape[1])[:, None] > columns, 1, -1)
    return int(np.abs((counts * sign).sum((1, 2))).sum())


def _order(
    lateral: Int[np.ndarray, "x z"],
    medial: Int[np.ndarray, "x z"],
    columns: Float[np.ndarray, " z"],
    x_mm: float,
) -> float:
    """Return how often a lateral voxel lies farther from a split than a medial one.

    Over all pairs of them; pairs at one distance, in millimeters, count half.
    """
    away = np.abs(np.arange(len(lateral))[:, None] - columns) * x_mm
    bins = np.rint(away).astype(int).ravel()
    far, near = (np.bincount(bins, n.ravel()) / n.sum() for n in (lateral, medial))
    return float(far @ (np.cumsum(near) - near / 2))


def _disagreements(
    split: _Split, gap: Float[np.ndarray, " z"] | None, view: LpsView
) -> Iterator[str]:
    """Yield a warning for each evidence that contradicts the split."""
    if split.method == "position":
        yield _BY_POSITION
    lone = split.method in ("anatomy", "position") and gap is None
    if lone and limb_split(view.projections.x, view.spacing_mm[1]) is not None:
        yield _ABOVE
    if gap is not None and split.method != "gap":
        yield _ONE_LIMB if split.method == "anatomy" else _ELSEWHERE
    if split.method == "anatomy":
        left = split.columns[0] < 0
        if _BESIDE_MM[0] < _center_mm(view) * (1 if left else -1) < _BESIDE_MM[1]:
            yield _MIRRORED.format(anatomy.SIDES[0 if left else 1])


def _center_mm(view: LpsView) -> float:
    """Return how far the body's center lies to the right of the scanner's."""
    seen = view.projections
    profiles = seen.y.sum(1), seen.x.sum(1), seen.y.sum(0)
    center = [profile @ np.arange(len(profile)) / profile.sum() for profile in profiles]
    return float((view.affine @ [*center, 1])[0])


def limb_split(body: Int[np.ndarray, "x z"], x_mm: float) -> Float[np.ndarray, " z"] | None:
    """Return, per slice, the x index at which two limbs part; None if there is one limb.

    Args:
        body: Number of pixels of each column that show the body, or a muscle.
        x_mm: Distance of the columns.
    """
    sigma = _SMOOTHING_MM / x_mm
    profiles = ndimage.gaussian_filter1d(body.astype(float), sigma, axis=0)
    gap = _gap(profiles.sum(1))
    if gap is None:
        return None
    reach = max(1, round(_WINDOW_MM / x_mm))
    low, high = max(0, gap - reach), min(len(profiles), gap + reach + 1)
    own = [_gap(profile, low, high) for profile in profiles.T]
    known = np.array([z for z, index in enumerate(own) if index is not None])
    if not known.size:
        return np.full(profiles.shape[1], float(gap))
    found = [index for index in own if index is not None]
    split = np.interp(np.arange(profiles.shape[1]), known, found)
    return np.asarray(ndimage.median_filter(split, size=5, mode="nearest"))


def _gap(profile: Float[np.ndarray, " x"], low: int = 0, high: int | None = None) -> int | None:
    """Return the middle of the deepest valley between two peaks, or None if there is none.

    Args:
        profile: Body pixels in each column.
        low: First column of the search.
        high: End of the search; after the last column if None.
    """
    total = profile.sum()
    if not total:
        return None
    share = np.cumsum(profile) / total
    inside = (share > _MIN_LIMB_SHARE) & (share < 1 - _MIN_LIMB_SHARE)
    inside[:low] = False
    inside[len(profile) if high is None else high :] = False
    if not inside.any():
        return None
    depth = profile[inside].min()
    floor = np.flatnonzero(inside & (profile <= depth + 0.02 * profile.max()))
    middle = int(floor[len(floor) // 2])
    peaks = min(profile[: middle + 1].max(), profile[middle:].max())
    return middle if depth < _VALLEY * peaks else None
