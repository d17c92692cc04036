"""The atlas prior: probability of every class in a limb, from the templates that fit it best.

The templates are those that the networks learned from (`phantom.templates`): their label maps do
not depend on an image. An affine map registers each template to a limb by the centers of its
muscles. Those that agree best with the network's prediction vote on every pixel.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage as ndi

from musclejax.phantom.templates import measure, read_tissues
from musclejax.phantom.tissues import MUSCLES, UNKNOWN

REGIONS = ("thigh",)
"""Legs are left out: templates of two people lower the DSC of others' severely diseased legs."""

# All of these: ours, and the result hardly depends on them (docs/development/weights-log.md).
STEP_PX = 4  # distance of the rows and columns in which templates are compared
COMPARED = 40  # number of templates, best by centers and areas, that are compared by pixel
USED = 16  # number of templates that vote
SHARPNESS = 10.0  # of the votes' weights, per unit of mean log probability
MIN_AREA_PX = 20  # smaller sections of muscles do not guide the map
MIN_MUSCLES = 4  # with fewer there is no map
MAX_DISTANCE_PX = 15.0  # larger distances of a muscle's center are clipped to this
TRUSTED_PX = 5.0  # a muscle that is farther off than this guides the map less
SHEAR_PENALTY = 0.05  # pulls maps toward similarities; a share of the muscles' spread
MIN_PROBABILITY = 1e-3  # no class is less probable than this


class Atlas(NamedTuple):
    """Templates, all of right limbs.

    Attributes:
        tissues: Their codes.
        centers: Row and column of every muscle's center; 0 where it is absent.
        areas: Of every muscle. Pixels.
    """

    tissues: UInt8[np.ndarray, "n h w"]
    centers: Float[np.ndarray, "n 12 2"]
    areas: Float[np.ndarray, "n 12"]


class AffineMaps(NamedTuple):
    """Affine maps from templates to a limb: place @ linear + shift."""

    linear: Float[np.ndarray, "n 2 2"]
    shift: Float[np.ndarray, "n 2"]


class Prior(NamedTuple):
    """The atlas prior of a limb.

    Attributes:
        probabilities: Weighted share of the templates that show each class, per pixel.
        fit: Mean log probability, by the network, of the classes of the best template.
        degrees: Rotation of the limb against the templates, from down the rows toward along the
            columns; the median over the templates that vote.
    """

    probabilities: Float[np.ndarray, "h w k"]
    fit: float
    degrees: float


@lru_cache(maxsize=2)
def load_atlas(region: str) -> Atlas:
    """Load the templates of a region."""
    tissues = read_tissues(region, whole=False)[0]
    centers, sizes = measure(tissues)
    return Atlas(tissues, centers[:, 1:], np.pi * sizes[:, 1:] ** 2)


def find_prior(atlas: Atlas, probabilities: Float[np.ndarray, "h w k"]) -> Prior | None:
    """Return the atlas prior of a limb; None if too few muscles were found in it.

    Args:
        atlas: Templates of its region.
        probabilities: Of every class by a network, of a limb that lies as a right one.
    """
    shape = probabilities.shape[:2]
    rows, columns = (np.arange(STEP_PX // 2, size, STEP_PX, dtype=np.float32) for size in shape)
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    coarse = probabilities[STEP_PX // 2 :: STEP_PX, STEP_PX // 2 :: STEP_PX].reshape(
        len(places), -1
    )
    labels = coarse.argmax(-1)
    centers, areas = _find_muscles(labels.reshape(len(rows), len(columns)))
    shared = (areas > MIN_AREA_PX) & (atlas.areas > MIN_AREA_PX)
    if np.max(shared.sum(1)) < MIN_MUSCLES:
        return None
    chosen, maps = _fit(atlas, centers, areas, shared)
    codes = _warp(atlas, chosen, maps, places)
    fits = _agreement(codes, labels, np.log(np.maximum(coarse, MIN_PROBABILITY)))
    best = np.argsort(-fits, kind="stable")[:USED]
    counts = np.exp(SHARPNESS * (fits[best] - fits[best[0]]))
    votes = _vote(codes[best], counts / counts.sum(), coarse.shape[-1])
    grid = votes.reshape(len(rows), len(columns), -1)
    degrees = float(np.median(_degrees(maps.linear[best])))
    return Prior(_enlarge(grid, rows, columns, shape), float(fits[best[0]]), degrees)


def _find_muscles(
    labels: Int[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "12 2"], Float[np.ndarray, " 12"]]:
    """Return the center of every muscle's largest part, and the muscle's area, in full pixels."""
    centers, areas = np.zeros((MUSCLES, 2)), np.zeros(MUSCLES)
    for place, box in enumerate(ndi.find_objects(labels, MUSCLES)):
        if box is None:
            continue
        muscle = labels[box] == place + 1
        areas[place] = muscle.sum() * STEP_PX**2
        parts, _ = ndi.label(muscle)
        largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
        corner = np.array([side.start for side in box])
        middle = np.argwhere(parts == largest).mean(0)
        centers[place] = (corner + middle) * STEP_PX + STEP_PX // 2
    return centers, areas


def _fit(
    atlas: Atlas,
    centers: Float[np.ndarray, "12 2"],
    areas: Float[np.ndarray, " 12"],
    shared: Bool[np.ndarray, "n 12"],
) -> tuple[Int[np.ndarray, " t"], AffineMaps]:
    """Return the templates that fit the muscles found best, and their maps."""
    able = np.flatnonzero(shared.sum(1) >= MIN_MUSCLES)
    own_areas, shared = atlas.areas[able], shared[able]
    weights = np.sqrt(np.where(shared, np.minimum(areas, own_areas), 0))
    counted = weights
    for _ in range(4):
        maps = _affine(atlas.centers[able], centers, counted)
        there = atlas.centers[able] @ maps.linear + maps.shift[:, None]
        off = np.linalg.norm(there - centers, axis=-1)
        counted = weights / (1 + (off / TRUSTED_PX) ** 2)
    clipped = np.minimum(off, MAX_DISTANCE_PX)
    distance = (weights * clipped).sum(1) / weights.sum(1) / MAX_DISTANCE_PX
    mapped = own_areas * np.abs(np.linalg.det(maps.linear))[:, None]
    difference = np.abs(mapped - areas).sum(1) / (mapped + areas).sum(1)
    best = np.argsort(distance + difference, kind="stable")[:COMPARED]
    return able[best], AffineMaps(maps.linear[best], maps.shift[best])


def _affine(
    source: Float[np.ndarray, "n m 2"],
    target: Float[np.ndarray, "m 2"],
    weights: Float[np.ndarray, "n m"],
) -> AffineMaps:
    """Return the weighted least-squares maps, regularized toward similarities."""
    shares = (weights / weights.sum(1, keepdims=True))[..., None]
    from_middle, to_middle = (shares * source).sum(1), (shares * target).sum(1)
    centered, aim = source - from_middle[:, None], target - to_middle[:, None]
    spread = np.swapaxes(shares * centered, 1, 2) @ centered
    product = np.swapaxes(shares * centered, 1, 2) @ aim
    size = np.trace(spread, axis1=1, axis2=2)[:, None, None]
    quarter_turn = np.array([[0, 1], [-1, 0]])
    straight = np.trace(product, axis1=1, axis2=2)[:, None, None] * np.eye(2)
    skewed = (product[:, 0, 1] - product[:, 1, 0])[:, None, None] * quarter_turn
    similarity = (straight + skewed) / size
    hold = SHEAR_PENALTY * size
    linear = np.linalg.solve(spread + hold * np.eye(2), product + hold * similarity)
    return AffineMaps(linear, to_middle - (from_middle[:, None] @ linear)[:, 0])


def _degrees(linear: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, " n"]:
    """Return the rotation in each map."""
    skew, straight = linear[:, 0, 1] - linear[:, 1, 0], np.trace(linear, axis1=1, axis2=2)
    return np.rad2deg(np.arctan2(skew, straight))


def _warp(
    atlas: Atlas, chosen: Int[np.ndarray, " t"], maps: AffineMaps, places: Float[np.ndarray, "p 2"]
) -> UInt8[np.ndarray, "t p"]:
    """Return the codes of templates at places of the limb; 0 beyond a template."""
    back = np.linalg.inv(maps.linear).astype(np.float32)
    start = -(maps.shift[:, None].astype(np.float32) @ back)
    height, width = atlas.tissues.shape[1:]
    # A map that shrinks a template to nothing leads far beyond it.
    at = np.rint(np.clip(places @ back + start, -1, height + width)).astype(np.int32)
    row, column = at[..., 0], at[..., 1]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    flat = np.where(inside, row * width + column, 0)
    stack = atlas.tissues.reshape(len(atlas.tissues), -1)[chosen]
    return np.where(inside, np.take_along_axis(stack, flat, 1), 0)


def _agreement(
    codes: UInt8[np.ndarray, "t p"],
    labels: Int[np.ndarray, " p"],
    log_probabilities: Float[np.ndarray, "p k"],
) -> Float[np.ndarray, " t"]:
    """Return the mean log probability of each template's classes.

    The mean is over pixels where the template or the network has muscle; pixels of unknown muscle
    in the template are left out.
    """
    classes = np.where(codes < log_probabilities.shape[1], codes, 0)
    counted = ((classes > 0) | (labels > 0)) & (codes != UNKNOWN)
    found = np.take_along_axis(log_probabilities, classes.T.astype(np.intp), 1).T
    return np.asarray((found * counted).sum(1) / np.maximum(counted.sum(1), 1))


def _vote(
    codes: UInt8[np.ndarray, "t p"], counts: Float[np.ndarray, " t"], classes: int
) -> Float[np.ndarray, "p k"]:
    """Return the weighted share of templates with each class; unknown muscle counts for all."""
    unknown = codes == UNKNOWN
    known = np.where(codes < classes, codes, 0)
    shares = [counts @ ((known == label) & ~unknown) for label in range(classes)]
    return np.stack(shares, -1) + (counts @ unknown)[:, None] / classes


def _enlarge(
    coarse: Float[np.ndarray, "r c k"],
    rows: Float[np.ndarray, " r"],
    columns: Float[np.ndarray, " c"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "h w k"]:
    """Interpolate linearly between the rows and columns that were compared."""
    down, across = (
        np.stack([np.interp(np.arange(size), at, unit) for unit in np.eye(len(at))], 1)
        for at, size in zip((rows, columns), shape, strict=True)
    )
    tall = np.tensordot(down.astype(np.float32), coarse.astype(np.float32), 1)
    return np.matmul(across.astype(np.float32), tall)
