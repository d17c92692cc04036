"""What lies where in a limb, by the templates of other people that fit what a network has found.

The people are those whose templates the networks learnt from (`phantom.templates`): label maps say
where muscles lie whatever an image looks like. An affine map lays each template over a limb by
its muscles' centres; those that agree best with the network say together what to expect.
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

# All of these: ours, and the result hardly depends on them (docs/weights.md).
STEP_PX = 4  # templates are compared in every so manieth row and column
COMPARED = 40  # templates whose centres and areas fit best are compared pixel by pixel
USED = 16  # of them say what to expect
SHARPNESS = 10.0  # how much more a template counts for a unit of mean log probability
MIN_AREA_PX = 20  # smaller sections of muscles do not guide the map
MIN_MUSCLES = 4  # with fewer there is no map
FAR_PX = 15.0  # a muscle that is farther off than this counts no worse
TRUSTED_PX = 5.0  # a muscle that is farther off than this guides the map less
AFFINITY = 0.05  # how much a map is held back from shearing, as a share of the muscles' spread
LEAST = 1e-3  # no class is less probable than this


class Atlas(NamedTuple):
    """Templates, all of right limbs.

    Attributes:
        tissues: Their codes.
        centres: Row and column of every muscle's centre; 0 where it is absent.
        areas: Of every muscle. Pixels.
    """

    tissues: UInt8[np.ndarray, "n h w"]
    centres: Float[np.ndarray, "n 12 2"]
    areas: Float[np.ndarray, "n 12"]


class Maps(NamedTuple):
    """Affine maps from templates to a limb: place @ linear + shift."""

    linear: Float[np.ndarray, "n 2 2"]
    shift: Float[np.ndarray, "n 2"]


class Expected(NamedTuple):
    """What templates say of a limb.

    Attributes:
        shares: Of the templates that show each class, by pixel.
        fit: Mean log probability, by the network, of the classes of the best template.
        degrees: How far the limb is turned against the templates, from down the rows towards
            along the columns; the median of those that are used.
    """

    shares: Float[np.ndarray, "h w k"]
    fit: float
    degrees: float


@lru_cache(maxsize=2)
def load_atlas(region: str) -> Atlas:
    """Load the templates of a region."""
    tissues = read_tissues(region)[0]
    centres, sizes = measure(tissues)
    return Atlas(tissues, centres[:, 1:], np.pi * sizes[:, 1:] ** 2)


def expect(atlas: Atlas, probabilities: Float[np.ndarray, "h w k"]) -> Expected | None:
    """Return what is to be expected in a limb; None if too little was found to tell.

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
    centres, areas = _find_muscles(labels.reshape(len(rows), len(columns)))
    shared = (areas > MIN_AREA_PX) & (atlas.areas > MIN_AREA_PX)
    if shared.sum(1).max() < MIN_MUSCLES:
        return None
    chosen, maps = _fit(atlas, centres, areas, shared)
    codes = _lay(atlas, chosen, maps, places)
    fits = _agreement(codes, labels, np.log(np.maximum(coarse, LEAST)))
    best = np.argsort(-fits, kind="stable")[:USED]
    counts = np.exp(SHARPNESS * (fits[best] - fits[best[0]]))
    shares = _shares(codes[best], counts / counts.sum(), coarse.shape[-1])
    grid = shares.reshape(len(rows), len(columns), -1)
    degrees = float(np.median(_degrees(maps.linear[best])))
    return Expected(_enlarge(grid, rows, columns, shape), float(fits[best[0]]), degrees)


def _find_muscles(
    labels: Int[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "12 2"], Float[np.ndarray, " 12"]]:
    """Return the centre of every muscle's largest part, and the muscle's area, in full pixels."""
    centres, areas = np.zeros((MUSCLES, 2)), np.zeros(MUSCLES)
    for place, box in enumerate(ndi.find_objects(labels, MUSCLES)):
        if box is None:
            continue
        muscle = labels[box] == place + 1
        areas[place] = muscle.sum() * STEP_PX**2
        parts, _ = ndi.label(muscle)
        largest = np.bincount(parts.ravel())[1:].argmax() + 1
        corner = np.array([side.start for side in box])
        middle = np.argwhere(parts == largest).mean(0)
        centres[place] = (corner + middle) * STEP_PX + STEP_PX // 2
    return centres, areas


def _fit(
    atlas: Atlas,
    centres: Float[np.ndarray, "12 2"],
    areas: Float[np.ndarray, " 12"],
    shared: Bool[np.ndarray, "n 12"],
) -> tuple[Int[np.ndarray, " t"], Maps]:
    """Return the templates whose muscles can be brought nearest to those found, and how."""
    able = np.flatnonzero(shared.sum(1) >= MIN_MUSCLES)
    own_areas, shared = atlas.areas[able], shared[able]
    weights = np.sqrt(np.where(shared, np.minimum(areas, own_areas), 0))
    counted = weights
    for _ in range(4):
        maps = _affine(atlas.centres[able], centres, counted)
        there = atlas.centres[able] @ maps.linear + maps.shift[:, None]
        off = np.linalg.norm(there - centres, axis=-1)
        counted = weights / (1 + (off / TRUSTED_PX) ** 2)
    distance = (weights * np.minimum(off, FAR_PX)).sum(1) / weights.sum(1) / FAR_PX
    mapped = own_areas * np.abs(np.linalg.det(maps.linear))[:, None]
    difference = np.abs(mapped - areas).sum(1) / (mapped + areas).sum(1)
    best = np.argsort(distance + difference, kind="stable")[:COMPARED]
    return able[best], Maps(maps.linear[best], maps.shift[best])


def _affine(
    source: Float[np.ndarray, "n m 2"],
    target: Float[np.ndarray, "m 2"],
    weights: Float[np.ndarray, "n m"],
) -> Maps:
    """Return the weighted least-squares maps, drawn towards similarities where points are few."""
    shares = (weights / weights.sum(1, keepdims=True))[..., None]
    from_middle, to_middle = (shares * source).sum(1), (shares * target).sum(1)
    centred, aim = source - from_middle[:, None], target - to_middle[:, None]
    spread = np.swapaxes(shares * centred, 1, 2) @ centred
    product = np.swapaxes(shares * centred, 1, 2) @ aim
    size = np.trace(spread, axis1=1, axis2=2)[:, None, None]
    turned = np.array([[0, 1], [-1, 0]])
    straight = np.trace(product, axis1=1, axis2=2)[:, None, None] * np.eye(2)
    skewed = (product[:, 0, 1] - product[:, 1, 0])[:, None, None] * turned
    similarity = (straight + skewed) / size
    hold = AFFINITY * size
    linear = np.linalg.solve(spread + hold * np.eye(2), product + hold * similarity)
    return Maps(linear, to_middle - (from_middle[:, None] @ linear)[:, 0])


def _degrees(linear: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, " n"]:
    """Return by how much maps turn, whatever else they do."""
    skew, straight = linear[:, 0, 1] - linear[:, 1, 0], np.trace(linear, axis1=1, axis2=2)
    return np.rad2deg(np.arctan2(skew, straight))


def _lay(
    atlas: Atlas, chosen: Int[np.ndarray, " t"], maps: Maps, places: Float[np.ndarray, "p 2"]
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

    Over where it or the network has muscle, but not where the template does not know which.
    """
    classes = np.where(codes < log_probabilities.shape[1], codes, 0)
    counted = ((classes > 0) | (labels > 0)) & (codes != UNKNOWN)
    found = np.take_along_axis(log_probabilities, classes.T.astype(np.intp), 1).T
    return np.asarray((found * counted).sum(1) / np.maximum(counted.sum(1), 1))


def _shares(
    codes: UInt8[np.ndarray, "t p"], counts: Float[np.ndarray, " t"], classes: int
) -> Float[np.ndarray, "p k"]:
    """Return the weighted share of templates with each class; unknown muscle may be any."""
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
    """Interpolate linearly between the rows and columns that were looked at."""
    down, across = (
        np.stack([np.interp(np.arange(size), at, unit) for unit in np.eye(len(at))], 1)
        for at, size in zip((rows, columns), shape, strict=True)
    )
    tall = np.tensordot(down.astype(np.float32), coarse.astype(np.float32), 1)
    return np.matmul(across.astype(np.float32), tall)
