"""Complete the muscle labels of one thigh: femur, fascia, gaps, vessels, unknown tissue.

The label maps name eleven muscles. What lies between them is inferred here from its
neighbors, with rules that were tuned by eye on enlarged pictures. Every array is one limb as
[row, column], anterior up, a right limb in radiological view (lateral on the left).

Source: ours.
"""

import numpy as np
from scipy import ndimage as ndi
from skimage.morphology import convex_hull_image

from musclejax.anatomy import SLICE_SPACING_MM as PIXEL_MM
from musclejax.phantom.tissues import FEMORAL, GAP, UNKNOWN
from musclejax.phantom.tissues import MARROW as BONE

VL, VM, VI, RF, SAR, GRA, AM, SM, ST, BFL, BFS, AL = range(1, 13)
CM2 = 100 / PIXEL_MM**2
"""Pixels in a square centimeter."""
VESSEL_RADIUS = 3.0
"""Femoral artery and vein together, in pixels."""
POPLITEAL = (9.0, 5.0)
"""Popliteal vessels lie so many pixels behind the femur and medial of its middle, as in test_up."""


def disk(radius: float) -> np.ndarray:
    """Return a round structuring element."""
    r = int(np.ceil(radius))
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return x * x + y * y <= radius * radius


def away_from(mask: np.ndarray) -> np.ndarray:
    """Return the distance to a mask in pixels; large where the mask is empty."""
    return ndi.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, 1e3)


def smooth(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth the outline of a mask."""
    return ndi.gaussian_filter(mask.astype(np.float32), sigma) > 0.5


def largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected component of a mask."""
    components, count = ndi.label(mask)
    if count < 2:
        return mask
    return components == 1 + np.argmax(np.bincount(components.ravel())[1:])


def center_row(mask: np.ndarray) -> float:
    """Return the mean row of a mask; beyond all rows where it is empty."""
    return float(np.nonzero(mask)[0].mean()) if mask.any() else 1e3


def fascia(muscle: np.ndarray) -> np.ndarray:
    """Return the region inside the deep fascia: a smooth outline, nearly convex."""
    hull = ndi.distance_transform_edt(convex_hull_image(muscle)) > 1.5
    return smooth(hull | muscle, 2.5)


def find_femur(labels: np.ndarray) -> np.ndarray:
    """Return the femur: the largest upright or flat ellipse free of muscle behind the quadriceps.

    The shaft is round and wrapped by vastus intermedius; toward the knee it widens to a flat
    oval with fat behind it. An ellipse is a circle in a stretched picture.
    """
    free = labels == 0
    quads = np.isin(labels, (VL, VM, VI))
    near = convex_hull_image(labels == VI) if (labels == VI).sum() > 9 else np.zeros_like(free)
    near |= ndi.binary_dilation(labels == VI, disk(6))
    near &= convex_hull_image(quads)
    size, best = 0.0, np.zeros_like(free)
    shaft = (labels == AM).sum() > 4 * CM2
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]].astype(np.float32)
    for flat in (1.0,) if shaft else (1.0, 0.85, 0.72):
        depth = ndi.distance_transform_edt(free, sampling=(1 / flat, 1))
        depth = np.where(near & free, np.minimum(depth, 17 if shaft else 27), 0)
        row, col = np.unravel_index(np.argmax(depth), depth.shape)
        radius = depth[row, col]
        if flat * radius**2 > size:
            size = flat * radius**2
            best = ((y - row) / flat) ** 2 + (x - col) ** 2 < (1.15 * radius) ** 2
    if size < 7**2:
        return np.zeros_like(free)
    bone = best & (ndi.distance_transform_edt(free) > 0.5)
    bone = smooth(largest(ndi.binary_opening(bone, disk(4))), 1.5) & free
    return bone | (free & (away_from(bone) < 2.5) & (away_from(quads) < 1.5))


def find_vessels(labels: np.ndarray, femur: np.ndarray, room: np.ndarray, knee: bool) -> np.ndarray:
    """Return a disk where the large vessels lie, as far as there is room, or nothing.

    In the adductor canal, where sartorius and vastus medialis meet; near the knee between medialis
    and the back of the femur, and where magnus has ended behind the middle of the femur.
    """
    mark, ahead = (femur, 0) if knee else (labels == SAR, 6)
    beside, to_vm = away_from(mark), away_from(labels == VM)
    behind = np.arange(len(labels))[:, None] > center_row(mark) - ahead
    near, cost = behind & (to_vm < 12) & (beside < 12), beside + to_vm
    if femur.any() and not (labels == AM).any():
        cost = away_from_popliteal(femur)
        near = cost < 15
    depth = ndi.distance_transform_edt(room)
    for deep in (VESSEL_RADIUS - 0.5, 0.5):
        fits = near & (depth >= deep)
        if fits.any():
            row, col = np.unravel_index(np.argmin(np.where(fits, cost, np.inf)), cost.shape)
            y, x = np.ogrid[: room.shape[0], : room.shape[1]]
            return ((y - row) ** 2 + (x - col) ** 2 <= VESSEL_RADIUS**2) & room
    return np.zeros_like(room)


def away_from_popliteal(femur: np.ndarray) -> np.ndarray:
    """Return the distance to where the popliteal vessels lie: behind the femur, a little medial."""
    rows, cols = np.nonzero(femur)
    place = rows.max() + POPLITEAL[0], cols.mean() + POPLITEAL[1]
    y, x = np.ogrid[: femur.shape[0], : femur.shape[1]]
    return np.hypot(y - place[0], x - place[1])


def complete(labels: np.ndarray) -> np.ndarray:
    """Add femur, vessels, gaps and unknown tissue to the labels 0-11 of one thigh."""
    tissues = labels.copy()
    femur = find_femur(labels)
    inside = fascia((labels > 0) | femur)
    room = inside & (labels == 0) & ~femur
    tissues[room] = GAP
    tissues[femur] = BONE
    magnus = (labels == AM).sum()
    knee = magnus <= max(4 * CM2, (labels == BFS).sum())
    vessels = find_vessels(labels, femur, room, knee)
    tissues[vessels] = FEMORAL
    if not knee and not {BFL, SM, BFS} <= set(np.unique(labels)):
        loose = room & ~vessels
        loose &= ndi.distance_transform_edt(loose) > 1
        tissues[ndi.binary_opening(loose, disk(4))] = UNKNOWN
    return tissues
