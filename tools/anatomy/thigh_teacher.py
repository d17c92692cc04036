"""Four real limbs as teachers: how high a thigh's section lies, and which tissue a pixel would be.

The limbs are those of the Visible Human Male and Female, traced at the University of Denver (CC BY
4.0, doi 10.1038/s41597-022-01905-2). They have adductor longus, brevis, pectineus, gluteus maximus
and tensor fasciae latae, which the label maps of the templates lack.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi
from scipy.interpolate import RBFInterpolator, RegularGridInterpolator
from scipy.spatial import cKDTree

from musclejax.anatomy import SLICE_SPACING_MM as PIXEL_MM

AB, PEC, TFL, GMAX = 13, 14, 15, 16
"""Muscles that no network labels: adductor brevis, pectineus, tensor fasciae latae, gluteus
maximus."""
LABELED = range(1, 12)
"""Muscles that the label maps and the teachers have, but for `NO_RECTUS`."""
RF, SAR = 4, 5
CLASSES = (*range(1, 13), AB, PEC, TFL, GMAX)
CODES = np.zeros(64, np.uint8)
CODES[:13] = np.arange(13)
CODES[[27, 29, 30, 31]] = AB, PEC, TFL, GMAX
"""The teachers' numbers -> ours."""
SOURCE_MM, SLICE_MM = 0.75, 2.5
HIP_KNEE = {
    "VHF_Left": (293.7, 140.0),
    "VHF_Right": (297.7, 142.9),
    "VHM_Left": (341.6, 169.0),
    "VHM_Right": (344.7, 170.0),
}
"""Slices of level 0 (adductor longus begins at 0.05, as in the BodyParts3D atlas) and of level 1,
the joint line (where the tibia, from above, reaches half of its largest section)."""
LEVELS = np.arange(0.06, 1.0, 0.01)
THIGH_MM = np.arange(380.0, 481.0, 5.0)
"""From hip to knee."""
TYPICAL_MM, STIFFNESS = 430.0, 1e-5
"""A thigh that differs from the typical length by 100 mm costs 0.1, as much as a poor fit does."""
WORST = 0.9
"""No tile costs more: one bad tile does not move its limb."""
SMOOTHING = (3000.0, 800.0, 250.0)
"""Of the thin plates, from stiff to supple."""
STEP = 5
"""Border pixels from one landmark to the next."""

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Section:
    """Areas [mm2] and centers [mm] of muscles 1 to 11 at index 1 to 11; 0 and NaN where absent."""

    areas: np.ndarray
    centers: np.ndarray


@dataclass(frozen=True)
class Teacher:
    """One traced limb: codes [slice, row, column], a right limb in radiological view."""

    codes: np.ndarray
    hip: float
    knee: float

    def at(self, level: float) -> np.ndarray:
        """Return the section at a level."""
        index = round(self.hip - level * (self.hip - self.knee))
        return self.codes[min(max(index, 0), len(self.codes) - 1)]


def read_teachers(folder: Path) -> list[Teacher]:
    """Read the four limbs, left ones mirrored."""
    return [read_teacher(folder / f"{name}_labels.nii.gz", *HIP_KNEE[name]) for name in HIP_KNEE]


def read_teacher(path: Path, hip: float, knee: float) -> Teacher:
    """Read one limb."""
    image = nib.as_closest_canonical(nib.load(path))
    codes = CODES[np.asanyarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]]
    if "Left" in path.name:
        codes = codes[:, :, ::-1]
    return Teacher(np.pad(codes, ((0, 0), (4, 4), (4, 4))), hip, knee)


def measure(labels: np.ndarray, pixel: float) -> Section:
    """Return the areas and centers of the muscles of one section."""
    areas, centers = np.zeros(12), np.full((12, 2), np.nan)
    for muscle in LABELED:
        place = np.argwhere(labels == muscle) * pixel
        if len(place) * pixel**2 > 60:
            areas[muscle], centers[muscle] = len(place) * pixel**2, place.mean(0)
    return Section(areas, centers)


def similarity(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> Map:
    """Return the turn (at most 30 degrees), scale and shift that bring points onto others."""
    i = np.array([1, 1j])
    p, q = source @ i, target @ i
    p0, q0 = (weights * p).sum(), (weights * q).sum()
    factor = (weights * np.conj(p - p0) * (q - q0)).sum() / (weights * abs(p - p0) ** 2).sum()
    factor = abs(factor) * np.exp(1j * np.clip(np.angle(factor), -0.5, 0.5))

    def apply(points: np.ndarray) -> np.ndarray:
        moved = q0 + factor * (points @ i - p0)
        return np.stack([moved.real, moved.imag], -1)

    return apply


def unlike(tile: Section, taught: Section) -> float:
    """Return how badly a section fits another: places, relative areas, and muscles that lack."""
    here, there = tile.areas > 0, taught.areas > 0
    both = here & there
    if both.sum() < 4:
        return 3.0
    weights = (tile.areas * taught.areas)[both] ** 0.25
    weights /= weights.sum()
    fitted = similarity(taught.centers[both], tile.centers[both], weights)
    off = ((fitted(taught.centers[both]) - tile.centers[both]) ** 2).sum(1)
    spread = ((tile.centers[both] - weights @ tile.centers[both]) ** 2).sum(1)
    ratio = np.log(tile.areas[both] / taught.areas[both])
    ratio = np.minimum(abs(ratio - np.median(ratio)), 1.5)
    lacking = here & ~there
    if not there[RF]:
        lacking[[RF, SAR]] = False
    place = np.sqrt((weights @ off) / (weights @ spread))
    return float(
        place + 0.4 * weights @ ratio + 0.15 * lacking.sum() + 0.03 * (there & ~here).sum()
    )


def teach_levels(teachers: list[Teacher]) -> list[list[Section]]:
    """Return what every teacher has at `LEVELS`."""
    return [[measure(t.at(level), SOURCE_MM) for level in LEVELS] for t in teachers]


def find_levels(
    tiles: list[np.ndarray], heights_mm: np.ndarray, taught: list[list[Section]]
) -> np.ndarray:
    """Return the level of all tiles of one person, hip 0 and knee 1: a line over their heights."""
    measured = [measure(t, PIXEL_MM) for t in tiles]
    costs = np.array([[np.mean([unlike(m, t[k]) for t in taught]) for k in range(len(LEVELS))]
                      for m in measured])  # fmt: skip
    costs = np.minimum(costs, WORST)
    tile = np.arange(len(tiles))
    best, found = np.inf, heights_mm
    for length in THIGH_MM:
        for lowest in np.arange(0.3, 1.15, 0.005):
            levels = lowest - heights_mm / length
            nearest = np.round((levels - LEVELS[0]) / 0.01).astype(int)
            inside = np.clip(nearest, 0, len(LEVELS) - 1)
            cost = costs[tile, inside].mean() + 0.2 * (nearest != inside).mean()
            cost += STIFFNESS * (length - TYPICAL_MM) ** 2
            if cost < best:
                best, found = cost, levels
    return found


def border(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that touch what is not of it."""
    return np.argwhere(mask & ~ndi.binary_erosion(mask))


def register(tile: np.ndarray, taught: np.ndarray, without: tuple[int, ...] = ()) -> Map:
    """Return where points of a tile lie in a teacher's section, both in mm.

    A similarity of the centers first, an affine map, then thin plates: borders of the same muscle
    are drawn together, the nearest points anew every time, from either side.

    Args:
        tile: Labels 0-11.
        taught: The teacher's section.
        without: Muscles of the tile that are not to be relied upon.
    """
    a, b = measure(tile, PIXEL_MM), measure(taught, SOURCE_MM)
    shared = [m for m in LABELED if a.areas[m] > 0 and b.areas[m] > 0 and m not in without]
    weights = (a.areas * b.areas)[shared] ** 0.25
    to_taught = similarity(a.centers[shared], b.centers[shared], weights / weights.sum())
    own = [border(tile == m)[::STEP] * PIXEL_MM for m in shared]
    theirs = [border(taught == m) * SOURCE_MM for m in shared]
    for smoothing in (None, None, *SMOOTHING):
        points, targets = match(own, theirs, to_taught)
        to_taught = bend(points, targets, smoothing)
    return to_taught


def match(
    own: list[np.ndarray], theirs: list[np.ndarray], to_taught: Map
) -> tuple[np.ndarray, np.ndarray]:
    """Return points of borders and the places that they belong to, but for the farthest."""
    pairs = []
    for mine, other in zip(own, theirs, strict=True):
        moved = to_taught(mine)
        pairs.append((mine, other[cKDTree(other).query(moved)[1]]))
        some = other[:: STEP + 2]
        pairs.append((mine[cKDTree(moved).query(some)[1]], some))
    points, targets = (np.concatenate(part) for part in zip(*pairs, strict=True))
    off = np.hypot(*(to_taught(points) - targets).T)
    near = off < max(3 * np.median(off), 8)
    return points[near], targets[near]


def bend(points: np.ndarray, targets: np.ndarray, smoothing: float | None) -> Map:
    """Return the affine map, or the thin plates of a smoothing, from points to targets."""
    if smoothing is None:
        homogeneous = np.c_[points, np.ones(len(points))]
        matrix = np.linalg.lstsq(homogeneous, targets, rcond=None)[0]
        return lambda x: np.c_[x, np.ones(len(x))] @ matrix
    unique, inverse, counts = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    means = [np.bincount(inverse.ravel(), column) / counts for column in targets.T]
    return RBFInterpolator(unique, np.stack(means, 1), smoothing=smoothing / counts)


def carry(to_taught: Map, taught: np.ndarray, size: int) -> np.ndarray:
    """Return a teacher's section in a tile's place: `CLASSES` as masks [class, row, column]."""
    coarse = np.arange(0, size + 1, 2.0)
    grid = np.stack(np.meshgrid(coarse, coarse, indexing="ij"), -1)
    there = to_taught(grid.reshape(-1, 2) * PIXEL_MM).reshape(grid.shape) / SOURCE_MM
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1)
    place = RegularGridInterpolator((coarse, coarse), there)(pixels).transpose(2, 0, 1)
    return np.stack([ndi.map_coordinates((taught == code).astype(np.float32), place, order=1)
                     for code in CLASSES])  # fmt: skip


def teach(
    tile: np.ndarray, level: float, teachers: list[Teacher], without: tuple[int, ...] = ()
) -> np.ndarray:
    """Return the share of teachers that have each of `CLASSES` at a tile's pixels.

    A teacher without rectus and sartorius has no vote on them.
    """
    votes = np.zeros((len(CLASSES), *tile.shape), np.float32)
    voters = np.zeros((len(CLASSES), 1, 1), np.float32)
    for teacher in teachers:
        taught = teacher.at(level)
        votes += carry(register(tile, taught, without), taught, len(tile))
        asked = np.ones(len(CLASSES), bool)
        asked[[RF - 1, SAR - 1]] = (teacher.codes == SAR).any()
        voters[asked] += 1
    return votes / voters
