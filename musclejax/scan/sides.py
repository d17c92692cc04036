"""Left and right, from world coordinates, also when only one limb is in view."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from musclejax import anatomy
from musclejax.scan.volume import LpsView, Volume

# All of these: ours, chosen on the scans in the tests and documented here.
_VALLEY = 0.6  # two limbs: the gap has less than this share of the lower of the two peaks
_MIN_LIMB_SHARE = 0.1  # of the signal, for either side of the gap
_SMOOTHING_MM = 6.0
_WINDOW_MM = 40.0  # how far from the gap of the whole scan a slice's own gap may be
_MIN_SEPARATION_MM = 5.0  # between lateral and medial muscles, to find the side of a lone limb
_MIN_SHARE = 0.1  # of lateral, and of medial muscles: with fewer the labels are not reliable


@dataclass(frozen=True, eq=False)
class Sides:
    """The side of every voxel, and the method that found it.

    Attributes:
        voxels: 1 + index into `anatomy.SIDES` for each voxel, in the order of the scan's file:
            1 left, 2 right.
        method: "gap" (two limbs, split where they part), or for one limb "anatomy" (lateral
            against medial muscles) or "position" (left or right of the scanner's center).
    """

    voxels: UInt8[np.ndarray, "i j k"]
    method: str


def find_sides(volume: Volume, labels: UInt8[np.ndarray, "i j k"], region: anatomy.Region) -> Sides:
    """Find the left and the right limb.

    Directions always come from the affine. Two limbs in view: each slice is split where the
    limbs part. One limb: its lateral muscles lie away from the body's midline, which gives the
    side even if the limb lay in the middle of the scanner. Without reliable labels, the side
    follows from the limb's world coordinate.

    Args:
        volume: The scan.
        labels: Its label map.
        region: The region that the labels belong to.
    """
    view = volume.lps
    split = limb_split(view.body, view.spacing_mm[0])
    if split is not None:
        x = np.arange(view.data.shape[0])[:, None, None]
        lps = np.where(x > split[None, None, :], np.uint8(1), np.uint8(2))
        lps = np.broadcast_to(lps, view.data.shape)
        return Sides(view.to_file(lps), "gap")
    side, method = _lone_side(view, view.from_file(labels), region)
    return Sides(np.full(volume.data.shape, side, np.uint8), method)


def limb_split(body: Bool[np.ndarray, "x y z"], x_mm: float) -> Float[np.ndarray, " z"] | None:
    """Return, per slice, the x index at which two limbs part; None if there is one limb."""
    sigma = _SMOOTHING_MM / x_mm
    profiles = ndimage.gaussian_filter1d(body.sum(1).astype(float), sigma, axis=0)
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


def _lone_side(
    view: LpsView, labels: UInt8[np.ndarray, "x y z"], region: anatomy.Region
) -> tuple[int, str]:
    """Return 1 (left) or 2 (right) for the only limb in view, and the method that found it."""
    laterality = np.array([0, *(m.laterality for m in region.muscles)])[labels]
    x = np.arange(labels.shape[0])[:, None, None] * view.spacing_mm[0]
    lateral, medial = laterality > 0, laterality < 0
    counts = lateral.sum(), medial.sum()
    if min(counts) > _MIN_SHARE * sum(counts):
        # x grows to the patient's left: a left limb has its lateral muscles at larger x.
        toward_left = np.mean(x * lateral) / lateral.mean() - np.mean(x * medial) / medial.mean()
        if abs(toward_left) >= _MIN_SEPARATION_MM:
            return (1 if toward_left > 0 else 2), "anatomy"
    center = view.affine @ [*ndimage.center_of_mass(view.body), 1]
    return (1 if center[0] < 0 else 2), "position"
