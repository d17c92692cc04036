"""Files of a scan whose labels a person has corrected, or that come from elsewhere."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from musclejax.anatomy import Numbering
from musclejax.files import file_sha256
from musclejax.prediction.correction import Key, changed_shares, keep_estimates
from musclejax.prediction.estimate import LOW, flagged_warning
from musclejax.prediction.result import Segmentation
from musclejax.reports import bids
from musclejax.reports.cohort import read_flagged
from musclejax.reports.pictures.contact_sheet import draw
from musclejax.reports.run_record import (
    BIDS_TREE,
    LABELS,
    ORIGINAL,
    checksums,
    read_record,
    staged_measurement,
)
from musclejax.reports.segmentation import (
    ResultFiles,
    ScanMaps,
    describe,
    measure,
    scan_sha256,
    write_computed,
    write_dicom,
    write_labels,
    write_tables,
)
from musclejax.scan.numbering import NUMBERING_KEY

_MEASURED = ("region", "sides", NUMBERING_KEY, "warnings")
"""Entries of a record that a measurement replaces; the others are the network's."""
_STALE = ("record_sha256", "files", "corrected", "fat_fraction", "maps")
SEGMENTED = "segment_warnings"
"""Entry of a record: the warnings of the segmentation, from before the first correction."""


@dataclass(frozen=True, eq=False)
class Earlier:
    """What a folder holds of a scan before it is measured again.

    Attributes:
        record: The run record; empty if there is none.
        tables: Kind -> table, of muscles and of slices.
        unchanged: Kinds of tables that are as they were written.
    """

    record: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()


def read_earlier(folder: Path, name: str) -> Earlier:
    """Read what a folder holds of a scan."""
    record = read_record(folder, name) or {}
    known, tables, unchanged = checksums(record), {}, []
    for kind in ("muscles", "slices"):
        path = folder / f"{name}_{kind}.csv"
        try:
            table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        except (OSError, ValueError):
            continue
        tables[kind] = table.fillna({"muscle": "", "name": ""})
        if file_sha256(path) == known.get(path.name):
            unchanged.append(kind)
    return Earlier(record, tables, tuple(unchanged))


@dataclass(frozen=True)
class GivenLabels:
    """The file of the labels that are measured.

    Attributes:
        path: Where it is.
        sha256: Of its contents.
        in_place: Whether it lies among the results under their name; else a copy in our numbers
            is written there.
        replaces: Checksum of an earlier copy, which needs no .bak.
        numbering: Of the label maps in the folder.
    """

    path: Path
    sha256: str
    in_place: bool
    replaces: str = ""
    numbering: Numbering = "muscles"


def save_measured(
    result: Segmentation,
    folder: Path,
    earlier: Earlier,
    given: GivenLabels,
    maps: ScanMaps,
    entries: Callable[[], Mapping[str, Any]],
) -> Segmentation:
    """Write tables, picture and record of labels that a person owns; all or none.

    Estimates of the DSC stay those of the network; muscles that were changed have none.

    Args:
        result: As of `correction.make_result`; without a correction, the network's own labels.
        folder: Where the results are, or go.
        earlier: What is there.
        given: The labels.
        maps: On the scan's grid.
        entries: Called last; further entries of the record.

    Returns:
        The scan with all its warnings.

    Raises:
        OSError: If the folder cannot be written.
    """
    volume, name, changed = result.volume, result.volume.name, changed_shares(result)
    flagged = _still_flagged(earlier.record, changed)
    result = replace(result, warnings=_warnings(result, earlier.record, flagged))

    def about(written: Mapping[str, str]) -> dict[str, Any]:
        own = _about(result, earlier.record, flagged, given.numbering)
        if result.correction is not None:
            sha256 = written.get(LABELS.format(name=name), given.sha256)
            when = datetime.now(UTC).isoformat(timespec="seconds")
            own["corrected"] = {"labels_sha256": sha256, "finished": when, "by": str(given.path)}
        return {**own, **entries(), "scan_sha256": scan_sha256(volume)}

    known = checksums(earlier.record)
    files = _files_of(result, known, given.numbering)
    stem = ""
    if files.naming == "bids":  # under its name: the record has the series, the volume may not
        stem = bids.stem_of(known, result.region) or bids.reserve(folder, volume, result.region)
    with staged_measurement(folder, name, about, given.replaces) as stage:
        result = write_dicom(result, stage, maps.fat_fraction, files)
        labels = given.path if given.in_place else _write_copy(result, stage, folder, known, files)
        if stem:
            bids.write(stage, labels, stem, result, files.labels)
        write_computed(maps, stage, volume)
        tables = measure(result, maps)
        for kind in earlier.unchanged:
            tables[kind] = keep_estimates(tables[kind], earlier.tables[kind], changed)
        write_tables(tables, stage, result, files.labels)
        draw(result, stage / f"{name}_qc.png")
    return result


def _files_of(result: Segmentation, known: Mapping[str, str], numbering: Numbering) -> ResultFiles:
    """Return which files are written, from those that a record names."""
    from_dicom = bool(result.volume.dicom_files)
    seg, report = (from_dicom and f"{result.volume.name}_{k}.dcm" in known for k in ("seg", "sr"))
    in_tree = any(name.startswith(f"{BIDS_TREE}/") for name in known)
    return ResultFiles(numbering, "bids" if in_tree else "plain", seg, report)


def _write_copy(
    result: Segmentation,
    stage: Path,
    folder: Path,
    known: Mapping[str, str],
    files: ResultFiles,
) -> Path:
    """Write labels in our numbers; what they are compared with stays the first map."""
    name = result.volume.name
    labels, original = LABELS.format(name=name), ORIGINAL.format(name=name)
    written = write_labels(result, stage, files.labels)
    if (folder / original).is_file():
        (stage / original).unlink()
    elif (folder / labels).is_file() and file_sha256(folder / labels) == known.get(labels):
        # The network's, of a version that wrote no original.
        shutil.copyfile(folder / labels, stage / original)
    return written


def _still_flagged(record: Mapping[str, Any], changed: Mapping[Key, float]) -> dict[str, float]:
    """Return the flagged muscles of a record that nobody changed."""
    gone = {f"{side} {muscle}" for muscle, side in changed}
    return {name: dsc for name, dsc in read_flagged(record).items() if name not in gone}


def _warnings(
    result: Segmentation, record: Mapping[str, Any], flagged: Mapping[str, float]
) -> tuple[str, ...]:
    """Return the warnings of the segmentation that still hold, and those of the measurement."""
    lasting = [text for text in _segmented(record) if not _is_measured_again(text)]
    texts = [*lasting, *result.warnings, flagged_warning(flagged)]
    return tuple(dict.fromkeys(filter(None, texts)))


def _is_measured_again(text: str) -> bool:
    """Return whether a warning is about what a measurement finds anew."""
    return text.startswith(LOW) or "fat fraction" in text or "fat-fraction" in text


def _segmented(record: Mapping[str, Any]) -> list[str]:
    found = record.get(SEGMENTED, record.get("warnings"))
    return [str(text) for text in found] if isinstance(found, list) else []


def _about(
    result: Segmentation,
    record: Mapping[str, Any],
    flagged: Mapping[str, float],
    numbering: Numbering,
) -> dict[str, Any]:
    """Return the entries of the record about the result; most are the segmentation's."""
    own = describe(result, numbering)
    if not record:
        return own
    kept = {key: value for key, value in record.items() if key not in _STALE}
    kept |= {key: own[key] for key in _MEASURED}
    kept |= {"flagged": dict(flagged)} if "flagged" in record else {}
    return {**kept, SEGMENTED: _segmented(record)}
