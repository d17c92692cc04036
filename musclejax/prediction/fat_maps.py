"""The maps of `--fat-fraction`: one, which must be usable, or a folder, which may lack some."""

from collections.abc import Callable, Sequence
from pathlib import Path

from musclejax.errors import InputError
from musclejax.prediction.fat_fraction import FatFraction, Place, to_fractions
from musclejax.prediction.maps import FAT_FRACTION, Found, find_map, unusable
from musclejax.scan.volume import Volume


def find_scan_map(path: Path | None, names: Sequence[str], volume: Volume) -> Found:
    """Read the fat-fraction map of a scan; see `find_map`."""
    return find_map(path, names, volume, FAT_FRACTION)


def measure_fat(
    found: Found, place: Callable[[], Place]
) -> tuple[FatFraction | None, tuple[str, ...]]:
    """Turn the map of a labeled scan into fractions.

    Returns:
        The fractions, if there is a usable map; and warnings.

    Raises:
        InputError: As for `find_scan_map`.
    """
    if found.map is None:
        return None, tuple(filter(None, [found.warning]))
    try:
        fat = to_fractions(found.map, place())
    except InputError as error:
        if found.required:
            raise
        return None, (unusable(error, FAT_FRACTION),)
    return fat, fat.warnings
