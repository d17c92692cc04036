"""What a segmentation shows of its own quality, per slice, side and class: sums, to be added up."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

CORE_PX = 2
"""A pixel is in the core of a section if those at this distance, in four directions, have its
label too. Borders are uncertain in good maps as well. Source: ours."""
Sums = Float[np.ndarray, "*z sides k"]


class Evidence(NamedTuple):
    """Sums over the pixels of a class, of one side and slice; slices from the feet up.

    Those of the network's own labels, before post-processing, on the model grid; 0 of sections that
    are gone after it, for which nothing is to be estimated:

    Attributes:
        pixels: Number of pixels with the label.
        inside: Probabilities of the class over them.
        total: Probabilities of the class over all pixels of the side.
        core: Pixels in the core of the section; see `CORE_PX`.
        core_inside: Probabilities of the class over the core.
        core_other: Probabilities of other muscles over the core.
        area_mm2: Cross-section after post-processing, as are all that follow.
        twin_mm2: By how much the sections of both sides differ, where two limbs show muscle.
        twins_mm2: Both sections there.
    """

    pixels: Sums
    inside: Sums
    total: Sums
    core: Sums
    core_inside: Sums
    core_other: Sums
    area_mm2: Sums
    twin_mm2: Sums
    twins_mm2: Sums


def add_up(evidence: Evidence, slices: Int[np.ndarray, " n"] | None = None) -> Evidence:
    """Return the sums over some slices, counted from the feet, or over all; fields [sides, k]."""
    chosen = slice(None) if slices is None else slices
    return Evidence(*(field[chosen].sum(0) for field in evidence))
