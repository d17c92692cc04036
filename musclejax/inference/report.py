"""Files of a segmented scan: labels, tables, picture and run record, all or none."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import musclejax
from musclejax import anatomy
from musclejax.files import staging_folder, write_json, write_text
from musclejax.inference.picture import draw
from musclejax.scan.volume import save_labels, save_probabilities

if TYPE_CHECKING:
    from musclejax.inference.segment import Segmentation

RECORD = "{name}_run.json"
"""Written last: a scan with a record is finished."""


def save(
    segmentation: "Segmentation",
    folder: Path,
    *,
    fat_fraction: np.ndarray | None = None,
    dicom_seg: bool = False,
    record: Callable[[], Mapping[str, Any]] = dict,
) -> list[Path]:
    """Write the files of one scan; none of them is left if one fails.

    Args:
        segmentation: A segmented scan, NAME being its volume's name.
        folder: Where to write; made if needed.
        fat_fraction: Map on the scan's grid, for the tables.
        dicom_seg: Whether to write `NAME_seg.dcm`; the scan must come from DICOM.
        record: Called last; what it returns is merged into `NAME_run.json`.

    Returns:
        The files: `NAME_labels.nii.gz`, `NAME_muscles.csv`, `NAME_slices.csv`, `NAME_qc.png`,
        `NAME_run.json`, with probabilities `NAME_probabilities.nii.gz`.

    Raises:
        OSError: If the folder cannot be written.
    """
    volume, name = segmentation.volume, segmentation.volume.name
    last = RECORD.format(name=name)
    with staging_folder(folder, name, last=last) as stage:
        save_labels(
            stage / f"{name}_labels.nii.gz", segmentation.labels, volume, segmentation.anatomy
        )
        if segmentation.probabilities is not None:
            path = stage / f"{name}_probabilities.nii.gz"
            save_probabilities(path, segmentation.probabilities, volume)
        tables = {
            "muscles": segmentation.measurements(fat_fraction),
            "slices": segmentation.slices(fat_fraction),
        }
        for kind, table in tables.items():
            path = stage / f"{name}_{kind}.csv"
            table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
        draw(segmentation, stage / f"{name}_qc.png")
        if dicom_seg:
            _save_dicom_seg(segmentation, stage / f"{name}_seg.dcm")
        write_json(stage / last, {**describe(segmentation), **record()})
        names = sorted(path.name for path in stage.iterdir())
    return [folder / name for name in names]


def describe(segmentation: "Segmentation") -> dict[str, Any]:
    """Return what the run record says of the segmentation itself."""
    volume = segmentation.volume
    return {
        "scan": volume.name,
        "shape": list(volume.data.shape),
        "spacing_mm": [round(s, 6) for s in volume.spacing_mm],
        "region": segmentation.region,
        "region_probability": segmentation.region_probability,
        "sides": segmentation.sides.method,
        "weights": segmentation.weights,
        "weights_trained": segmentation.trained,
        "engine": segmentation.engine,
        "precision": segmentation.precision,
        "slices_looked_at_twice": segmentation.looked_twice,
        "signs": None if segmentation.signs is None else segmentation.signs._asdict(),
        "warnings": list(segmentation.warnings),
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
    """Return the run record of a finished scan, or None if there is none."""
    try:
        record = json.loads((folder / RECORD.format(name=name)).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) else None


def _save_dicom_seg(segmentation: "Segmentation", path: Path) -> None:
    from musclejax.scan.dicom_seg import save_dicom_seg

    volume, region = segmentation.volume, segmentation.region
    sides, version = segmentation.sides.voxels, musclejax.__version__
    save_dicom_seg(path, segmentation.labels, sides, volume, region, version)
