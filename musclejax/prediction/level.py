"""Where along the limb each slice lies, and which muscles can be there.

A network names the level of every slice of a limb alone. Its opinions are then put on one line per
limb: heights are known, and so is about how long thighs and legs are. That tells the level of a
slice between others, where the network errs, and that of a foot from that of a calf.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage as ndi

from musclejax.anatomy import LEVELS, LIMB_PX, REGIONS, SIDES, SLICE_PX, SLICE_SPACING_MM, Region
from musclejax.models.network import Network
from musclejax.prediction.batches import predict_classes
from musclejax.prediction.result import Levels
from musclejax.scan.grid import to_thumbnails
from musclejax.scan.slices import Slices

THIGH_MM = np.arange(350.0, 481.0, 10.0)
"""Lengths from hip to knee joint that are considered."""
_TYPICAL_MM = 420.0, 30.0
"""Mean and spread of that length. Source: ours; the Visible Human Female and Male have 386 and 434.
"""
_LEG_SHARE = 0.86
"""Length from knee to ankle joint, of that of the thigh. The same: 0.83 and 0.89."""
_STEP_MM = 4.0
_BEYOND_MM = 700.0
"""How far from the scan the knee joint may lie."""
_WRONG = 0.1
"""Share of slices whose opinion says nothing. Source: ours."""
_TRUSTED = 0.9
"""Share of slices whose labels are where their muscles are. Source: ours."""
_LEAST_DOUBT = 0.02
"""Of the region, even if it is given. Source: ours."""
_APART_MM = 25.0
"""How far the knee joints of both limbs usually are apart along the scan. Source: ours."""
_INDEPENDENT_MM = 20.0
"""Slices closer together err alike. Source: ours."""
_MIN_LIMB_CM2 = 8.0
"""Smaller sections of a limb are fingers, noise or its end. Source: ours."""
_RIM_PX = 6
"""Columns beside a limb that are shown with it."""
MARGIN = 0.03
"""How far beyond its range in `anatomy` a muscle may be, 13 mm: ranges come from 36 people."""
IMPOSSIBLE = 0.1
"""A muscle whose range has the level with a lower probability is not labeled. Source: ours."""
MIN_AGREEMENT, _NEAR = 0.3, 0.15
"""Where the network gives less probability to levels this near to the fitted ones, nothing is
removed. Source: ours."""
UNCERTAIN = "the levels of the {side} limb are uncertain: no muscle was removed by its level"
_REVERSED = 6.0
"""Logarithm of how much likelier the other direction must be for a warning. Source: ours."""
REVERSED = (
    "the slices seem to run from the feet to the head the other way than the header says: check "
    "left and right"
)


class Fit(NamedTuple):
    """Lines of levels over heights, and how likely each is.

    Attributes:
        levels: Of each slice, by each line: knee joints from the feet up, all `THIGH_MM` for each.
        chances: Of the lines; they add up to 1.
        evidence: Logarithm of the likelihood of the best of them.
    """

    levels: Float[np.ndarray, "n z"]
    chances: Float[np.ndarray, " n"]
    evidence: float


class Labeled(NamedTuple):
    """What the labels tell of the levels: the region, areas by slice and class, how sure it is."""

    region: Region
    areas: Float[np.ndarray, "z k"]
    probability: float


class _Limb(NamedTuple):
    """A limb: in which slices it is in view, the network's opinions of them, and their fit."""

    seen: Bool[np.ndarray, " z"]
    opinions: Float[np.ndarray, "n k"]
    fit: Fit


def find_levels(
    network: Network,
    slices: Slices,
    sides: UInt8[np.ndarray, "z c"],
    body: Slices,
    heights_mm: Float[np.ndarray, " z"],
    areas: Float[np.ndarray, "z sides k"],
    region: Region,
    probability: float,
) -> Levels:
    """Find the level of every slice of both limbs.

    Args:
        network: The level network.
        slices: On the model grid, normalized.
        sides: The side of each column, 1 + index into `anatomy.SIDES`, 0 for none.
        body: Which pixels show the body.
        heights_mm: Of the slices, rising to the head.
        areas: Labeled area of each class in each slice of each side.
        region: The region whose muscles are labeled.
        probability: That the scan shows it.
    """
    shape = len(slices), len(SIDES)
    level, sd = (np.full(shape, np.nan) for _ in range(2))
    in_range = np.zeros(shape, bool)
    possible = np.zeros((*shape, region.num_classes), bool)
    possible[..., 0] = True
    turned, warnings = 0.0, []
    limbs: dict[int, _Limb] = {}
    in_view = _find_limbs(sides, body)
    said = predict_classes(network, _limb_thumbnails(slices, sides, body, in_view))
    for side in range(len(SIDES)):
        seen = in_view[:, side]
        if not seen.any():
            continue
        opinions = said[np.nonzero(in_view)[1] == side]
        labeled = Labeled(region, areas[seen, side], probability)
        fit = fit_levels(opinions, heights_mm[seen], heights_mm, labeled)
        other_way = fit_levels(opinions, -heights_mm[seen], -heights_mm, labeled)
        turned += other_way.evidence - fit.evidence
        limbs[side] = _Limb(seen, opinions, fit)
    for side, (seen, opinions, alone) in limbs.items():
        others = [limb.fit for other, limb in limbs.items() if other != side]
        fit = _beside(alone, others[0]) if others else alone
        mean = fit.chances @ fit.levels
        level[seen, side] = mean
        sd[seen, side] = np.sqrt(np.maximum(fit.chances @ (fit.levels - mean) ** 2, 0))
        if _agreement(opinions, mean) < MIN_AGREEMENT:
            warnings.append(UNCERTAIN.format(side=SIDES[side]))
            in_range[seen, side] = possible[seen, side] = True
            continue
        for muscle in region.muscles:
            possible[seen, side, muscle.number] = _chance(fit, muscle.levels) >= IMPOSSIBLE
        in_range[seen, side] = _chance(fit, range_of(region)) >= IMPOSSIBLE
    if turned > _REVERSED:
        warnings.append(REVERSED)
    outside = np.isfinite(level).any(1) & ~in_range.any(1)
    if outside.any():
        low, high = (f(level[outside]) for f in (np.nanmin, np.nanmax))
        text = f"{outside.sum()} of {len(slices)} slices show no muscle of the {region.name}"
        warnings.append(f"{text} (levels {low:.2f} to {high:.2f}; 0 hip, 1 knee, 2 ankle)")
    return Levels(level, sd, in_range, possible, tuple(warnings))


def _find_limbs(sides: UInt8[np.ndarray, "z c"], body: Slices) -> Bool[np.ndarray, "z sides"]:
    """Return in which slices each limb is in view."""
    columns = np.stack([body[z].sum(0) for z in range(len(body))])
    pixels = [np.where(sides == side, columns, 0).sum(1) for side in range(1, len(SIDES) + 1)]
    return np.stack(pixels, 1) * (SLICE_SPACING_MM**2 / 100) >= _MIN_LIMB_CM2


def _limb_thumbnails(
    slices: Slices,
    sides: UInt8[np.ndarray, "z c"],
    body: Slices,
    in_view: Bool[np.ndarray, "z sides"],
) -> Iterator[Float[np.ndarray, "t t"]]:
    """Return each limb in view of each slice, as right limbs look, shrunk for the network."""
    for z, side in np.argwhere(in_view).tolist():
        shown = lone_limb(slices[z], body[z] & (sides[z] == side + 1))
        yield from to_thumbnails(shown[None, :, :: -1 if SIDES[side] == "left" else 1])


def region_at(levels: Levels) -> str:
    """Return the region that most of a scan shows; "" if no limb is in view."""
    seen = levels.level[np.isfinite(levels.level)]
    return list(REGIONS)[int(np.median(seen) > 1)] if seen.size else ""


def lone_limb(
    image: Float[np.ndarray, "r c"], limb: Bool[np.ndarray, "r c"]
) -> Float[np.ndarray, "p p"]:
    """Return the part around one limb, without the columns of the other.

    Args:
        image: A slice on the model grid.
        limb: Its pixels.
    """
    # Not the outermost pixels: noise and a part of the other limb may be among them.
    rows, columns = (_ends(limb.sum(axis)) for axis in (1, 0))
    top, left = int(np.mean(rows)), int(np.mean(columns))
    at = np.arange(SLICE_PX)
    inside = (at > columns[0] - _RIM_PX) & (at < columns[1] + _RIM_PX)
    padded = np.pad(np.where(inside, image, 0), LIMB_PX // 2)
    return padded[top : top + LIMB_PX, left : left + LIMB_PX]


def _ends(counts: Int[np.ndarray, " p"]) -> Float[np.ndarray, "2"]:
    """Return the places between which 98 % of the pixels lie, by their number at each place."""
    return np.percentile(np.repeat(np.arange(len(counts)), counts), [1, 99])


def fit_levels(
    opinions: Float[np.ndarray, "z k"],
    heights_mm: Float[np.ndarray, " z"],
    scan_mm: Float[np.ndarray, " n"],
    labeled: Labeled | None = None,
) -> Fit:
    """Return likely lines of levels over heights, by a network's opinions.

    Args:
        opinions: Probability of each of `anatomy.LEVELS` for each slice of a limb.
        heights_mm: Of these slices, rising to the head.
        scan_mm: Of all slices of the scan.
        labeled: The labels of the slices, which are most often where their muscles are.

    Source: ours.
    """
    knees = np.arange(scan_mm.min() - _BEYOND_MM, scan_mm.max() + _BEYOND_MM, _STEP_MM)
    above = heights_mm - knees[:, None, None]
    lengths = THIGH_MM[:, None] * np.where(above > 0, 1, _LEG_SHARE)
    levels = (1 - above / lengths).reshape(-1, len(heights_mm))
    place = np.clip((levels - LEVELS[0]) / (LEVELS[1] - LEVELS[0]), 0, len(LEVELS) - 1)
    before = np.minimum(place.astype(int), len(LEVELS) - 2)
    share, z = place - before, np.arange(len(heights_mm))
    chance = (1 - share) * opinions[z, before] + share * opinions[z, before + 1]
    likelihood = np.log((1 - _WRONG) * chance + _WRONG / len(LEVELS))
    spacing = np.ptp(heights_mm) / max(1, len(heights_mm) - 1)
    weight = min(1.0, spacing / _INDEPENDENT_MM) if len(heights_mm) > 1 else 1.0
    mean, spread = _TYPICAL_MM
    prior = np.tile(-(((THIGH_MM - mean) / spread) ** 2) / 2, len(knees))
    if labeled is not None:
        misplaced = _misplaced(labeled, np.array(LEVELS))
        off = (1 - share) * misplaced[z, before] + share * misplaced[z, before + 1]
        likelihood += np.log(1 - _TRUSTED * off)
        low, high = range_of(labeled.region)
        within = ((levels >= low) & (levels <= high)).mean(1)
        doubt = np.clip(1 - labeled.probability, _LEAST_DOUBT, 1)
        prior += np.log(doubt + (1 - doubt) * within)
    total = weight * likelihood.sum(1) + prior
    chances = np.exp(total - total.max())
    return Fit(levels, chances / chances.sum(), float(total.max()))


def range_of(region: Region) -> tuple[float, float]:
    """Return the highest and the lowest level of a region's muscles."""
    ends = [end for muscle in region.muscles for end in muscle.levels]
    return min(ends), max(ends)


def _misplaced(labeled: Labeled, levels: Float[np.ndarray, " l"]) -> Float[np.ndarray, "z l"]:
    """Return the share of the labeled area that cannot be at each level; 0 without labels."""
    wrong = np.zeros((labeled.areas.shape[1], len(levels)))
    for muscle in labeled.region.muscles:
        low, high = muscle.levels
        wrong[muscle.number] = (levels < low - MARGIN) | (levels > high + MARGIN)
    areas = labeled.areas.copy()
    areas[:, 0] = 0
    return np.asarray(areas @ wrong / np.maximum(areas.sum(1, keepdims=True), 1e-9))


def _beside(fit: Fit, other: Fit) -> Fit:
    """Return the fit of a limb that lies beside another: their knees are at about one height."""
    knees = other.chances.reshape(-1, len(THIGH_MM)).sum(1)
    near = ndi.gaussian_filter1d(knees, _APART_MM / _STEP_MM)
    support = np.repeat((1 - _WRONG) * near + _WRONG / len(knees), len(THIGH_MM))
    chances = fit.chances * support
    return fit._replace(chances=chances / chances.sum())


def _agreement(opinions: Float[np.ndarray, "z k"], level: Float[np.ndarray, " z"]) -> float:
    """Return the mean probability that the network gives to levels near the fitted ones."""
    near = np.abs(np.array(LEVELS) - level[:, None]) <= _NEAR
    return float((opinions * near).sum(1).mean())


def _chance(fit: Fit, ends: tuple[float, float]) -> Float[np.ndarray, " z"]:
    """Return the probability that each slice lies between two levels, the margin included."""
    inside = (fit.levels >= ends[0] - MARGIN) & (fit.levels <= ends[1] + MARGIN)
    return np.asarray(fit.chances @ inside)
