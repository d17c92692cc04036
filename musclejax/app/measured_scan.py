"""Measure the labels of one scan again, with the options of `musclejax measure`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from musclejax import anatomy
from musclejax.app.fat_map import (
    FoundMaps,
    MapOptions,
    find_maps,
    measure_maps,
    network_image,
    seen_again,
)
from musclejax.app.names import about_series
from musclejax.app.scan_page import write_page_of
from musclejax.app.work import Scan, lock_file
from musclejax.data.decode_labels import Decoded, decode
from musclejax.data.label_tables import (
    SCHEMES,
    LabelTable,
    find_table,
    read_table,
    table_in_header,
)
from musclejax.errors import InputError, count_of, listed
from musclejax.files import file_sha256, reading, transient_lock
from musclejax.options import named_paths
from musclejax.prediction.correction import Key, changed_shares, levels_in, make_result
from musclejax.prediction.maps import FAT_FRACTION, is_single
from musclejax.prediction.maps import named as find_named
from musclejax.prediction.result import Segmentation
from musclejax.reports.measured import Earlier, GivenLabels, read_earlier, save_measured
from musclejax.reports.run_record import (
    LABELS,
    ORIGINAL,
    checksums,
    corrected_labels,
    read_record,
    recover,
)
from musclejax.reports.segmentation import scan_sha256
from musclejax.scan.numbering import LABEL_FILE, numbering_of
from musclejax.scan.source import absolute, read_source
from musclejax.scan.study import load, read_volume
from musclejax.scan.volume import Volume, scan_name
from musclejax.system import machine

SHOWN = 3
"""Changed muscles that a line names at most."""
_WAITS_S = (1.0, 3.0)
"""How long a label map is given that is being written. Source: ours."""
_FRESH_S = 30.0
"""A damaged file that was changed so recently may still be being written. Source: ours."""
_AIR = 0.1
"""Share of labeled voxels without body above which there is a warning. Source: ours; in the sample
scans it is 0.004; 0.54 with the labels of the thigh on the leg, 0.15 the other way."""
_MUSCLEMAP_FROM = 1000
"""Lowest of MuscleMap's numbers, which no other scheme has. Source: its label table."""


class LabelledScan(NamedTuple):
    """Labels to measure.

    Attributes:
        scan: The scan, and the name of its results.
        folder: Where the results are, or go.
        labels: The label map: `NAME_labels.nii.gz` in the folder, or one from elsewhere.
    """

    scan: Scan
    folder: Path
    labels: Path

    @property
    def in_place(self) -> bool:
        """Whether the labels lie among the results."""
        own = self.folder / LABELS.format(name=self.scan.name)
        return absolute(own) == absolute(self.labels)


class HowMeasured(NamedTuple):
    """What a command says about its labels.

    Attributes:
        names: Scheme or file of names; None if the labels tell.
        region: "thigh" or "leg"; None if the labels or the record tell.
        maps: Options that name maps, before those of the record; None for the record's alone.
        reviewed: Whether a person says that the labels are right.
        report: Whether the scan's page is written.
    """

    names: str | None = None
    region: str | None = None
    maps: MapOptions | None = None
    reviewed: bool = False
    report: bool = True


class Measured(NamedTuple):
    """What is reported of a scan: a line, and warnings."""

    line: str
    warnings: tuple[str, ...]


def measure_scan(task: LabelledScan, how: HowMeasured) -> Measured:
    """Measure labels, and write tables, picture and record of the scan.

    Raises:
        InputError: If scan or labels are unusable, or do not fit one another.
        OSError: If the folder cannot be written.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    with transient_lock(lock_file(task.folder, task.scan), wait=True):
        recover(task.folder, task.scan.name)
        return _measure(task, how)


def _measure(task: LabelledScan, how: HowMeasured) -> Measured:
    begun = time.perf_counter()
    earlier = read_earlier(task.folder, task.scan.name)
    volume, maps = _load_scan(task, how, earlier.record)
    stored, sha256 = _read_settled(task.labels)
    table = _find_table(task, stored, how, earlier)
    region = how.region or _region_of(earlier.record) if task.in_place else how.region
    found = decode(stored, volume, table, region, task.labels)
    in_place = task.in_place and _has_own_numbers(task, table, earlier.record)
    result = _as_result(task, found, volume, earlier)
    if task.in_place and not in_place:
        kept = f"{task.labels.name} has numbers of {table.source}: kept as .bak"
        result = replace(result, warnings=(*result.warnings, kept))
    if task.in_place and sha256 == checksums(earlier.record).get(task.labels.name):
        result = replace(result, correction=None)  # nobody has changed the network's labels
    result = replace(result, muscles=_requested(earlier.record, result))
    result, measures = measure_maps(result, maps.found)
    measures = replace(measures, record={**measures.record, **maps.record})

    def entries() -> dict[str, Any]:
        return {
            **(_new_record(task) if not earlier.record else {}),
            "names": table.source,
            "reviewed": how.reviewed,
            **measures.record,
            "measured": {
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - begun, 4),
                "versions": machine()["versions"],
            },
        }

    given = GivenLabels(
        task.labels,
        sha256,
        in_place,
        _earlier_copy(task, earlier.record),
        numbering_of(task.folder, earlier.record) or "muscles",
    )
    saved = save_measured(result, task.folder, earlier, given, measures.maps, entries)
    known = earlier.record.get("warnings")
    new = [w for w in saved.warnings if w not in (known if isinstance(known, list) else ())]
    new += write_page_of(saved, task.folder) if how.report else ()
    return Measured(_line(task.scan.name, saved, task.labels), tuple(new))


def _as_result(
    task: LabelledScan, found: Decoded, volume: Volume, earlier: Earlier
) -> Segmentation:
    """Return labels as a segmented scan, compared with those that a correction began with."""
    warnings = [*found.warnings, *_in_air(found.labels, volume)]
    original = None
    if _region_of(earlier.record) == found.region:
        original = _read_original(task, volume, earlier.record, found.region)
        if original is None and earlier.record:
            name = ORIGINAL.format(name=task.scan.name)
            warnings.append(f"{name} is gone or was changed: what changed is not known")
    return make_result(
        volume,
        found._replace(warnings=tuple(warnings)),
        by=str(task.labels),
        original=original,
        levels=_find_levels(earlier, volume, found.region),
        weights=str(earlier.record.get("weights", "none")),
    )


def _requested(record: Mapping[str, Any], result: Segmentation) -> tuple[str, ...]:
    """Return the muscles that `segment` was to label; empty for all, or if there are others."""
    settings = record.get("settings")
    stated = settings.get("muscles") if isinstance(settings, dict) else None
    try:
        requested = anatomy.read_muscles(stated) if isinstance(stated, str) else ()
    except InputError:
        return ()
    numbers = [0, *(m.number for m in result.anatomy.muscles if m.abbreviation in requested)]
    return requested if np.isin(result.labels, numbers).all() else ()


def _new_record(task: LabelledScan) -> dict[str, Any]:
    """Return the entries of the record of a scan that `segment` has not seen."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    source = read_source(task.scan.path, task.scan.series)._asdict()
    return {
        **about_series(task.scan.name, task.scan.series),
        "source": str(task.scan.path),
        "source_files": source,
        "finished": now,
        **machine(),
    }


class _ScanMaps(NamedTuple):
    """The maps of a scan, and what its record says of them instead of what is found now."""

    found: FoundMaps
    record: Mapping[str, Any] = {}


@dataclass(frozen=True)
class _RecordedMaps:
    """The maps of a record and a command, as options name them."""

    fat_fraction: Path | None = None
    water: Path | None = None
    fat: Path | None = None
    map: tuple[str, ...] = ()


def _load_scan(
    task: LabelledScan, how: HowMeasured, record: Mapping[str, Any]
) -> tuple[Volume, _ScanMaps]:
    """Load a scan with its maps, and check that it is the one that was segmented.

    Where the network was given an image made from water and fat, that is the scan.
    """
    scan = task.scan
    volume = replace(load(scan.series or scan.path), name=scan.name)
    maps = _find_maps(task, how, record, volume)
    seen = seen_again(volume, scan, record)
    if seen is None and maps.found.pair is not None:
        seen = network_image(volume, maps.found)
    known = record.get("scan_sha256")
    if known and seen is not None and known not in map(scan_sha256, (seen, volume)):
        found = f"other voxels or another position than when {scan.name} was segmented"
        remedy = "Give that scan; or segment this one into another folder."
        raise InputError(scan.path, found, "the scan of the labels", remedy)
    return volume if seen is None else seen, maps


def _find_maps(
    task: LabelledScan, how: HowMeasured, record: Mapping[str, Any], volume: Volume
) -> _ScanMaps:
    """Read the maps of the command, and those of the record that it leaves and that are there."""
    names = list(dict.fromkeys((task.scan.name, scan_name(task.scan.path))))
    about, others = record.get("fat_fraction"), record.get("maps")
    named = {str(k): Path(str(v)) for k, v in others.items()} if isinstance(others, dict) else {}
    given = {} if how.maps is None else named_paths(how.maps.map)
    fat = (None,) * 3 if how.maps is None else _fat_paths(how.maps)
    no_fat = _missing(fat, names) if isinstance(about, dict) else ""
    missing = {name: _missing([path], names) for name, path in given.items() if name in named}
    given = {name: path for name, path in given.items() if not missing.get(name)}
    gives_fat = any(fat) and not no_fat
    stay = [
        f"{name}: that of before is measured: {reason}"
        for name, reason in {FAT_FRACTION: no_fat, **missing}.items()
        if reason
    ]
    paths = {
        key: Path(str(about[key]))
        for key in ("map", "water", "fat")
        if isinstance(about, dict) and about.get(key) and not gives_fat
    }
    named = {name: path for name, path in named.items() if name not in given}
    computed = task.folder / f"{task.scan.name}_fat_fraction.nii.gz"
    kept = checksums(record).get(computed.name)
    if "water" in paths and kept and computed.is_file() and file_sha256(computed) == kept:
        paths = {"map": computed}  # of water and fat, wherever they are by now
    gone = [path for path in (*paths.values(), *named.values()) if not path.exists()]
    lost = [f"the map {path} of the segmentation is gone" for path in gone]
    paths = {} if {*gone} & {*paths.values()} else paths
    there = {name: path for name, path in named.items() if path not in gone}
    if not gives_fat:
        fat = paths.get("map"), paths.get("water"), paths.get("fat")
    options = _RecordedMaps(*fat, tuple(f"{n}={p}" for n, p in {**there, **given}.items()))
    found = find_maps(options, names, volume)
    ours = paths.get("map") == computed
    found = replace(found, computed=ours, warnings=(*found.warnings, *stay, *lost))
    return _ScanMaps(found, {"fat_fraction": about} if ours else {})


def _fat_paths(maps: MapOptions) -> tuple[Path | None, Path | None, Path | None]:
    return maps.fat_fraction, maps.water, maps.fat


def _missing(paths: Iterable[Path | None], names: Sequence[str]) -> str:
    """Return why the first of some folders of maps has none of a scan; empty if all have one."""
    for path in paths:
        try:
            if path is not None and not is_single(path):
                find_named(path, names)
        except InputError as error:
            return str(error)
    return ""


def _read_settled(path: Path) -> tuple[Volume, str]:
    """Read a label map, and its checksum; one that is being written is waited for.

    Raises:
        InputError: If it is damaged, or keeps changing.
    """
    for wait in (*_WAITS_S, None):
        try:
            with reading(path, "label map"):
                before = file_sha256(path) if path.is_file() else ""
                stored = read_volume(path)
                if before == (file_sha256(path) if before else ""):
                    return stored, before
            error = InputError(path, "a file that is being written", "a whole label map")
        except InputError as found:
            error = found
            if wait is None or not _is_fresh(path):
                raise
        if wait is not None:
            time.sleep(wait)
    raise error


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _FRESH_S
    except OSError:
        return False


def _find_table(
    task: LabelledScan, stored: Volume, how: HowMeasured, earlier: Earlier
) -> LabelTable:
    """Return what the numbers of a label map mean: as said, by its header, or by what is beside it.

    Raises:
        InputError: If nothing tells.
    """
    if how.names is not None:
        return find_table(how.names)
    if table := table_in_header(stored, "its header"):
        return table
    if task.in_place and (earlier.record or (task.folder / LABEL_FILE).is_file()):
        return _own_table(task.folder, task.scan.name, earlier.record)
    stem = scan_name(task.labels)
    name = stem.removesuffix(scan_name(Path(LABELS.format(name=""))))
    if name != stem and (record := read_record(task.labels.parent, name)):  # results elsewhere
        return _own_table(task.labels.parent, name, record)
    folder = absolute(task.labels).parent
    above = [folder.parent / "dataset.json"] if "labels" in folder.name else []  # as in labelsTr
    for path in (folder / "dataset.json", folder / f"{stem}.tsv", *above):
        if path.is_file():
            return read_table(path)
    numbers = np.unique(stored.data)
    numbers = numbers[numbers != 0]
    musclemap = find_table("musclemap")
    if numbers.size and numbers.min() >= _MUSCLEMAP_FROM and {*numbers} & {*musclemap.muscles}:
        return musclemap
    shown = listed((f"{n:g}" for n in numbers), 8) or "only background"
    remedy = "--names muscles if they are those of labels.json."
    raise InputError(
        task.labels,
        f"numbers {shown} that nothing explains",
        f"--names with a file of names, or {', '.join(SCHEMES)}",
        remedy,
    )


def _own_table(folder: Path, name: str, record: Mapping[str, Any]) -> LabelTable:
    """Return the numbers of a label map among results, by the header that no editor has touched.

    Editors drop what they do not know from the header of the map that they change.
    """
    original = folder / ORIGINAL.format(name=name)
    found = table_in_header(read_volume(original), "its header") if original.is_file() else None
    return found or find_table(numbering_of(folder, record) or "muscles")


def _has_own_numbers(task: LabelledScan, table: LabelTable, record: Mapping[str, Any]) -> bool:
    """Return whether every muscle has a number that it has in the results' own table too."""
    own = _own_table(task.folder, task.scan.name, record)
    return all({*several} & {*own.muscles.get(n, ())} for n, several in table.muscles.items())


def _in_air(labels: UInt8[np.ndarray, "i j k"], volume: Volume) -> list[str]:
    """Return a warning if many labeled voxels show no body."""
    labeled = volume.lps.from_file(labels) > 0
    share = 1 - float(volume.lps.body[labeled].mean())
    if share <= _AIR:
        return []
    return [f"{share:.0%} of the labeled voxels lie in air: is it the scan of these labels?"]


def _region_of(record: Mapping[str, Any]) -> str | None:
    region = record.get("region")
    return region if region in anatomy.REGIONS else None


def _read_original(
    task: LabelledScan, volume: Volume, record: Mapping[str, Any], region: str
) -> UInt8[np.ndarray, "i j k"] | None:
    """Return the labels that a correction began with; None if they are gone or were changed."""
    path = task.folder / ORIGINAL.format(name=task.scan.name)
    if not path.is_file() or file_sha256(path) != checksums(record).get(path.name):
        return None
    stored = read_volume(path)
    if not stored.data.any():
        return np.zeros(volume.data.shape, np.uint8)
    table = _own_table(task.folder, task.scan.name, record)
    return decode(stored, volume, table, region, path).labels


def _find_levels(earlier: Earlier, volume: Volume, region: str) -> Any:
    """Return the levels in the table of slices that is there; None if it has none."""
    table = earlier.tables.get("slices")
    if table is None or _region_of(earlier.record) is None:
        return None
    try:
        return levels_in(table, volume.num_slices, anatomy.REGIONS[region].num_classes)
    except (KeyError, ValueError, TypeError):  # a table that was edited
        return None


def _earlier_copy(task: LabelledScan, record: Mapping[str, Any]) -> str:
    """Return the checksum of the copy that was made of these labels before; else empty."""
    about = record.get("corrected")
    same = isinstance(about, dict) and about.get("by") == str(task.labels)
    return corrected_labels(record) if same and not task.in_place else ""


def _line(name: str, result: Segmentation, labels: Path) -> str:
    """Return what was measured in one line: the muscles that changed most."""
    correction, changed = result.correction, changed_shares(result)
    if correction is None:
        return f"{name}: measured as segmented"
    if correction.original is None:
        muscles = count_of(len(np.unique(result.labels[result.labels > 0])), "muscle")
        return f"{name}: {muscles} of the {result.region} measured, {labels.name}"
    if not changed:
        return f"{name}: measured, no voxel differs from {ORIGINAL.format(name=name)}"
    shown = listed((_show_change(key, share) for key, share in changed.items()), SHOWN)
    return f"{name}: corrected: {count_of(len(changed), 'muscle')} changed, {shown}"


def _show_change(key: Key, share: float) -> str:
    muscle, side = key
    return f"{muscle} {side} {f'{100 * share:.1f} %' if np.isfinite(share) else 'new'}"
