"""What reads each kind, as a command or a program would; returns all that the reader said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from musclejax import load
from musclejax.app.names import is_of
from musclejax.data.check import check_dataset_steps
from musclejax.data.dataset import read_case, read_dataset
from musclejax.errors import InputError
from musclejax.evaluation.compare import compare
from musclejax.evaluation.run import from_folders
from musclejax.loops import result_of
from musclejax.prediction.fat_fraction import place_of, read_map, to_fractions
from musclejax.prediction.result import Segmentation
from musclejax.reports.run_record import foreign_files, is_complete, read_record
from musclejax.scan.sides import Sides
from musclejax.scan.volume import Volume
from tests.fuzz.valid.formats import limbs
from tests.fuzz.valid.scans import SCAN

Answer = dict[str, Any]
Reader = Callable[[Path], Answer]
"""A folder -> what a reader said about it; a warning stands under "warnings"."""


def volume_answer(volume: Volume) -> Answer:
    canonical = volume.lps
    shown = {"lps": canonical.data, "body": canonical.body, "spacing": volume.spacing_mm}
    warnings = getattr(volume, "warnings", ())
    if not volume.has_orientation:  # segmenting it says so
        warnings = (*warnings, "no orientation")
    return {"data": volume.data, "affine": volume.affine, "warnings": warnings, **shown}


def scan(name: str) -> Reader:
    return lambda folder: volume_answer(load(folder / name))


def dataset(folder: Path) -> Answer:
    """As `dataset check` and training do; an error of the report is a refusal."""
    found = read_dataset(folder)
    report = result_of(check_dataset_steps(found))
    if report.errors:
        raise InputError(folder, report.errors[0], "a dataset without errors")
    cases = [(case.subject, case.region, case.split, case.name) for case in found.cases]
    read = [read_case(case, found) for case in found.cases]
    labels = [case_labels for _, case_labels, _ in read]
    warnings = (*report.warnings, *(w for v, _, _ in read for w in getattr(v, "warnings", ())))
    values = {"values": dict(found.values), "ignore": found.ignore, "intensity": found.intensity}
    scans = [(volume.data, volume.affine) for volume, _, _ in read]
    return {"cases": cases, "labels": labels, "scans": scans, "warnings": warnings, **values}


def prediction(folder: Path) -> Answer:
    """As `evaluate` does."""
    source = from_folders(folder, folder / "out")
    found = compare(source.read(source.dataset.cases[0])[0])
    tables = [table.to_csv() for table in (found.muscles, found.slices, found.cases)]
    return {"figures": tables, **record(folder / "out", "leg00", folder / SCAN)}


def record(folder: Path, name: str, path: Path) -> Answer:
    """As `segment` does when it is repeated."""
    found = read_record(folder, name)
    if found is None:
        raise InputError(folder / f"{name}_run.json", "no record", "one")
    edited = [path.name for path in foreign_files(folder, name, found)]
    complete = is_complete(found, folder, name)
    return {"record": found, "complete": complete, "edited": edited, "is_of": is_of(found, path)}


def fat_fraction(folder: Path) -> Answer:
    """As `segment --fat-fraction` does."""
    labels, body, affine = limbs()
    image = (100.0 * body).astype(np.float32)
    result = Segmentation(
        volume=Volume(image, affine, "limbs"),
        labels=labels,
        confidence=labels,
        sides=Sides(
            np.where(np.arange(len(labels)) < len(labels) / 2, 2, 1)[:, None, None].astype(np.uint8)
            * np.ones_like(labels),
            "gap",
        ),
        covered=np.ones(labels.shape, bool),
        region="thigh",
        region_probability=None,
        weights="none",
        trained=True,
    )
    fat = to_fractions(read_map(folder / "fat.nii.gz", result.volume), place_of(result))
    muscle = float(np.nanmedian(fat.values[labels > 0]))
    values = {"values": fat.values, "coverage": fat.coverage, "muscle": muscle, "unit": fat.unit}
    return {**values, "warnings": fat.warnings}
