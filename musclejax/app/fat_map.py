"""`--fat-fraction`, `--water` and `--fat`, `--map`: do they serve all scans; those of each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from musclejax.app.process import BadUsage, usage
from musclejax.app.work import Scan
from musclejax.errors import InputError
from musclejax.options import named_paths
from musclejax.prediction import dixon, fat_maps
from musclejax.prediction.dixon import WaterFat
from musclejax.prediction.fat_fraction import place_of
from musclejax.prediction.maps import (
    FAT_FRACTION,
    Found,
    find_map,
    is_single,
    read_map,
    unusable,
)
from musclejax.prediction.result import Segmentation
from musclejax.reports.run_record import is_synthesized
from musclejax.reports.segmentation import ScanMaps
from musclejax.scan.catalog import list_series
from musclejax.scan.selection import fat_images
from musclejax.scan.series import Series
from musclejax.scan.source import absolute
from musclejax.scan.study import find_scans
from musclejax.scan.volume import Volume

_SYNTHESIZED = (
    f"the network was given an image synthesized from water and fat (echo time {dixon.ECHO_MS} ms)"
)


@runtime_checkable
class MapOptions(Protocol):
    """The options of a command that name maps; see `musclejax.options`."""

    @property
    def fat_fraction(self) -> Path | None: ...  # noqa: D102
    @property
    def water(self) -> Path | None: ...  # noqa: D102
    @property
    def fat(self) -> Path | None: ...  # noqa: D102
    @property
    def map(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class ScanFat:
    """The fat of one scan.

    Attributes:
        values: Fractions on the scan's grid; None if none are measured.
        record: For the run record.
    """

    values: np.ndarray | None = None
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class FoundMaps:
    """The maps of one scan before it is labeled.

    Attributes:
        fat: Its fat-fraction map.
        pair: Its water and fat images; None if there are none.
        others: Its further maps, by name.
        synthesized: Whether the network is to be given an image made from water and fat.
        computed: Whether `fat` was computed from water and fat before: it needs no judgment.
        warnings: Why maps are missing.
    """

    fat: Found = field(default_factory=Found)
    pair: WaterFat | None = None
    others: Mapping[str, Found] = field(default_factory=dict)
    synthesized: bool = False
    computed: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Measures:
    """What is measured in a labeled scan beside its muscles.

    Attributes:
        maps: For the tables.
        record: For the run record.
    """

    maps: ScanMaps = field(default_factory=ScanMaps)
    record: Mapping[str, Any] = field(default_factory=dict)


def check_all_maps(options: MapOptions, scans: int) -> None:
    """Check that each path to maps can serve all scans.

    Raises:
        BadUsage: If one holds no map, or one for several scans.
    """
    check_maps(options.fat_fraction, scans)
    check_maps(options.water, scans, "--water")
    check_maps(options.fat, scans, "--fat")
    for name, path in named_paths(options.map).items():
        check_maps(path, scans, f"--map {name}")


def check_maps(path: Path | None, scans: int, option: str = "--fat-fraction") -> None:
    """Check that the path of an option can serve all scans.

    Raises:
        BadUsage: If it holds no map, or one for several scans.
    """
    if path is None:
        return
    if not path.exists():
        raise BadUsage(f"{option}: found no file {path}; accepted: a map or a folder.")
    with usage():
        maps = find_scans(path)
    if maps == [path] and scans > 1:
        raise BadUsage(
            f"{option}: found one file for {scans} scans; accepted: a folder with a map "
            "named like each scan, as NAME.nii.gz."
        )


def find_maps(
    options: MapOptions,
    names: Sequence[str],
    volume: Volume,
    beside: Sequence[Series] = (),
) -> FoundMaps:
    """Read the maps of a scan.

    Args:
        options: Where they are.
        names: Names of the scan; in a folder of maps one map has one of them.
        volume: The scan.
        beside: Its fat-fraction map, or its water and fat image, where the options name none.

    Raises:
        InputError: If a map is unusable that is named itself, not its folder.
    """
    others = {
        name: find_map(path, names, volume, name) for name, path in named_paths(options.map).items()
    }
    warnings = [found.warning for found in others.values() if found.warning]
    fat = fat_maps.find_scan_map(options.fat_fraction, names, volume)
    pair = None
    try:
        if options.water and options.fat:
            pair = dixon.find_water_fat(options.water, options.fat, names, volume)
        elif len(beside) == 2 and not options.fat_fraction:
            pair = dixon.from_series(beside[0], beside[1], volume)
        elif beside and not options.fat_fraction:
            fat = Found(read_map(beside[0], volume))
    except InputError as error:
        if options.water and is_single(options.water):
            raise
        warnings.append(unusable(error, FAT_FRACTION))
    synthesized = pair is not None and dixon.is_one_of(volume, pair)
    return FoundMaps(fat, pair, others, synthesized, warnings=tuple(warnings))


def network_image(volume: Volume, maps: FoundMaps) -> Volume:
    """Return what the network is given: the scan, or an early echo where it is water or fat."""
    if maps.pair is None or not maps.synthesized:
        return volume
    image = dixon.synthesize(maps.pair.water, maps.pair.fat)
    return replace(volume, data=image.data, warnings=(*volume.warnings, _SYNTHESIZED))


def seen_again(volume: Volume, scan: Scan, record: Mapping[str, Any]) -> Volume | None:
    """Return the image that the network was given when a scan was segmented.

    Returns:
        The scan itself; or what is made from water and fat again, which lie where the record says,
        or beside the scan. None if they do not.
    """
    if not is_synthesized(record):
        return volume
    for water, fat in _water_and_fat(record["fat_fraction"], scan):
        with suppress(InputError, OSError):
            pair = dixon.from_series(water, fat, volume)
            return network_image(volume, FoundMaps(pair=pair, synthesized=True))
    return None


def _water_and_fat(
    about: Mapping[str, Any], scan: Scan
) -> Iterator[tuple[Path | Series, Path | Series]]:
    """Yield where water and fat of a record may lie."""
    water, fat = (Path(str(about.get(kind, ""))) for kind in ("water", "fat"))
    if scan.series is not None and scan.series.files:  # of a folder with several series
        images = fat_images(scan.series, list_series(scan.path).series)
        if len(images) == 2:
            yield images
    yield water, fat
    yield scan.path.parent / water.name, scan.path.parent / fat.name


def measure_maps(result: Segmentation, maps: FoundMaps) -> tuple[Segmentation, Measures]:
    """Turn the maps of a segmented scan into what is measured.

    Returns:
        The scan, with the warnings of its maps; and its measures.

    Raises:
        InputError: As for `find_maps`.
    """
    if maps.pair is not None:
        result, fat = _measure_dixon(result, maps.pair, synthesized=maps.synthesized)
    elif maps.computed and maps.fat.map is not None:
        fat = ScanFat(maps.fat.map.values)
    else:
        result, fat = measure_fat(result, maps.fat)
    found = {name: f.map for name, f in maps.others.items() if f.map is not None}
    warnings = [*maps.warnings, *(text for m in found.values() for text in m.warnings)]
    result = replace(result, warnings=(*result.warnings, *warnings))
    record: dict[str, Any] = {"fat_fraction": dict(fat.record)} if fat.record else {}
    if found:
        record["maps"] = {name: str(absolute(m.source)) for name, m in found.items()}
    others = {name: m.values for name, m in found.items()}
    computed = maps.pair is not None and fat.values is not None
    return result, Measures(ScanMaps(fat.values, others, computed), record)


def _measure_dixon(
    result: Segmentation, pair: WaterFat, *, synthesized: bool
) -> tuple[Segmentation, ScanFat]:
    fat, swaps = dixon.measure_dixon(pair, place_of(result))
    result = replace(result, warnings=(*result.warnings, *fat.warnings))
    water, fat_file = pair.sources
    record = {
        "water": str(absolute(water)),
        "fat": str(absolute(fat_file)),
        "unit": fat.unit,
        "coverage": round(fat.coverage, 4),
        "exchanged": "everywhere" if swaps.whole else list(swaps.sides),
        "synthesized": synthesized,
    }
    return result, ScanFat(fat.values, record)


def measure_fat(result: Segmentation, found: Found) -> tuple[Segmentation, ScanFat]:
    """Turn the fat-fraction map of a segmented scan into fractions.

    Returns:
        The scan, with the warnings of its map; and its fat.

    Raises:
        InputError: As for `find_map`.
    """
    fat, warnings = fat_maps.measure_fat(found, lambda: place_of(result))
    result = replace(result, warnings=(*result.warnings, *warnings))
    if fat is None or found.map is None:
        return result, ScanFat()
    source = str(absolute(found.map.source))
    record = {"map": source, "unit": fat.unit, "coverage": round(fat.coverage, 4)}
    return result, ScanFat(fat.values, record)
