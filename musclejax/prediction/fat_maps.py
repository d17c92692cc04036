"""The maps of `--fat-fraction`: one, which must be usable, or a folder, which may lack some."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import FatFraction, FatMap, Place, read_map, to_fractions
from musclejax.scan.study import find_scans
from musclejax.scan.volume import Volume, scan_name


@dataclass(frozen=True)
class ScanMap:
    """The map of one scan, before its unit is known.

    Attributes:
        found: The map; None if there is none.
        required: Whether the scan fails if the map turns out to be unusable.
        warning: Why there is none; empty if none was requested.
    """

    found: FatMap | None = None
    required: bool = False
    warning: str = ""


def find_scan_map(path: Path | None, names: Sequence[str], volume: Volume) -> ScanMap:
    """Read the map of a scan.

    Args:
        path: That of `--fat-fraction`.
        names: Names of the scan; in a folder of maps one map has one of them.
        volume: The scan.

    Raises:
        InputError: If the only map is unusable. In a folder of maps that is a warning.
    """
    if path is None:
        return ScanMap()
    maps = _find_maps(path)
    single = maps == (path,)
    try:
        found = path if single else _named(maps, tuple(dict.fromkeys(names)), path)
        return ScanMap(read_map(found, volume), single)
    except InputError as error:
        if single:
            raise
        return ScanMap(warning=_unusable(error))


def measure_fat(
    scan_map: ScanMap, place: Callable[[], Place]
) -> tuple[FatFraction | None, tuple[str, ...]]:
    """Turn the map of a labeled scan into fractions.

    Returns:
        The fractions, if there is a usable map; and warnings.

    Raises:
        InputError: As for `find_scan_map`.
    """
    if scan_map.found is None:
        return None, tuple(filter(None, [scan_map.warning]))
    try:
        fat = to_fractions(scan_map.found, place())
    except InputError as error:
        if scan_map.required:
            raise
        return None, (_unusable(error),)
    return fat, fat.warnings


def _unusable(error: InputError) -> str:
    return f"no fat fraction is measured: {error}"


@lru_cache(maxsize=1)
def _find_maps(path: Path) -> tuple[Path, ...]:
    """Return the maps that a path means; searched once for all scans."""
    return tuple(find_scans(path))


def _named(maps: Sequence[Path], names: Sequence[str], folder: Path) -> Path:
    named, name = [path for path in maps if scan_name(path) in names], " or ".join(names)
    if not named:
        raise InputError(folder, f"no map named {name}", "a map per scan, named like it")
    if len(named) > 1:
        found = " and ".join(str(path) for path in named)
        raise InputError(folder, found, f"one map named {name}")
    return named[0]
