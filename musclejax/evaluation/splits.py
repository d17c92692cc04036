"""Which scans the networks were trained on."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from musclejax.data.dataset import Case, Dataset
from musclejax.errors import listed
from musclejax.models.training_record import UNKNOWN, ScanIdentity, earlier_parts, role_in
from musclejax.models.weights import Weights
from musclejax.phantom.templates import SOURCES, read_table
from musclejax.phantom.write import MANIFEST

_TRAINED = ("train", "validation")


def split_of(case: Case, content: str, dataset: Dataset, weights: Weights, task: str) -> str:
    """Return the role of a scan for a network.

    The record of the training stands where it names the scan or its subject, whatever `cases.csv`
    says. Else `cases.csv` does, else the record, in which an unnamed scan is a test scan. It is
    "unknown" where neither tells.

    Args:
        case: The scan, with its region.
        content: See `data.dataset.content_of`.
        dataset: Its dataset.
        weights: The networks.
        task: Which of them.
    """
    record = weights.provenance.get(task)
    if record is None:
        return case.split or UNKNOWN
    role = "test"
    if record.trained:
        scan = ScanIdentity(case.dataset, case.name, case.subject, content)
        role = role_in(record.data, scan) if record.data else UNKNOWN
        if role not in _TRAINED and _is_training_phantom(case, dataset):
            role = _of_phantom(case.region, record.data) or role
    return role if role in _TRAINED else case.split or role


def split_warnings(dataset: Dataset, compared: pd.DataFrame) -> list[str]:
    """Return what a reader must know about the splits of some compared cases.

    Args:
        dataset: The references, with the splits of `cases.csv`.
        compared: A row per case, with its final split.
    """
    given = {case.name: case.split for case in dataset.cases}
    final = dict(zip(compared["case"], compared["split"], strict=True))
    warnings = []
    for role in _TRAINED:
        known = [name for name, split in final.items() if split == role]
        moved = [name for name in known if given[name] not in ("", role)]
        if moved:
            verb = "trained" if role == "train" else "validated"
            text = f"the weights were {verb} on the subject, whatever cases.csv says"
            warnings.append(f"{listed(moved)}: {role}, as {text}")
    unknown = [name for name, split in final.items() if split == UNKNOWN]
    if unknown:
        text = "nothing tells whether the weights were trained on the subject"
        warnings.append(f"{listed(unknown)}: {text}; if you know, name the split in cases.csv")
    return warnings


def phantom_warnings(dataset: Dataset, weights: Weights) -> list[str]:
    """Return a warning if synthetic test people are those that the weights were trained on."""
    if not (dataset.folder / MANIFEST).is_file():
        return []
    seen = [r for r in dataset.regions if r in weights.provenance]
    flattered = [r for r in seen if _people(r, "held_out") & _seen(weights.provenance[r].data)]
    text = "start from other slices of people that the weights were trained on, which flatters"
    return [f"synthetic test subjects of the {region} {text}" for region in flattered]


def _is_training_phantom(case: Case, dataset: Dataset) -> bool:
    """Return whether a synthetic scan starts from templates for training."""
    is_phantom = (dataset.folder / MANIFEST).is_file()
    return is_phantom and case.labels.parent.name == "labelsTr"


def _of_phantom(region: str, data: Mapping[str, Any]) -> str:
    """Return the role of a synthetic scan that starts from templates for training."""
    people, seen = _people(region, "train"), _seen(data)
    if people <= seen:
        return "train"
    return UNKNOWN if people & seen else ""


def _people(region: str, group: str) -> set[str]:
    """Return the people of the templates of a group."""
    rows = [row for name in SOURCES[region] for row in read_table(name)]
    return {row["subject"] for row in rows if row["group"] == group}


def _seen(data: Mapping[str, Any]) -> set[str]:
    """Return the people of the templates that a network was trained on."""
    parts = [part for part in earlier_parts(data) if part.get("source") == "phantom"]
    return {subject for part in parts for subject in part.get("subjects", [])}
