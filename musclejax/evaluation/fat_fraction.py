"""The fat-fraction map of a case, judged where the reference shows muscle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from musclejax.evaluation.cases import Pair
from musclejax.prediction.fat_fraction import Place
from musclejax.prediction.fat_maps import find_scan_map, measure_fat
from musclejax.scan.volume import scan_name


@dataclass(frozen=True, eq=False)
class CaseFat:
    """Fat fractions of a case.

    Attributes:
        values: On the scan's grid, NaN where unknown; None if none are measured.
        unit: Of the map; empty without one.
        warnings: To be read before relying on the figures.
    """

    values: Float[np.ndarray, "i j k"] | None = None
    unit: str = ""
    warnings: tuple[str, ...] = ()


NO_FAT = CaseFat()


def read_fat(pair: Pair, path: Path | None) -> CaseFat:
    """Read the fat fractions of a case.

    Args:
        pair: The case. Its reference alone decides the map's unit and whether it fits.
        path: A map, or a folder of maps named like the scan's file or the case; None for none.

    Raises:
        InputError: If the only map is unusable. In a folder of maps that is a warning.
    """
    names = [scan_name(pair.case.image), pair.case.name]
    scan_map = find_scan_map(path, names, pair.volume)
    fat, warnings = measure_fat(scan_map, lambda: _place(pair))
    if fat is None or not fat.coverage:
        return CaseFat(warnings=warnings)
    return CaseFat(fat.values, fat.unit, warnings)


def _place(pair: Pair) -> Place:
    """Return where the map must lie: in slices that show the reference.

    Without the scan nothing is known of the body but the muscles.
    """
    axis, lps = pair.volume.axial_axis, pair.volume.lps
    muscle = pair.reference > 0
    shown = muscle.any(tuple({0, 1, 2} - {axis}), keepdims=True)
    body = lps.to_file(lps.body) & shown if pair.shows_scan else muscle
    return Place(muscle, body, pair.sides.voxels, axis)
