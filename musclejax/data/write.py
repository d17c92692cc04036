"""Write datasets in nnU-Net's raw layout; the paper's fixed set of augmented slices."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.config import SLICE_SPACING_MM
from musclejax.data.batches import SliceFeed, batch_origins, make_batch
from musclejax.data.dataset import COLUMNS
from musclejax.data.slices import Origin
from musclejax.files import staging_folder, write_json, write_text

_SLICE_MM = 5.0
_STEP = 1 / 8192
"""Intensities are stored in steps of this; 1 is the 99th percentile of the scan's body."""


def write_augmented(
    folder: Path,
    feeds: dict[str, SliceFeed],
    count: int,
    config: ConfigDict,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Write `count` augmented slices in nnU-Net's raw layout, one slice a case.

    Slices that exist are left as they are, so that a stopped run goes on. `cases.csv` names the
    subject that each slice comes from, and keeps its split.

    Args:
        folder: Dataset to write.
        feeds: "train" and "validation", with augmentation; they get shares of `count` in
            proportion to their slices, so that each subject stays on its side.
        count: Slices in all, at least two.
        config: Settings; the images are normalised with `config.intensity` and say so.
        advance: Called with the number of slices just done.
    """
    slices = {name: len(feed) for name, feed in feeds.items()}
    validation = max(1, round(count * slices["validation"] / sum(slices.values())))
    shares = {"train": count - validation, "validation": validation}
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for split, share in shares.items():
        feed = replace(feeds[split], settings=feeds["train"].settings)
        for number in range(share):
            item = number % len(feed)
            origin = batch_origins(feed, np.array([item]))[0]
            name = f"{split}{number:05d}_{origin.case.name}_{origin.index:03d}"
            _write(folder, name, feed, item, number, config)
            rows.append(_row(name, origin, split))
            advance(1)
    write_cases(folder, rows)
    write_index(folder, config.task, count, config.intensity.to_dict())


def write_index(folder: Path, region: str, cases: int, intensity: Mapping[str, Any] | None) -> None:
    """Write `dataset.json` for labels in our own numbers.

    Args:
        folder: The dataset.
        region: The region of all its cases.
        cases: Number of training cases.
        intensity: As in `Dataset`.
    """
    muscles = anatomy.REGIONS[region].muscles
    index: dict[str, Any] = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{m.abbreviation: m.number for m in muscles}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    index["labels"]["ignore"] = len(muscles) + 1
    if intensity is not None:
        index["musclejax_intensity"] = dict(intensity)
    write_json(folder / "dataset.json", index)


def write_cases(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `cases.csv`; columns that a row lacks stay empty."""
    lines = [",".join(COLUMNS)]
    lines += [",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows]
    write_text(folder / "cases.csv", "\n".join(lines) + "\n")


def _row(name: str, origin: Origin, split: str) -> dict[str, str]:
    case = origin.case
    return {
        "case": name,
        "subject": case.subject,
        "time_point": case.time_point,
        "region": origin.region,
        "severity": case.severity,
        "split": split,
    }


def _write(
    folder: Path, name: str, feed: SliceFeed, item: int, number: int, config: ConfigDict
) -> None:
    label_path = folder / "labelsTr" / f"{name}.nii.gz"
    if label_path.is_file():  # written last
        return
    classes = np.ones(anatomy.REGIONS[config.task].num_classes, np.float32)
    batch = make_batch(feed, np.array([item]), np.array([number]), classes, config)
    image, labels = batch["image"][0, ..., 0], batch["labels"][0]
    labels = np.where(batch["weights"][0] > 0, labels, len(classes))
    steps = np.clip(np.round(image / _STEP), -32768, 32767)
    image_path = folder / "imagesTr" / f"{name}_0000.nii.gz"
    save_slices(image_path, steps.astype(np.int16)[None], _SLICE_MM, _STEP)
    save_slices(label_path, labels.astype(np.uint8)[None], _SLICE_MM)


def save_slices(path: Path, slices: np.ndarray, slice_mm: float, step: float = 1.0) -> None:
    """Write [slice, row, column] as NIfTI, under a temporary name first.

    Args:
        path: File to write.
        slices: On the model grid: from the feet up, rows from anterior to posterior.
        slice_mm: Distance between slices.
        step: Intensity that a stored 1 stands for.
    """
    mm = SLICE_SPACING_MM
    # [slice, row, column] -> [left, posterior, slice]; world RAS.
    affine = np.diag([-mm, -mm, slice_mm, 1.0])
    image = nib.Nifti1Image(np.ascontiguousarray(slices.transpose(2, 1, 0)), affine)
    image.header.set_slope_inter(step, 0)
    with staging_folder(path.parent, path.name) as stage:
        nib.save(image, stage / path.name)
