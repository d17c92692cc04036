"""Complete a whole limb: bones, joints, tendons, foot, other muscles, fascia, gaps and vessels.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from limb_labels import NUMBER, PIXEL_MM, Whole
from limb_shapes import (
    ANKLE_DROP,
    DISTAL,
    ENDS_IN_FOOT,
    FEMUR,
    FOOT_BONES,
    FOOT_MUSCLES,
    FOOT_TENDONS,
    HEAD,
    HIP_BONE,
    SIZE,
    SOCKET,
    SOCKET_WALL,
    Rod,
    section,
    turned,
)
from scipy import ndimage as ndi
from skimage.morphology import convex_hull_image
from thigh_tissues import away_from, disk, largest, smooth

FEMUR_ID, HIP_ID, FOOT_ID = 40, 41, 50
"""Bones that are drawn; those of the foot from the last on."""
TENDON, CARTILAGE, GAP, VESSEL, UNKNOWN = 80, 81, 82, 83, 84
FOOT_MUSCLE, DEEP = 90, 100
"""Muscles of the foot, and those about hip and pelvis that nobody labeled."""
BONES = [NUMBER["tibia"], NUMBER["fibula"], NUMBER["patella"], *range(FEMUR_ID, 80)]
MUSCLES = [n for name, n in NUMBER.items() if name not in ("tibia", "fibula", "patella")]
JOINT_PX = 1.6
"""Half of the width of the cartilage between two bones."""
LEAST_PX = 9
"""Smaller parts of a muscle are left out."""
PELVIS_FRONT = 8
"""Pixels from the front of the thigh back to the front of the pelvis at the midline."""


@dataclass
class Guide:
    """What the drawing of a limb is aligned to.

    Attributes:
        whole: The limb.
        scale: Size of the person.
        shaft: Row and column of the femur's axis by slice.
        radius: Radius of its shaft by slice, pixels.
        plateau: Row and column of the middle of the tibia's plateau.
        ankle: Row and column of the lower end of the tibia.
        midline: Column where the body's other half begins.
        front: Row where the limb begins at the hip joint.
        patella: Row of the patella's back.
    """

    whole: Whole
    scale: float
    shaft: np.ndarray
    radius: np.ndarray
    plateau: np.ndarray
    ankle: np.ndarray
    midline: int
    front: int
    patella: float


# ---- structures from another limb ----


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Return scale, turn and shifts from landmarks common to two slices, target to source."""
    ours, theirs, weights = [], [], []
    for number in [*MUSCLES, NUMBER["fibula"]]:
        a, b = source == number, target == number
        if min(a.sum(), b.sum()) > 25:
            theirs.append(np.argwhere(a).mean(0))
            ours.append(np.argwhere(b).mean(0))
            weights.append(np.sqrt(min(a.sum(), b.sum())))
    if len(ours) < 3:
        return None
    z, w = (np.array(p) @ [1, 1j] for p in (ours, theirs))
    share = np.array(weights) / np.sum(weights)
    z0, w0 = (share * z).sum(), (share * w).sum()
    factor = (share * (w - w0) * np.conj(z - z0)).sum() / (share * np.abs(z - z0) ** 2).sum()
    shift = w0 - factor * z0
    return np.array([factor.real, factor.imag, shift.real, shift.imag])


def borrow(
    whole: Whole, other: Whole, names: tuple[str, ...], levels: tuple[float, float]
) -> np.ndarray:
    """Return structures of another limb, aligned slice by slice by the muscles beside them."""
    chosen = np.nonzero((whole.levels > levels[0]) & (whole.levels < levels[1]))[0]
    pairs = [(n, other.labels[other.at(whole.levels[n])]) for n in chosen]
    found = [similarity(theirs, whole.labels[n]) for n, theirs in pairs]
    good = [k for k, f in enumerate(found) if f is not None]
    steps = np.arange(len(found))
    motion = np.stack(
        [np.interp(steps, good, [found[k][j] for k in good]) for j in range(4)], axis=1
    )
    # About the middle of the limb, so that turns and shifts can be smoothed apart.
    middle = np.array(whole.labels.shape[1:]) @ [0.5, 0.5j]
    image = (motion[:, 0] + 1j * motion[:, 1]) * middle + motion[:, 2] + 1j * motion[:, 3]
    motion = ndi.gaussian_filter1d(
        np.stack([motion[:, 0], motion[:, 1], image.real, image.imag], 1), 4, axis=0, mode="nearest"
    )
    out = np.zeros_like(whole.labels)
    grid = np.indices(whole.labels.shape[1:])
    place = grid[0] + 1j * grid[1] - middle
    for (n, theirs), (real, imag, down, across) in zip(pairs, motion, strict=True):
        at = (real + 1j * imag) * place + down + 1j * across
        for name in names:
            mask = (theirs == NUMBER[name]).astype(np.float32)
            moved = ndi.map_coordinates(ndi.gaussian_filter(mask, 1), [at.real, at.imag], order=1)
            out[n][(moved > 0.5) & (whole.labels[n] == 0)] = NUMBER[name]
    return out


def settle(whole: Whole, tibia: np.ndarray) -> np.ndarray:
    """Let a borrowed tibia fill the thin gaps to the muscles beside it."""
    out = np.zeros_like(tibia)
    for n, mask in enumerate(tibia > 0):
        if mask.any():
            labeled = whole.labels[n] > 0
            free = ~labeled & ndi.binary_closing(labeled | mask, disk(5))
            near = away_from(mask) < 6
            bone = smooth(ndi.binary_opening(mask | (free & near), disk(3)), 2)
            out[n] = largest(bone & ~labeled)
    return out


# ---- the femur's axis ----


def find_shaft(whole: Whole, muscles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the axis of the femur by slice and its radius, from the hole that muscles leave."""
    measured = []
    for n in np.nonzero((whole.levels > 0.24) & (whole.levels < 0.74))[0]:
        labels = whole.labels[n]
        muscle = muscles[n]
        vasti = np.isin(labels, [NUMBER[m] for m in ("VL", "VM", "VI")])
        near = convex_hull_image(vasti) | (away_from(labels == NUMBER["VI"]) < 5)
        depth = ndi.distance_transform_edt(~muscle) * (near & ~muscle)
        row, col = np.unravel_index(np.argmax(depth), depth.shape)
        measured.append((whole.levels[n], row, col, depth[row, col]))
    level, rows, cols, radii = np.array(measured).T
    lines = []
    for values, degree in ((rows, 3), (cols, 3), (radii, 2)):
        keep = np.ones(len(level), bool)
        for _ in range(4):
            line = np.polyfit(level[keep], values[keep], degree)
            off = np.abs(values - np.polyval(line, level))
            keep = off < max(2.5 * np.median(off), 1.0)
        lines.append(line)
    inner = np.clip(whole.levels, 0.26, 0.72)
    beyond = whole.levels - inner
    axis = np.stack(
        [
            np.polyval(line, inner) + np.polyval(np.polyder(line), inner) * beyond
            for line in lines[:2]
        ],
        axis=1,
    )
    return axis, np.polyval(lines[2], inner)


def guide(whole: Whole, muscles: np.ndarray) -> Guide:
    """Measure what the drawing of a limb is aligned to."""
    shaft, radius = find_shaft(whole, muscles)
    places = []
    for low, high in ((1.025, 1.055), (1.955, 1.985)):
        part = whole.labels[(whole.levels > low) & (whole.levels < high)] == NUMBER["tibia"]
        places.append(np.argwhere(part).mean(0)[1:])
    midline = np.nonzero(whole.named("GMax").any((0, 1)))[0][-1]
    front = np.nonzero(whole.labels[whole.at(0)].any(1))[0][0]
    patella = np.argwhere(
        whole.labels[(whole.levels > 0.9) & (whole.levels < 0.95)] == NUMBER["patella"]
    )
    back = np.percentile(patella[:, 1], 97)
    return Guide(whole, SIZE[whole.person], shaft, radius, *places, int(midline), int(front), back)


# ---- bones ----


def ellipse(grid: np.ndarray, center: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return where an ellipse is; all in pixels."""
    return (((grid - center[:, None, None]) / half[:, None, None]) ** 2).sum(0) < 1


def distal_femur(guide: Guide, n: int, grid: np.ndarray) -> np.ndarray:
    """Return the lower part of the femur in a slice: an oval, then two condyles and the notch."""
    level = float(guide.whole.levels[n])
    if level > 0.997:
        return np.zeros(grid.shape[1:], bool)
    row, col, deep, wide = (
        np.interp(level, DISTAL[:, 0], column) * guide.scale / PIXEL_MM for column in DISTAL.T[1:]
    )
    front = np.interp(0.93, DISTAL[:, 0], DISTAL[:, 1] - DISTAL[:, 3]) * guide.scale / PIXEL_MM
    late = guide.plateau[0] + front - guide.patella - 2  # so much room to the patella
    late = np.clip(late / 2, -4, 6) * np.clip((level - 0.8) / 0.1, 0, 1)
    place, deep = guide.plateau + np.array([row - late, col]), deep + late
    share = np.clip((level - 0.72) / 0.14, 0, 1)
    share = share**2 * (3 - 2 * share)
    center = share * place + (1 - share) * guide.shaft[n]
    if level < 0.885:
        slim = guide.radius[n] / (14.5 * guide.scale / PIXEL_MM)  # this shaft against the average
        slim = share + (1 - share) * slim
        return ellipse(grid, center, np.array([deep, wide]) * slim)
    inner, outer = 0.5 * wide, 0.52 * wide
    bone = np.zeros(grid.shape[1:], bool)
    for side in (-1, 1):
        bone |= ellipse(
            grid, center + np.array([0.03 * deep, side * inner]), np.array([deep, outer])
        )
    notch = np.clip((level - 0.915) / 0.06, 0, 1) * 17 * guide.scale / PIXEL_MM
    if level < 0.972:
        bone |= ellipse(
            grid, center + np.array([-0.1 * deep, 0]), np.array([0.8 * deep, 0.75 * wide])
        )
        groove = center + np.array([-1.02 * deep, 0])
        bone &= np.hypot(*(grid - groove[:, None, None])) > 5 * guide.scale
    hollow = ellipse(
        grid, center + np.array([0.95 * deep, 0]), np.array([1.3 * notch + 0.1, 0.75 * notch + 0.1])
    )
    return smooth(bone, 2) & ~hollow


def proximal_femur(guide: Guide, n: int, grid: np.ndarray) -> np.ndarray:
    """Return the upper part of the femur in a slice."""
    up, back, inward = from_hip(guide, n, grid)
    parts = [section(rod, guide.scale, up, back, inward) for rod in FEMUR]
    return smooth(np.any(parts, axis=0), 1.5)


def from_hip(guide: Guide, n: int, grid: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return millimeters from the axis of the femur's shaft at level 0.24, up from the hip."""
    whole = guide.whole
    start = guide.shaft[whole.at(0.24)]
    back, inward = (grid - start[:, None, None]) * PIXEL_MM
    return float(-whole.levels[n] * whole.thigh_mm), back, inward


def shaft(guide: Guide, n: int, muscle: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the femur's shaft in a slice: what is free of muscle about its axis."""
    away = np.hypot(*(grid - guide.shaft[n][:, None, None]))
    radius = guide.radius[n]
    return largest(smooth((away < 1.22 * radius) & ~muscle, 1.2) & ~muscle)


def femur(guide: Guide, n: int, muscle: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the femur in a slice."""
    level = guide.whole.levels[n]
    bone = np.zeros(muscle.shape, bool)
    if -0.1 < level < 0.25:
        bone |= proximal_femur(guide, n, grid)
    if 0.2 < level < 0.78:
        bone |= shaft(guide, n, muscle, grid)
    if 0.74 < level < 1:
        bone |= distal_femur(guide, n, grid)
    return tidy(bone & ~muscle)


def tidy(bone: np.ndarray, parts: int = 2) -> np.ndarray:
    """Return a bone without thin or small parts."""
    bone = ndi.binary_opening(bone, disk(2.5))
    found, count = ndi.label(bone)
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = [k for k in np.argsort(sizes)[::-1][:parts] if sizes[k] > 0.06 * sizes.max()]
    return np.isin(found, keep) & (found > 0)


def hip_bone(guide: Guide, n: int, muscle: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the hip bone in a slice, the acetabulum included."""
    level = guide.whole.levels[n]
    if level > 0.24:
        return np.zeros(muscle.shape, bool)
    up, back, inward = from_hip(guide, n, grid)
    up, back, inward = up - HEAD[0], back - HEAD[1] * guide.scale, inward - HEAD[2] * guide.scale
    bone = np.any([section(rod, guide.scale, up, back, inward) for rod in HIP_BONE], axis=0)
    bone = ndi.binary_closing(np.pad(bone, 12), disk(10))[12:-12, 12:-12]
    away = np.sqrt(up**2 + back**2 + inward**2)
    low, high = (r * guide.scale for r in SOCKET)
    wall = up * SOCKET_WALL[0] + back * SOCKET_WALL[1] + inward * SOCKET_WALL[2]
    bone |= (away < high) & (wall > 4)
    bone &= away > low
    return tidy(smooth(bone, 1) & ~muscle, 3)


# ---- knee ----


def last_center(whole: Whole, name: str, lowest: bool = True) -> tuple[int, np.ndarray]:
    """Return the lowest (or highest) slice of a structure and its middle there."""
    areas = whole.named(name).sum((1, 2))
    n = np.nonzero(areas > 12)[0][0 if lowest else -1]
    return int(n), np.argwhere(whole.labels[n] == NUMBER[name]).mean(0)


def strap(
    masks: np.ndarray, start: tuple[int, np.ndarray], end: tuple[int, np.ndarray],
    half_mm: tuple[float, float], grid: np.ndarray,
) -> None:  # fmt: skip
    """Draw a tendon between two slices, both included, as ellipses."""
    (first, one), (last, other) = sorted((start, end), key=lambda e: e[0])
    for n in range(first, last + 1):
        share = (n - first) / max(last - first, 1)
        masks[n] |= ellipse(grid, one + share * (other - one), np.array(half_mm) / PIXEL_MM)


def knee_tendons(guide: Guide, grid: np.ndarray) -> np.ndarray:
    """Return the tendons about the knee."""
    whole, size = guide.whole, guide.scale
    masks = np.zeros(whole.labels.shape, bool)
    top, bottom = last_center(whole, "patella", False), last_center(whole, "patella")
    quads = whole.at(0.8)
    from_quads = guide.shaft[quads] - [guide.radius[quads] + 7 * size, 0]
    if whole.named("RF").any():
        quads, from_quads = last_center(whole, "RF")
    strap(masks, (quads, from_quads), top, (2.5 * size, 11 * size), grid)
    tuberosity = whole.at(1.1)
    tibia = np.argwhere(whole.labels[tuberosity] == NUMBER["tibia"])
    front = tibia[tibia[:, 0] <= tibia[:, 0].min() + 4].mean(0) - [1, 0]
    strap(masks, bottom, (tuberosity, front), (2.5 * size, 11 * size), grid)
    inner = whole.at(1.06)
    corner = np.argwhere(whole.labels[inner] == NUMBER["tibia"])
    edge = corner[:, 1].max() + 2.5
    middle = corner[:, 0].mean()
    for name, row in (("SAR", 4), ("GRA", 8), ("ST", 11), ("SM", 15)):
        if whole.named(name).any():
            start = last_center(whole, name)
            end = inner + (3 if name == "SM" else 0), np.array([middle + row, edge - 0.35 * row])
            if start[0] > end[0]:
                strap(masks, start, end, (2 * size, 2 * size), grid)
    head = last_center(whole, "fibula", False)
    for name in ("BFL", "BFS"):
        start = last_center(whole, name)
        if start[0] > head[0]:
            strap(masks, start, head, (2.5 * size, 2.5 * size), grid)
    return masks


# ---- ankle and foot ----


def foot(guide: Guide, n: int, grid: np.ndarray) -> dict[int, np.ndarray]:
    """Return the structures of the foot in a slice."""
    whole = guide.whole
    up = (2 - whole.levels[n]) * whole.leg_mm + ANKLE_DROP
    found: dict[int, np.ndarray] = {}
    if up > 60:
        return found
    back, inward = (grid - guide.ankle[:, None, None]) * PIXEL_MM
    kinds = ((FOOT_BONES, FOOT_ID), (FOOT_MUSCLES, FOOT_MUSCLE), (FOOT_TENDONS, TENDON))
    for rods, first in kinds:
        for rod in rods:
            mask = section(turned(rod), guide.scale, up, back, inward)
            code = TENDON if first == TENDON else first + rod.group
            if mask.any():
                found[code] = found.get(code, False) | mask
    return found


def foot_place(guide: Guide, rod: Rod) -> tuple[int, np.ndarray]:
    """Return the slice and place where a rod of the foot begins."""
    up, back, inward = np.array(turned(rod).start) * guide.scale
    whole = guide.whole
    n = whole.at(2 - (up - ANKLE_DROP) / whole.leg_mm)
    return n, guide.ankle + np.array([back, inward]) / PIXEL_MM


def ankle_tendons(guide: Guide, grid: np.ndarray) -> np.ndarray:
    """Return the tendons between muscles of the leg and the foot."""
    whole, size = guide.whole, guide.scale
    masks = np.zeros(whole.labels.shape, bool)
    for name, place in ENDS_IN_FOOT.items():
        start, end = last_center(whole, name), foot_place(guide, FOOT_TENDONS[place])
        if start[0] > end[0]:
            strap(masks, start, end, (2.2 * size, 2.6 * size), grid)
    low, achilles = foot_place(guide, FOOT_TENDONS[0])
    high = whole.at(1.55)
    muscles = np.isin(whole.labels, MUSCLES)
    for n in range(low, high + 1):
        soleus = np.argwhere(whole.labels[n] == NUMBER["SOL"])
        share = (n - low) / (high - low)
        center = achilles
        if len(soleus) > 80:
            behind = soleus[soleus[:, 0] > soleus[:, 0].max() - 6].mean(0)
            behind = behind + np.array([3.5, 0])
            pull = np.clip(share / 0.45, 0, 1)
            center = pull * behind + (1 - pull) * achilles
        beside = np.nonzero(muscles[n] & (np.abs(grid[1] - center[1]) < 7))[0]
        if len(beside):
            center = np.array([max(center[0], beside.max() + 2.5), center[1]])
        half = np.array([4.5 - 2.5 * share, 6.0 + 10 * share]) * size / PIXEL_MM
        masks[n] |= ellipse(grid, center, half)
    return masks


# ---- what is left ----


def fascia(solid: np.ndarray, buttock: np.ndarray, level: float) -> np.ndarray:
    """Return the region inside the deep fascia.

    Gluteus maximus bulges from the thigh: the fold between is fat under the skin, until the hip.
    """
    if 0.04 < level < 0.28:
        body = convex_hull_image(solid) if solid.any() else solid
        reach = float(np.interp(level, (0.04, 0.1, 0.28), (45, 20, 7)))
        pad = int(reach) + 2
        shape = np.pad(body | buttock, pad)
        shape = ndi.distance_transform_edt(~shape) <= reach
        hull = (ndi.distance_transform_edt(shape) > reach)[pad:-pad, pad:-pad]
    else:
        hull = convex_hull_image(solid | buttock)
    hull = ndi.distance_transform_edt(hull) > 1.2
    return smooth(hull | solid | buttock, 2.2)


DEEP_SEEDS = (
    (DEEP + 0, (-30, 4), (-0.4, 0.13)),  # iliopsoas
    (DEEP + 0, (-6, -6), (0.09, 0.17)),
    (DEEP + 1, (-6, -46), (-0.4, 0.045)),  # gluteus medius and minimus
    (DEEP + 1, (24, -34), (-0.4, 0.02)),
    (DEEP + 2, (36, -4), (-0.06, 0.13)),  # obturator internus, quadratus femoris
    (DEEP + 2, (14, 12), (0.05, 0.13)),  # obturator externus
    (DEEP + 3, (-4, 40), (-0.4, 0.07)),  # obturators inside, pelvic floor
    (DEEP + 4, (20, 62), (-0.4, 0.05)),  # pelvic organs
    (DEEP + 4, (-24, 70), (-0.4, 0.0)),
)
"""Muscle that nobody labeled: code, row and column from the head of the femur, range of levels."""


def deep_muscles(guide: Guide, n: int, room: np.ndarray, grid: np.ndarray) -> dict[int, np.ndarray]:
    """Return unlabeled muscle about hip and pelvis: what is left, shared by the nearest seed."""
    level = guide.whole.levels[n]
    seeds = [(code, place) for code, place, (low, high) in DEEP_SEEDS if low <= level < high]
    if not seeds:
        return {}
    _, back, inward = from_hip(guide, n, grid)
    back, inward = back - HEAD[1] * guide.scale, inward - HEAD[2] * guide.scale
    away = [np.hypot(back - r * guide.scale, inward - c * guide.scale) for _, (r, c) in seeds]
    owner = np.argmin(away, axis=0)
    reach = np.min(away, axis=0) < np.interp(level, (-0.06, 0.05, 0.17), (110, 45, 14))
    loose = room & (ndi.distance_transform_edt(room) > 1.6) & reach
    loose = ndi.binary_opening(loose, disk(3.5))
    border = ndi.grey_dilation(owner, 2) != ndi.grey_erosion(owner, 2)
    found: dict[int, np.ndarray] = {}
    for k, (code, _) in enumerate(seeds):
        mask = smooth(loose & ~border & (owner == k), 1)
        found[code] = found.get(code, False) | (mask & room)
    return found


def vessels(guide: Guide, n: int, tissue: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the place of the large vessels in a slice: row, column and radius; nan if none."""
    level = guide.whole.levels[n]
    room = tissue == GAP
    depth = ndi.distance_transform_edt(room)

    def to(*names: str) -> np.ndarray:
        return away_from(np.isin(tissue, [NUMBER[name] for name in names]))

    if level < -0.06:
        return np.full(3, np.nan)
    if level < 0.72:
        cost = to("SAR") + np.minimum(to("AL", "PEC"), to("AM")) + 0.6 * to("VM", "VI", "RF")
        if level < 0.2:
            front = np.nonzero(tissue.any(1))[0][0]
            cost = 0.6 * to("SAR") + to("PEC", "AL") + 0.3 * np.maximum(grid[0] - front - 20, 0)
        radius = 4.0
    elif level < 1.1:
        bone = np.isin(tissue, BONES)
        rows, cols = np.nonzero(bone & (away_from(tissue == NUMBER["fibula"]) > 8))
        if not len(rows):
            return np.full(3, np.nan)
        center = cols.mean() + (level < 0.86) * 6
        cost = np.hypot(grid[0] - rows.max() - 6, grid[1] - center) + 2 * away_from(room)
        radius = 4.0
    elif level < 1.93:
        cost = to("SOL") + to("TP", "FHL") + 0.2 * to("FDL") + 0.2 * to("FHL")
        radius = 3.0
    else:
        return np.full(3, np.nan)
    cost = cost - 1.5 * np.minimum(depth, 3)
    row, col = np.unravel_index(np.argmin(cost), cost.shape)
    return np.array([row, col, radius * guide.scale])


def steady(path: np.ndarray) -> np.ndarray:
    """Return a path through slices without jumps."""
    good = np.isfinite(path).all(1)
    out = path.copy()
    kept = ndi.median_filter(path[good], (7, 1), mode="nearest")
    out[good] = ndi.gaussian_filter1d(kept, 1.5, axis=0, mode="nearest")
    return out


def complete(whole: Whole, unknown: np.ndarray | None = None) -> np.ndarray:
    """Return all structures of a whole limb, [slice, row, column].

    Args:
        whole: The limb, its tibia included.
        unknown: Where muscles lie that were not traced.
    """
    muscles = np.isin(whole.labels, MUSCLES)
    if unknown is not None:
        muscles |= unknown
    about = guide(whole, muscles)
    grid = np.indices(whole.labels.shape[1:]).astype(float)
    tendons = knee_tendons(about, grid) | ankle_tendons(about, grid)
    out = whole.labels.copy()
    if unknown is not None:
        out[unknown] = UNKNOWN
    for n in range(len(out)):
        out[n] = one_slice(about, n, out[n], muscles[n], tendons[n], grid)
    path = steady(np.stack([vessels(about, n, out[n], grid) for n in range(len(out))]))
    for n, (row, col, radius) in enumerate(path):
        if np.isfinite(row):
            spot = np.hypot(grid[0] - row, grid[1] - col) < radius
            out[n][spot & ~np.isin(out[n], [0, *BONES])] = VESSEL
    return out


def drop_small_components(tissue: np.ndarray) -> None:
    """Turn the smallest parts of muscles into gap."""
    for code in [*MUSCLES, UNKNOWN]:
        if (tissue == code).any():
            parts, _ = ndi.label(tissue == code)
            small = np.bincount(parts.ravel()) < LEAST_PX
            tissue[(parts > 0) & small[parts]] = GAP


def one_slice(
    about: Guide,
    n: int,
    tissue: np.ndarray,
    muscle: np.ndarray,
    tendon: np.ndarray,
    grid: np.ndarray,
) -> np.ndarray:
    """Return the structures of a slice, but for its vessels."""
    level = float(about.whole.levels[n])
    hip = hip_bone(about, n, muscle, grid)
    tissue[hip & (tissue == 0)] = HIP_ID
    tissue[femur(about, n, muscle, grid) & (tissue == 0)] = FEMUR_ID
    parts = foot(about, n, grid)
    for code, mask in parts.items():
        tissue[mask & (tissue == 0)] = code
    tissue[tendon & (tissue == 0)] = TENDON
    joints(tissue)
    buttock = (tissue == NUMBER["GMax"]) | ((tissue == NUMBER["TFL"]) & (level < 0.28))
    solid = (tissue > 0) & ~buttock
    if not (solid | buttock).any():
        return tissue
    if level < 0.02:
        middle = about.front + PELVIS_FRONT, about.midline
        solid |= np.hypot(grid[0] - middle[0], grid[1] - middle[1] + 5) < 4
    inside = fascia(solid, buttock, level)
    solid &= tissue > 0
    deep = deep_muscles(about, n, inside & (tissue == 0), grid)
    for code, mask in deep.items():
        tissue[mask & (tissue == 0)] = code
    tissue[inside & (tissue == 0)] = GAP
    drop_small_components(tissue)
    return tissue


def joints(tissue: np.ndarray) -> None:
    """Put cartilage where two bones meet, or nearly so."""
    away = [away_from(tissue == code) for code in np.unique(tissue) if code in BONES]
    if len(away) > 1:
        second = np.sort(away, axis=0)[1]
        bone, free = np.isin(tissue, BONES), tissue == 0
        joint = (bone & (second <= JOINT_PX)) | (free & (second <= 2 * JOINT_PX))
        joint |= ndi.binary_closing(joint, disk(3)) & free
        tissue[joint] = CARTILAGE
