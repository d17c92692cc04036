"""Divide what the label maps leave unlabeled in the upper thigh, as four traced limbs have it.

Adductor longus, brevis, pectineus, gluteus maximus and tensor fasciae latae come from the limbs
(`thigh_teacher`), bent onto the muscles that both have.

Source: ours.
"""

import numpy as np
from scipy import ndimage as ndi
from thigh_teacher import AB, CLASSES, GMAX, LABELED, PEC, TFL, Teacher, teach
from thigh_tissues import (
    AL,
    BFL,
    BFS,
    BONE,
    CM2,
    FEMORAL,
    GAP,
    SM,
    ST,
    UNKNOWN,
    disk,
    fascia,
    smooth,
)

LOWEST = 0.66
"""Below this level no limb has any of `ADDED`: longus begins at 0.60."""
ADDED = (AL, AB, PEC, TFL, GMAX)
HAMSTRINGS = (SM, ST, BFL, BFS)
"""Where the label map lacks one of these, its place is unknown."""
SPREAD = 1.5
"""Votes are smoothed so far, in pixels: limbs agree on a place but not on a pixel."""
SHARE = 0.35
"""A pixel without a label belongs to what this share of the limbs has there. Less than half, as
limbs have gaps of a pixel between all muscles, and label maps none."""
SMALLEST = 0.4 * CM2
"""Smaller parts of a muscle are left out."""
AROUND_VESSELS = 1.5
"""Pixels between the vessels and what is added."""


def divide(tissues: np.ndarray, level: float, teachers: list[Teacher]) -> np.ndarray:
    """Return a tile's tissues with `ADDED`, its fascia around them, and unknown places anew.

    Args:
        tissues: Labels 0-11, femur, gap, vessels, unknown.
        level: 0 at the hip, 1 at the knee.
        teachers: The traced limbs.
    """
    if level > LOWEST:
        return tissues
    labels = np.where(tissues < AL, tissues, 0)
    votes = teach(labels, level, teachers)
    votes = ndi.gaussian_filter(votes, (0, SPREAD, SPREAD))
    free = (labels == 0) & ~np.isin(tissues, (BONE, FEMORAL))
    free &= ndi.distance_transform_edt(tissues != FEMORAL) > AROUND_VESSELS
    named = name(votes, free)
    lacking = [m for m in HAMSTRINGS if not (labels == m).any()]
    unknown = np.isin(named, lacking) | ((tissues == UNKNOWN) & (votes.sum(0) > 0.5))
    out = np.where(np.isin(named, ADDED), named, np.where(unknown & free, UNKNOWN, 0))
    out = np.where(np.isin(tissues, (*LABELED, BONE, FEMORAL)), tissues, tidy(out))
    inside = fascia(out > 0)
    return np.where((out == 0) & inside, GAP, out).astype(np.uint8)


def name(votes: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the code with most votes at free pixels, 0 where there are too few."""
    best = votes.argmax(0)
    enough = np.take_along_axis(votes, best[None], 0)[0] > SHARE
    return np.where(enough & free, np.array(CLASSES)[best], 0)


def tidy(codes: np.ndarray) -> np.ndarray:
    """Smooth the outlines of added muscles and leave out what is small or thin."""
    out = np.zeros_like(codes)
    for code in np.unique(codes)[1:]:
        mask = smooth(codes == code, 1.2) & (codes > 0)
        parts, count = ndi.label(ndi.binary_opening(mask, disk(1.5)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        out[np.isin(parts, np.nonzero(sizes >= SMALLEST)[0]) & (parts > 0)] = code
    return out
