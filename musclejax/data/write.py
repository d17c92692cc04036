"""Write datasets in nnU-Net's raw layout; the paper's fixed set of augmented slices."""

import csv
import io
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.anatomy import SLICE_SPACING_MM
from musclejax.data.batches import make_batch
from musclejax.data.case_table import COLUMNS
from musclejax.data.sampler import SliceSampler
from musclejax.data.slices import Origin
from musclejax.files import staging_folder, write_json, write_text
from musclejax.loops import Advance

_SLICE_MM = 5.0
_STEP = 1 / 8192
"""Intensities are stored in steps of this; 1 is the 99th percentile of the scan's body."""


def write_augmented_steps(
    folder: Path, samplers: Mapping[str, SliceSampler], count: int, config: ConfigDict
) -> Generator[Advance, None, None]:
    """Write `count` augmented slices in nnU-Net's raw layout, one slice per case; yield after each.

    Slices that exist are left as they are, so that a stopped run resumes. `cases.csv` names the
    subject that each slice comes from, and keeps its split.

    Args:
        folder: Dataset to write.
        samplers: "train" and "validation", with augmentation; they get shares of `count` in
            proportion to their slices, so that each subject stays on its side.
        count: Slices in all, at least two.
        config: Settings; the images are normalized with `config.intensity`, which the dataset
            records.
    """
    slices = {name: len(sampler) for name, sampler in samplers.items()}
    validation = max(1, round(count * slices["validation"] / sum(slices.values())))
    shares = {"train": count - validation, "validation": validation}
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    for split, share in shares.items():
        sampler = replace(samplers[split], settings=samplers["train"].settings)
        for seed in range(share):
            index = seed % len(sampler)
            origin = sampler.origin(index)
            name = f"{split}{seed:05d}_{origin.case.name}_{origin.index:03d}"
            _write(folder, name, sampler, index, seed, config)
            rows.append(_row(name, origin, split))
            yield Advance(len(rows), count)
    write_cases(folder, rows)
    write_index(folder, config.task, count, config.intensity.to_dict())


def write_index(
    folder: Path, region: str, cases: int, intensity: Mapping[str, Any] | None, name: str = ""
) -> None:
    """Write `dataset.json` for labels in our own numbers.

    Args:
        folder: The dataset.
        region: The region of all its cases.
        cases: Number of training cases.
        intensity: As in `Dataset`.
        name: Of the dataset; that of its folder if empty.
    """
    muscles = anatomy.REGIONS[region].muscles
    index: dict[str, Any] = {
        **({"name": name} if name else {}),
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
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([row.get(column, "") for column in COLUMNS] for row in rows)
    write_text(folder / "cases.csv", text.getvalue())


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
    folder: Path, name: str, sampler: SliceSampler, index: int, seed: int, config: ConfigDict
) -> None:
    label_path = folder / "labelsTr" / f"{name}.nii.gz"
    if label_path.is_file():  # written last
        return
    classes = np.ones(anatomy.REGIONS[config.task].num_classes, np.float32)
    batch = make_batch(sampler, np.array([index]), np.array([seed]), classes, config)
    image, labels = np.asarray(batch.image)[0, ..., 0], np.asarray(batch.labels)[0]
    labels = np.where(np.asarray(batch.weights)[0] > 0, labels, len(classes))
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
        step: Intensity of a stored 1.
    """
    mm = SLICE_SPACING_MM
    # [slice, row, column] -> [left, posterior, slice]; world RAS.
    affine = np.diag([-mm, -mm, slice_mm, 1.0])
    image = nib.Nifti1Image(np.ascontiguousarray(slices.transpose(2, 1, 0)), affine)
    image.header.set_slope_inter(step, 0)
    with staging_folder(path.parent, path.name) as stage:
        nib.save(image, stage / path.name)
