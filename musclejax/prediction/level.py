"""Where along the limb each slice lies, and which muscles can be there.

A network names the level of every slice of a limb alone. Its opinions are then put on one line per
limb: heights are known, and so is about how long thighs and legs are. That tells the level of a
slice between others, where the network errs, and that of a foot from that of a calf.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
_AT_ONCE = 2**18
"""Numbers that are held at once: a scan of a meter has millions."""
_REVERSED = 6.0
"""Logarithm of how much likelier the other direction must be for a warning. Source: ours."""
REVERSED = (
    "the slices seem to run from the feet to the head the other way than the header says: check "
    "left and right"
)


class Fit(NamedTuple):
    """Lines of levels over heights, and how likely each is.

    Attributes:
        knees_mm: Heights of the knee joint that are considered, each with all `THIGH_MM`.
        heights_mm: Of the slices.
        chances: Of the lines: knee joints from the feet up, all `THIGH_MM` for each; they add up
            to 1.
        evidence: Logarithm of the likelihood of the best of them.
    """

    knees_mm: Float[np.ndarray, " knees"]
    heights_mm: Float[np.ndarray, " z"]
    chances: Float[np.ndarray, " n"]
    evidence: float

    def expect(
        self, *functions: Callable[[Float[np.ndarray, "n z"]], np.ndarray]
    ) -> Float[np.ndarray, "f z"]:
        """Return what functions of the levels are on average; they are given few slices at once."""
        step = max(1, _AT_ONCE // len(self.chances))
        starts = range(0, len(self.heights_mm), step)
        parts = (lines(self.knees_mm, self.heights_mm[z : z + step]) for z in starts)
        found = [[self.chances @ function(part) for function in functions] for part in parts]
        return np.concatenate(found, 1)

    def spread(self) -> Float[np.ndarray, "2 z"]:
        """Return mean and standard deviation of the level of each slice."""

        def square(levels: Float[np.ndarray, "n z"]) -> Float[np.ndarray, "n z"]:
            return np.asarray((levels - self.chances @ levels) ** 2)

        mean, variance = self.expect(np.asarray, square)
        return np.stack([mean, np.sqrt(np.maximum(variance, 0))])

    def chances_of(self, ranges: Sequence[tuple[float, float]]) -> Float[np.ndarray, "r z"]:
        """Return the probability that each slice lies in ranges of levels, the margin included."""
        ends = ((low - MARGIN, high + MARGIN) for low, high in ranges)
        return self.expect(*(partial(_between, low, high) for low, high in ends))


def _between(low: float, high: float, levels: Float[np.ndarray, "n z"]) -> Bool[np.ndarray, "n z"]:
    return (levels >= low) & (levels <= high)


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
        mean, sd[seen, side] = fit.spread()
        level[seen, side] = mean
        if _agreement(opinions, mean) < MIN_AGREEMENT:
            warnings.append(UNCERTAIN.format(side=SIDES[side]))
            in_range[seen, side] = possible[seen, side] = True
            continue
        ranges = [range_of(region), *(muscle.levels for muscle in region.muscles)]
        likely = fit.chances_of(ranges) >= IMPOSSIBLE
        in_range[seen, side] = likely[0]
        for muscle, there in zip(region.muscles, likely[1:], strict=True):
            possible[seen, side, muscle.number] = there
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
    step = max(1, _AT_ONCE // (len(THIGH_MM) * len(heights_mm)))
    parts = (knees[start : start + step] for start in range(0, len(knees), step))
    total = np.concatenate([_log_chances(part, opinions, heights_mm, labeled) for part in parts])
    chances = np.exp(total - total.max())
    return Fit(knees, heights_mm, chances / chances.sum(), float(total.max()))


def lines(
    knees_mm: Float[np.ndarray, " knees"], heights_mm: Float[np.ndarray, " z"]
) -> Float[np.ndarray, "n z"]:
    """Return the levels of slices by the lines of some knee joints; see `Fit`."""
    above = heights_mm - knees_mm[:, None, None]
    lengths = THIGH_MM[:, None] * np.where(above > 0, 1, _LEG_SHARE)
    return (1 - above / lengths).reshape(-1, len(heights_mm))


def _log_chances(
    knees_mm: Float[np.ndarray, " knees"],
    opinions: Float[np.ndarray, "z k"],
    heights_mm: Float[np.ndarray, " z"],
    labeled: Labeled | None,
) -> Float[np.ndarray, " n"]:
    """Return the logarithm of how likely the lines of some knee joints are, but for a constant."""
    levels = lines(knees_mm, heights_mm)
    place = np.clip((levels - LEVELS[0]) / (LEVELS[1] - LEVELS[0]), 0, len(LEVELS) - 1)
    before = np.minimum(place.astype(int), len(LEVELS) - 2)
    share, z = place - before, np.arange(len(heights_mm))
    chance = (1 - share) * opinions[z, before] + share * opinions[z, before + 1]
    likelihood = np.log((1 - _WRONG) * chance + _WRONG / len(LEVELS))
    spacing = np.ptp(heights_mm) / max(1, len(heights_mm) - 1)
    weight = min(1.0, spacing / _INDEPENDENT_MM) if len(heights_mm) > 1 else 1.0
    mean, spread = _TYPICAL_MM
    prior = np.tile(-(((THIGH_MM - mean) / spread) ** 2) / 2, len(knees_mm))
    if labeled is not None:
        misplaced = _misplaced(labeled, np.array(LEVELS))
        off = (1 - share) * misplaced[z, before] + share * misplaced[z, before + 1]
        likelihood += np.log(1 - _TRUSTED * off)
        low, high = range_of(labeled.region)
        within = _between(low, high, levels).mean(1)
        doubt = np.clip(1 - labeled.probability, _LEAST_DOUBT, 1)
        prior += np.log(doubt + (1 - doubt) * within)
    return weight * likelihood.sum(1) + prior


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
