"""Files of a segmented scan: labels, tables, picture and run record, all or none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import musclejax
from musclejax import anatomy
from musclejax.files import read_json, staging_folder, write_json, write_text
from musclejax.prediction.measurement import measure_muscles, measure_slices
from musclejax.prediction.result import Segmentation
from musclejax.reports.contact_sheet import draw
from musclejax.scan.dicom_seg import save_dicom_seg
from musclejax.scan.nifti import save_labels, save_probabilities

RECORD = "{name}_run.json"
"""Written last: a scan with a record is done."""


def save(
    result: Segmentation,
    folder: str | Path,
    *,
    fat_fraction: np.ndarray | None = None,
    dicom_seg: bool = False,
    record: Callable[[], Mapping[str, Any]] = dict,
) -> list[Path]:
    """Write the files of one scan; none of them is left if one fails.

    Args:
        result: A segmented scan, NAME being its volume's name.
        folder: Where to write; made if needed.
        fat_fraction: Map on the scan's grid, for the tables.
        dicom_seg: Whether to write `NAME_seg.dcm`; the scan must come from DICOM.
        record: Called last; its entries are added to `NAME_run.json`.

    Returns:
        The files: `NAME_labels.nii.gz`, `NAME_muscles.csv`, `NAME_slices.csv`, `NAME_qc.png`,
        `NAME_run.json`, with probabilities `NAME_probabilities.nii.gz`.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder, volume, name = Path(folder), result.volume, result.volume.name
    last = RECORD.format(name=name)
    with staging_folder(folder, name, last=last) as stage:
        save_labels(stage / f"{name}_labels.nii.gz", result.labels, volume, result.anatomy)
        if result.probabilities is not None:
            path = stage / f"{name}_probabilities.nii.gz"
            save_probabilities(path, result.probabilities, volume)
        tables = {
            "muscles": measure_muscles(result, fat_fraction),
            "slices": measure_slices(result, fat_fraction),
        }
        for kind, table in tables.items():
            path = stage / f"{name}_{kind}.csv"
            table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
        draw(result, stage / f"{name}_qc.png")
        if dicom_seg:
            path, sides = stage / f"{name}_seg.dcm", result.sides.voxels
            version = musclejax.__version__
            save_dicom_seg(path, result.labels, sides, volume, result.region, version)
        write_json(stage / last, {**describe(result), **record()})
        names = sorted(path.name for path in stage.iterdir())
    return [folder / name for name in names]


def describe(result: Segmentation) -> dict[str, Any]:
    """Return the entries of the run record about the segmentation itself."""
    volume = result.volume
    return {
        "scan": volume.name,
        "shape": list(volume.data.shape),
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
        "warnings": list(result.warnings),
    }


def save_label_names(folder: Path) -> None:
    """Write `labels.txt` for ITK-SNAP and `labels.json` (nnU-Net's style, by region)."""
    names = {
        region.name: {"background": 0, **{m.abbreviation: m.number for m in region.muscles}}
        for region in anatomy.REGIONS.values()
    }
    write_json(folder / "labels.json", names)
    write_text(folder / "labels.txt", itksnap_labels())


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


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the run record of a scan that is done; None if there is none."""
    return read_json(folder / RECORD.format(name=name))
