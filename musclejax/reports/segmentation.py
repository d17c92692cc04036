"""Files of a segmented scan: labels, tables, picture and run record, all or none."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import musclejax
from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.files import write_text
from musclejax.prediction.estimate import estimate, load_calibration, name_flagged
from musclejax.prediction.evidence import add_up
from musclejax.prediction.measurement import NO_MAPS, Maps, Measured
from musclejax.prediction.result import Segmentation
from musclejax.prediction.sections import tables_of
from musclejax.reports.contact_sheet import draw
from musclejax.reports.run_record import RECORD, Overwrite, staged_results
from musclejax.reports.tables import write_table
from musclejax.scan.dicom_seg import save_dicom_seg
from musclejax.scan.nifti import save_labels, save_map, save_probabilities
from musclejax.scan.source import LABEL_NAMES
from musclejax.scan.volume import Volume


def save(
    result: Segmentation,
    folder: str | Path,
    *,
    fat_fraction: np.ndarray | None = None,
    maps: Maps = NO_MAPS,
    dicom_seg: bool = False,
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
        dicom_seg: Whether to write `NAME_seg.dcm`; the scan must come from DICOM.
        overwrite: What may be replaced; files that were edited since, or that are not ours, only
            by "edited", which keeps them as .bak.
        record: Called last; its entries are added to `NAME_run.json`.

    Returns:
        The files: `NAME_labels.nii.gz`, `NAME_muscles.csv`, `NAME_slices.csv`, `NAME_qc.png`,
        `NAME_run.json`, with levels `NAME_sections.csv`, with probabilities
        `NAME_probabilities.nii.gz`.

    Raises:
        InputError: If a file in the place of the results must not be replaced.
        OSError: If the folder cannot be written.
    """
    options = ScanMaps(fat_fraction, maps), dicom_seg, overwrite, record
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
    dicom_seg: bool,
    overwrite: Overwrite,
    record: Callable[[], Mapping[str, Any]],
) -> Saved:
    """Write the files of one scan as `save` does; also return the scan with all its warnings."""
    volume, name = result.volume, result.volume.name

    def about() -> dict[str, Any]:
        return {**describe(result), **record()}

    with staged_results(folder, name, _scan_sha256(volume), overwrite, about) as stage:
        if dicom_seg:
            result = _save_dicom_seg(result, stage / f"{name}_seg.dcm")
        save_labels(stage / f"{name}_labels.nii.gz", result.labels, volume, result.anatomy)
        if result.probabilities is not None:
            path = stage / f"{name}_probabilities.nii.gz"
            save_probabilities(path, result.probabilities, volume)
        if maps.computed and maps.fat_fraction is not None:
            save_map(stage / f"{name}_fat_fraction.nii.gz", maps.fat_fraction, volume)
        measured = Measured.of(result, maps.fat_fraction, maps.others)
        for kind, table in tables_of(measured).items():
            write_table(table, stage / f"{name}_{kind}.csv")
        draw(result, stage / f"{name}_qc.png")
        written = [RECORD.format(name=name), *(path.name for path in stage.iterdir())]
    return Saved([folder / file for file in sorted(written)], result)


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

    with staged_results(folder, name, _scan_sha256(volume), "same scan", about) as stage:
        save_labels(stage / f"{name}_labels.nii.gz", result.labels, volume, result.anatomy)


def _save_dicom_seg(result: Segmentation, path: Path) -> Segmentation:
    """Write the labels as DICOM; return the result, with a warning if that is impossible."""
    sides, version = result.sides.voxels, musclejax.__version__
    try:
        save_dicom_seg(path, result.labels, sides, result.volume, result.region, version)
    except InputError as error:
        path.unlink(missing_ok=True)
        warning = f"no DICOM segmentation: {error}"
        return replace(result, warnings=(*result.warnings, warning))
    return result


def _scan_sha256(volume: Volume) -> str:
    """Return the checksum of a scan's voxels and affine."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.data).view(np.uint8).data)
    digest.update(np.ascontiguousarray(volume.affine).tobytes())
    return digest.hexdigest()


def describe(result: Segmentation) -> dict[str, Any]:
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


def save_label_names(folder: Path) -> list[Path]:
    """Write `labels.txt` for ITK-SNAP and `labels.json` (nnU-Net's style, by region).

    Returns:
        Those that exist with other contents; they are left as they are.
    """
    names = {
        region.name: {"background": 0, **{m.abbreviation: m.number for m in region.muscles}}
        for region in anatomy.REGIONS.values()
    }
    texts = json.dumps(names, indent=2) + "\n", itksnap_labels()
    other = []
    for path, text in zip((folder / name for name in LABEL_NAMES), texts, strict=True):
        if not path.exists():
            write_text(path, text)
        elif path.read_bytes() != text.encode():
            other.append(path)
    return other


def itksnap_labels() -> str:
    """Return an ITK-SNAP label description file that serves both regions."""
    rows = [
        "# ITK-SnAP Label Description File",
        "# IDX -R- -G- -B- -A- VIS MSH LABEL",
        '    0     0    0    0        0  0  0    "Clear Label"',
    ]
    for number, color in list(anatomy.COLORS.items())[1:]:
        titles = [
            f"{region.title}: {muscle.abbreviation} {muscle.name}"
            for region in anatomy.REGIONS.values()
            for muscle in region.muscles
            if muscle.number == number
        ]
        red, green, blue = color
        rows.append(
            f'{number:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{" | ".join(titles)}"'
        )
    return "\n".join(rows) + "\n"
