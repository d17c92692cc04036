"""`--fat-fraction`: whether it can serve all scans, and the fat of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from musclejax.app.process import BadUsage, usage
from musclejax.prediction import fat_maps
from musclejax.prediction.fat_fraction import place_of
from musclejax.prediction.fat_maps import ScanMap
from musclejax.prediction.result import Segmentation
from musclejax.scan.study import find_scans


@dataclass(frozen=True, eq=False)
class ScanFat:
    """The fat of one scan.

    Attributes:
        values: Fractions on the scan's grid; None if none are measured.
        record: For the run record.
    """

    values: np.ndarray | None = None
    record: Mapping[str, Any] | None = None


def check_maps(path: Path | None, scans: int) -> None:
    """Check that the path of `--fat-fraction` can serve all scans.

    Raises:
        BadUsage: If it holds no map, or one for several scans.
    """
    if path is None:
        return
    if not path.exists():
        raise BadUsage(f"--fat-fraction: found no file {path}; accepted: a map or a folder.")
    with usage():
        maps = find_scans(path)
    if maps == [path] and scans > 1:
        raise BadUsage(
            f"--fat-fraction: found one file for {scans} scans; accepted: a folder with a map "
            "named like each scan, as NAME.nii.gz."
        )


def measure_fat(result: Segmentation, scan_map: ScanMap) -> tuple[Segmentation, ScanFat]:
    """Turn the map of a segmented scan into fractions.

    Returns:
        The scan, with the warnings of its map; and its fat.

    Raises:
        InputError: As for `find_scan_map`.
    """
    fat, warnings = fat_maps.measure_fat(scan_map, lambda: place_of(result))
    result = replace(result, warnings=(*result.warnings, *warnings))
    if fat is None or scan_map.found is None:
        return result, ScanFat()
    source = str(scan_map.found.source)
    record = {"map": source, "unit": fat.unit, "coverage": round(fat.coverage, 4)}
    return result, ScanFat(fat.values, record)
