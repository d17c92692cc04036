"""Tissues of a synthetic limb: their codes, and their water and fat."""

from typing import Any, NamedTuple

import numpy as np

MUSCLES = 12
"""Codes 1 to 12 are the muscles of the region, as in `anatomy`."""
AIR, UNKNOWN, OTHER, CORTEX, MARROW, GAP, FAT, SKIN, VESSEL, FEMORAL, SPONGY = 0, *range(20, 30)
"""UNKNOWN: muscle without a label, left out of the loss; OTHER: muscle that no network labels; GAP:
fat, fascia and septa between muscles; CORTEX: of bones, and tendons; SPONGY: the ends of long bones
and all other bones, whose cortex is thin; FAT: under the skin; FEMORAL: the large vessels of
thighs, in templates alone, which hold whole bones as MARROW or SPONGY."""
OTHERS = (*range(13, 20), OTHER)
"""Codes of muscles that no network of the region labels: neighbors have different ones."""
CODES = 32
"""Codes of one limb; those of the left limb are this much higher."""


class Tissue(NamedTuple):
    """Ranges of the water and fat of a tissue; 1 is the water of healthy muscle, and pure fat."""

    water: tuple[float, float]
    fat: tuple[float, float]


MUSCLE = Tissue((0.9, 1.1), (0.0, 0.06))
TISSUES = {
    CORTEX: Tissue((0.03, 0.3), (0.0, 0.2)),
    MARROW: Tissue((0.0, 0.25), (0.5, 1.6)),
    SPONGY: Tissue((0.0, 0.25), (0.5, 1.6)),
    GAP: Tissue((0.05, 0.4), (0.4, 1.0)),
    FAT: Tissue((0.0, 0.15), (0.9, 1.1)),
    SKIN: Tissue((0.3, 1.1), (0.0, 0.5)),
    VESSEL: Tissue((0.05, 2.6), (0.0, 0.1)),
}
"""Source: ours; gradient-echo images of healthy limbs, and wider."""


def is_bone(code: Any) -> Any:
    """Return where codes of a template are whole bones."""
    return (code == MARROW) | (code == SPONGY)


def is_muscle(code: Any) -> Any:
    """Return where codes of one limb, of NumPy or JAX, are muscle, labeled or not."""
    return (code > 0) & (code <= OTHER)


def ranges(part: str) -> np.ndarray:
    """Return the low and high end of every code's "water" or "fat", [CODES, 2]."""
    table = np.zeros((CODES, 2), np.float32)
    table[is_muscle(np.arange(CODES))] = getattr(MUSCLE, part)
    for code, tissue in TISSUES.items():
        table[code] = getattr(tissue, part)
    return table
