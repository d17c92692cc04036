"""Files of a segmented scan: labels, tables, picture and run record, all or none."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import musclejax
from musclejax.anatomy import SIDES, Numbering
from musclejax.errors import InputError
from musclejax.prediction.estimate import estimate, load_calibration, name_flagged
from musclejax.prediction.evidence import add_up
from musclejax.prediction.measurement import NO_MAPS, Maps, Measurement, measure_muscles
from musclejax.prediction.result import Segmentation
from musclejax.prediction.sections import tables_of
from musclejax.reports import bids
from musclejax.reports.pictures.contact_sheet import draw
from musclejax.reports.run_record import (
    LABELS,
    ORIGINAL,
    RECORD,
    Overwrite,
    list_files,
    staged_results,
)
from musclejax.reports.tables import write_table
from musclejax.scan.dicom_seg import save_dicom_seg
from musclejax.scan.dicom_sr import Measured, save_dicom_sr
from musclejax.scan.nifti import save_labels, save_map, save_probabilities
from musclejax.scan.numbering import NUMBERING_KEY, number_table
from musclejax.scan.volume import Volume

_HASHED = 16
"""Rows of a scan that are brought into the order of the checksum at once: a line of a cache."""


@dataclass(frozen=True)
class ResultFiles:
    """Which files of a scan are written, beside those that always are; see `save`."""

    labels: Numbering = "muscles"
    naming: bids.Naming = "plain"
    dicom_seg: bool = False
    dicom_sr: bool = False


def save(
    result: Segmentation,
    folder: str | Path,
    *,
    fat_fraction: np.ndarray | None = None,
    maps: Maps = NO_MAPS,
    labels: Numbering = "muscles",
    naming: bids.Naming = "plain",
    dicom_seg: bool = False,
    dicom_sr: bool = False,
    overwrite: Overwrite = "same scan",
    record: Callable[[], Mapping[str, Any]] = dict,
) -> list[Path]:
    """Write the files of one scan; none of them is left if one fails.

    Where a DICOM segmentation cannot be written, a warning in the record says so in its place.

    Args:
        result: A segmented scan, NAME being its volume's name.
        folder: Where to write; made if needed.
        fat_fraction: Map on the scan's grid, for the tables.
        maps: Further maps by name, for the tables.
        labels: The numbers of the label map; see `anatomy.NUMBERINGS`.
        naming: "bids": write the label map in a BIDS tree too.
        dicom_seg: Whether to write `NAME_seg.dcm`; the scan must come from DICOM.
        dicom_sr: Whether to write `NAME_sr.dcm`, and `NAME_seg.dcm` with it.
        overwrite: What may be replaced; files that were edited since, or that are not ours, only
            by "edited", which keeps them as .bak.
        record: Called last; its entries are added to `NAME_run.json`.

    Returns:
        The files: `NAME_labels.nii.gz`, `NAME_labels_original.nii.gz` (the same, to be left as it
        is), `NAME_muscles.csv`, `NAME_slices.csv`, `NAME_qc.png`,
        `NAME_run.json`, with levels `NAME_sections.csv`, with probabilities
        `NAME_probabilities.nii.gz`.

    Raises:
        InputError: If a file in the place of the results must not be replaced.
        OSError: If the folder cannot be written.
    """
    files = ResultFiles(labels, naming, dicom_seg, dicom_sr)
    options = ScanMaps(fat_fraction, maps), files, overwrite, record
    return save_warned(result, Path(folder), *options).files


class ScanMaps(NamedTuple):
    """The maps of a scan, on its grid.

    Attributes:
        fat_fraction: Of the tables; None if there is none.
        others: Further maps by name.
        computed: Whether the fat fraction was computed from water and fat: then it is written.
    """

    fat_fraction: np.ndarray | None = None
    others: Maps = NO_MAPS
    computed: bool = False


class Saved(NamedTuple):
    """What was saved.

    Attributes:
        files: As of `save`.
        result: The scan, with the warning of a DICOM segmentation that could not be written.
    """

    files: list[Path]
    result: Segmentation


def save_warned(
    result: Segmentation,
    folder: Path,
    maps: ScanMaps,
    files: ResultFiles,
    overwrite: Overwrite,
    record: Callable[[], Mapping[str, Any]],
) -> Saved:
    """Write the files of one scan as `save` does; also return the scan with all its warnings."""
    volume, name = result.volume, result.volume.name

    def about() -> dict[str, Any]:
        return {**describe(result, files.labels), **record()}

    stem = bids.reserve(folder, volume, result.region) if files.naming == "bids" else ""
    with staged_results(folder, name, scan_sha256(volume), overwrite, about) as stage:
        result = write_dicom(result, stage, maps.fat_fraction, files)
        labels = write_labels(result, stage, files.labels)
        if stem:
            bids.write(stage, labels, stem, result, files.labels)
        if result.probabilities is not None:
            path = stage / f"{name}_probabilities.nii.gz"
            save_probabilities(path, result.probabilities, volume)
        write_tables(measure(result, maps), stage, result, files.labels)
        write_computed(maps, stage, volume)
        draw(result, stage / f"{name}_qc.png")
        written = [RECORD.format(name=name), *list_files(stage)]
    return Saved([folder / file for file in sorted(written)], result)


def write_labels(result: Segmentation, folder: Path, numbering: Numbering) -> Path:
    """Write the label map twice: one to be corrected, one that stays to be compared with it."""
    name, sides = result.volume.name, result.sides.voxels
    labels, original = (folder / form.format(name=name) for form in (LABELS, ORIGINAL))
    save_labels(labels, result.labels, result.volume, result.anatomy, numbering, sides)
    shutil.copyfile(labels, original)
    return labels


def measure(result: Segmentation, maps: ScanMaps) -> dict[str, pd.DataFrame]:
    """Return the tables of a scan, by kind."""
    return tables_of(Measurement.of(result, maps.fat_fraction, maps.others))


def write_computed(maps: ScanMaps, folder: Path, volume: Volume) -> None:
    """Write the fat fraction of a scan, if it was computed from water and fat."""
    if maps.computed and maps.fat_fraction is not None:
        save_map(folder / f"{volume.name}_fat_fraction.nii.gz", maps.fat_fraction, volume)


def write_tables(
    tables: Mapping[str, pd.DataFrame], folder: Path, result: Segmentation, numbering: Numbering
) -> None:
    """Write the tables of a scan, as NAME_KIND.csv."""
    for kind, table in tables.items():
        path = folder / f"{result.volume.name}_{kind}.csv"
        write_table(_numbered(table, result, numbering), path)


def _numbered(table: pd.DataFrame, result: Segmentation, numbering: Numbering) -> pd.DataFrame:
    """Return a table with the label numbers of the label map on disk; rows without one stay."""
    if numbering == "muscles":
        return table
    numbers = number_table(result.anatomy, numbering)
    sides = table["side"].map({side: n for n, side in enumerate(SIDES, 1)}).fillna(0).astype(int)
    labels = pd.to_numeric(table["label"], errors="coerce").fillna(0).astype(int)
    return table.assign(label=table["label"].where(labels == 0, numbers[sides, labels]))


def save_label_map(
    result: Segmentation, folder: Path, record: Callable[[], Mapping[str, Any]] = dict
) -> None:
    """Write the label map of a scan and its run record only; as `save`.

    Raises:
        InputError: If a file in the place of the results must not be replaced.
        OSError: If the folder cannot be written.
    """
    volume, name = result.volume, result.volume.name

    def about() -> dict[str, Any]:
        return {**describe(result), **record()}

    with staged_results(folder, name, scan_sha256(volume), "same scan", about) as stage:
        save_labels(stage / LABELS.format(name=name), result.labels, volume, result.anatomy)


def write_dicom(
    result: Segmentation, stage: Path, fat_fraction: np.ndarray | None, files: ResultFiles
) -> Segmentation:
    """Write labels, and measurements, as DICOM; return the result, warned of what is impossible.

    The measurements refer to the labels, so that they are not written without them.
    """
    if not (files.dicom_seg or files.dicom_sr):
        return result
    volume, version = result.volume, musclejax.__version__
    seg, report = (stage / f"{volume.name}_{kind}.dcm" for kind in ("seg", "sr"))
    what, path = "segmentation", seg
    try:
        sides = result.sides.voxels
        save_dicom_seg(seg, result.labels, sides, volume, result.region, version)
        if files.dicom_sr:
            what, path = "report", report
            measured = _measured(result, fat_fraction)
            save_dicom_sr(report, seg, measured, volume, result.region, version)
    except InputError as error:
        path.unlink(missing_ok=True)
        warning = f"no DICOM {what}: {error}"
        return replace(result, warnings=(*result.warnings, warning))
    return result


def _measured(result: Segmentation, fat_fraction: np.ndarray | None) -> list[Measured]:
    """Return what the report says of each muscle and side that is there."""
    table = measure_muscles(result, fat_fraction)
    muscles = [muscle.abbreviation for muscle in result.shown_muscles]
    rows = table[table["muscle"].isin(muscles) & (table["voxels"] > 0)]
    return [Measured(*row) for row in rows[list(Measured._fields)].itertuples(index=False)]


def scan_sha256(volume: Volume) -> str:
    """Return the checksum of a scan's voxels and affine."""
    digest, data = hashlib.sha256(), volume.data
    for start in range(0, len(data), _HASHED):
        part = np.ascontiguousarray(data[start : start + _HASHED])
        digest.update(part.view(np.uint8).data)
    digest.update(np.ascontiguousarray(volume.affine).tobytes())
    return digest.hexdigest()


def describe(result: Segmentation, numbering: Numbering = "muscles") -> dict[str, Any]:
    """Return the entries of the run record about the segmentation itself."""
    volume = result.volume
    return {
        "scan": volume.name,
        "shape": list(volume.data.shape),
        "slices": volume.num_slices,
        "spacing_mm": [round(s, 6) for s in volume.spacing_mm],
        "region": result.region,
        "region_probability": result.region_probability,
        "sides": result.sides.method,
        NUMBERING_KEY: numbering,
        "weights": result.weights,
        "weights_trained": result.trained,
        "engine": result.engine,
        "precision": result.precision,
        "tta_slices": result.tta_slices,
        "quality": None if result.quality is None else result.quality._asdict(),
        **_describe_estimates(result),
        "warnings": list(result.warnings),
    }


def find_flagged(result: Segmentation) -> dict[str, float]:
    """Return the flagged muscles and their estimates; see `prediction.estimate`."""
    if result.evidence is None:
        return {}
    return name_flagged(estimate(add_up(result.evidence), result.anatomy), result.anatomy)


def _describe_estimates(result: Segmentation) -> dict[str, Any]:
    """Return the flagged muscles, and where their estimates come from; nothing without these."""
    if result.evidence is None:
        return {}
    flagged = {name: round(dsc, 4) for name, dsc in find_flagged(result).items()}
    return {"flagged": flagged, "calibration": dict(load_calibration().origin)}
