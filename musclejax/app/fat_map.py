"""`--fat-fraction`: one map, which must be usable, or a folder of maps, which may lack some."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from musclejax.app.process import BadUsage, usage
from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import FatMap, read_map, to_fractions
from musclejax.prediction.result import Segmentation
from musclejax.scan.study import find_scans
from musclejax.scan.volume import Volume, scan_name


@dataclass(frozen=True, eq=False)
class ScanFat:
    """The fat of one scan.

    Attributes:
        values: Fractions on the scan's grid; None if none are measured.
        record: For the run record.
    """

    values: np.ndarray | None = None
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ScanMap:
    """The map of one scan, before its labels are known.

    Attributes:
        found: The map; None if there is none.
        required: Whether the scan fails if the map turns out to be unusable.
        warning: Why there is none; empty if none was requested.
    """

    found: FatMap | None = None
    required: bool = False
    warning: str = ""


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


def find_scan_map(path: Path | None, name: str, volume: Volume) -> ScanMap:
    """Read the map of a scan.

    Args:
        path: That of `--fat-fraction`.
        name: Name of the scan.
        volume: The scan.

    Raises:
        InputError: If the only map is unusable. In a folder of maps that is a warning.
    """
    if path is None:
        return ScanMap()
    maps = _find_maps(path)
    single = maps == (path,)
    try:
        found = path if single else _named(maps, name, path)
        return ScanMap(read_map(found, volume), single)
    except InputError as error:
        if single:
            raise
        return ScanMap(warning=_unusable(error))


def measure_fat(result: Segmentation, scan_map: ScanMap) -> tuple[Segmentation, ScanFat]:
    """Turn the map of a segmented scan into fractions.

    Returns:
        The scan, with the warnings of its map; and its fat.

    Raises:
        InputError: As for `find_scan_map`.
    """
    if scan_map.found is None:
        return _warned(result, scan_map.warning), ScanFat()
    try:
        fat = to_fractions(scan_map.found, result)
    except InputError as error:
        if scan_map.required:
            raise
        return _warned(result, _unusable(error)), ScanFat()
    source = str(scan_map.found.source)
    record = {"map": source, "unit": fat.unit, "coverage": round(fat.coverage, 4)}
    return _warned(result, *fat.warnings), ScanFat(fat.values, record)


@lru_cache(maxsize=1)
def _find_maps(path: Path) -> tuple[Path, ...]:
    """Return the maps that a path means; searched once for all scans."""
    return tuple(find_scans(path))


def _named(maps: tuple[Path, ...], name: str, folder: Path) -> Path:
    named = [path for path in maps if scan_name(path) == name]
    if not named:
        raise InputError(folder, f"no map named {name}", "a map per scan, named like it")
    if len(named) > 1:
        found = " and ".join(str(path) for path in named)
        raise InputError(folder, found, f"one map named {name}")
    return named[0]


def _unusable(error: InputError) -> str:
    return f"no fat fraction is measured: {error}"


def _warned(result: Segmentation, *warnings: str) -> Segmentation:
    return replace(result, warnings=(*result.warnings, *filter(None, warnings)))
