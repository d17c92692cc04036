"""What reads each kind, as a command or a program would; returns all that the reader said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from musclejax import load
from musclejax.data.check import check_dataset_steps
from musclejax.data.dataset import read_case, read_dataset
from musclejax.errors import InputError
from musclejax.evaluation.cases import find_prediction, read_pair, read_references
from musclejax.loops import result_of
from musclejax.reports.run_record import foreign_files, is_complete, read_record
from musclejax.scan.volume import Volume

Answer = dict[str, Any]
Reader = Callable[[Path], Answer]
"""A folder -> what a reader said about it; a warning stands under "warnings"."""


def volume_answer(volume: Volume) -> Answer:
    canonical = volume.lps
    shown = {"lps": canonical.data, "body": canonical.body, "spacing": volume.spacing_mm}
    warnings = getattr(volume, "warnings", ())
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
    references = read_references(folder)
    case = references.cases[0]
    pair = read_pair(case, references, find_prediction(folder / "out", case))
    return {"prediction": pair.prediction, **record(folder / "out", "leg00")}


def record(folder: Path, name: str) -> Answer:
    """As `segment` does when it is repeated."""
    found = read_record(folder, name)
    if found is None:
        raise InputError(folder / f"{name}_run.json", "no record", "one")
    edited = [path.name for path in foreign_files(folder, name, found)]
    return {"record": found, "complete": is_complete(found, folder, name), "edited": edited}
