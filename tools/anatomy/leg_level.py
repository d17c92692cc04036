"""Find the levels of scans of the leg by the shares of its muscles in whole limbs.

Source: ours.
"""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np

MUSCLES = range(1, 7)
LENGTHS_MM, SPAN = np.arange(310, 441, 5), np.arange(1.02, 1.95, 0.01)
"""Lengths from the knee joint line to the ankle joint; levels of possible slices."""


def shares(tissues: np.ndarray) -> np.ndarray:
    """Return the shares of the six muscles in the sum of their areas, by tile."""
    areas = np.stack([(tissues == m).sum((1, 2)) for m in MUSCLES], 1).astype(float)
    return areas / np.maximum(areas.sum(1, keepdims=True), 1)


def profiles(folder: Path) -> np.ndarray:
    """Return these shares of each whole limb at the levels of `SPAN`, [limb, level, muscle]."""
    with (folder / "limbs_leg.csv").open() as file:
        rows = list(csv.DictReader(file))
    stack = np.asanyarray(nib.load(folder / "limbs_leg.nii.gz").dataobj)
    found = shares(stack.transpose(2, 1, 0))
    levels = np.array([float(row["level"]) for row in rows])
    names = np.array([row["subject"] + row["limb"] for row in rows])
    limbs = []
    for name in np.unique(names):
        own = np.nonzero(names == name)[0]
        own = own[np.argsort(levels[own])]
        limbs.append([np.interp(SPAN, levels[own], found[own, m]) for m in range(len(MUSCLES))])
    return np.array(limbs).transpose(0, 2, 1)


def fit(tissues: np.ndarray, heights_mm: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the levels of the tiles of one scan: the line through heights that fits best.

    Args:
        tissues: Tiles [tile, row, column].
        heights_mm: Of each, in the scan.
        known: From `profiles`.
    """
    own = shares(tissues)
    cost = np.abs(own[:, None, None] - known).sum(-1).mean(1)  # [tile, level]
    best, levels = np.inf, heights_mm
    for length in LENGTHS_MM:
        for lowest in SPAN:
            line = lowest - (heights_mm - heights_mm.min()) / length
            if line.min() < SPAN[0]:
                continue
            places = np.round((line - SPAN[0]) / 0.01).astype(int)
            error = cost[np.arange(len(own)), places].mean()
            if error < best:
                best, levels = error, line
    return levels
