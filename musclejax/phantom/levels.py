"""Which template shows which level of a limb, and how often each is drawn."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from musclejax.errors import InputError
from musclejax.phantom.templates import Anatomy

_STEP = 0.01
"""Levels between two that are told apart: 4 mm."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels to draw from; see `levels_of`.

    Attributes:
        grid: Levels.
        ends: Cumulative probability of each.
        shares: Probability of each limb at each level.
        nearest: Template of each limb that is nearest to each level.
    """

    grid: Float[np.ndarray, " g"]
    ends: Float[np.ndarray, " g"]
    shares: Float[np.ndarray, "g limbs"]
    nearest: Int[np.ndarray, "g limbs"]

    def draw(self, quantile: float, rng: np.random.Generator) -> int:
        """Return a template.

        Args:
            quantile: 0 to 1: the share of slices that lie above, nearer the hip.
            rng: Chooses the limb.
        """
        place = min(int(np.searchsorted(self.ends, quantile, "right")), len(self.grid) - 1)
        return int(self.nearest[place, rng.choice(self.shares.shape[1], p=self.shares[place])])


def levels_of(anatomy: Anatomy, span: tuple[float, float], empty: float, whole: float) -> Levels:
    """Return the levels of a region and the templates at each.

    Args:
        anatomy: Templates.
        span: Lowest and highest level; beyond the templates nothing is drawn.
        empty: Share of slices from levels where no limb has a muscle of the region.
        whole: Share of slices from whole limbs, where others have the level too. The others' people
            are drawn equally often, and so are the whole limbs.

    Raises:
        InputError: If no template lies within the span.
    """
    limbs = anatomy.limbs
    every = np.concatenate([limb.levels for limb in limbs])
    grid = np.arange(float(every.min()), float(every.max()) + _STEP, _STEP).astype(np.float32)
    there = np.stack([limb.has(grid) for limb in limbs], 1)
    inside = there.any(1) & (grid >= span[0]) & (grid <= span[1])
    if not inside.any():
        known = f"some of {every.min():.2f} to {every.max():.2f}, the {anatomy.region}'s"
        raise InputError("phantom.levels", f"{span[0]:g}, {span[1]:g}", known)
    grid, there = grid[inside], there[inside]
    nearest = np.stack([limb.at(grid) for limb in limbs], 1)
    shown = (anatomy.tiles.sizes[:, 1:] > 0).any(1)[nearest] & there
    people = [limb.subject for limb in limbs]
    shares = _shares(there, people, np.array([limb.whole for limb in limbs]), whole)
    kinds = shown.any(1), ~shown.any(1)
    chance = sum(
        kind * (part / max(kind.sum(), 1))
        for kind, part in zip(kinds, (1 - empty, empty), strict=True)
    )
    return Levels(grid, np.cumsum(chance / np.sum(chance)), shares, nearest)


def _shares(
    there: Bool[np.ndarray, "g limbs"],
    people: list[str],
    is_whole: Bool[np.ndarray, " limbs"],
    whole: float,
) -> Float[np.ndarray, "g limbs"]:
    """Return the probability of each limb at each level."""
    same = np.array(people)[:, None] == np.array(people)
    own = there / np.maximum(there @ same, 1)  # each person once, shared by the limbs
    kinds = [own * is_whole, own * ~is_whole]
    parts = [kind / np.maximum(kind.sum(1, keepdims=True), 1e-9) for kind in kinds]
    shares = parts[0] * whole + parts[1] * (1 - whole)
    total = shares.sum(1, keepdims=True)
    alone = parts[0] + parts[1]  # where one kind has no share but is all there is
    shares = np.where(total > 0, shares / np.maximum(total, 1e-9), alone)
    return shares / shares.sum(1, keepdims=True)
