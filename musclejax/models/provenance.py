"""The provenance of a network: a record that is stored with it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from musclejax.anatomy import TASKS
from musclejax.errors import InputError
from musclejax.models.training_record import check_training_record

UNTRAINED = "random weights, not trained: the labels mean nothing"
_FIGURES = {"validation_dsc": "validation DSC", "validation_accuracy": "validation accuracy"}
"""Metric of a run -> its name in a summary."""


@dataclass(frozen=True)
class Provenance:
    """Origin, license, training data and metrics of a network.

    Attributes:
        version: Of the set of weights that it belongs to.
        trained: Whether it has learned anything; random weights have not.
        description: The network in a sentence or two.
        license: Of the weights.
        warning: Shown with every result; empty if there is none.
        data: Training data: "train", "validation" and "earlier"; see `training_record`.
        metrics: Figures of the checkpoint, by name.
        origin: Start of the training, checkpoint, imported file.
        versions: Of Python and the packages it was made with.
    """

    version: str = ""
    trained: bool = True
    description: str = ""
    license: str = "not stated"
    warning: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def provenance_from_json(values: Mapping[str, Any]) -> Provenance:
    """Return the record in a file; fields of later versions are left out.

    Raises:
        InputError: If a field is of another kind.
    """
    kinds = {"trained": bool, "data": dict, "metrics": dict, "origin": dict, "versions": dict}
    known = {f.name: values[f.name] for f in fields(Provenance) if f.name in values}
    for name, value in known.items():
        kind = kinds.get(name, str)
        if not isinstance(value, kind):
            raise InputError(f"provenance.{name}", repr(value)[:60], f"a {kind.__name__}")
    check_training_record(known.get("data", {}))
    return Provenance(**known)


def joined(records: Mapping[str, Provenance], text: Callable[[Provenance], str]) -> str:
    """Return a text of several networks once if it is the same, else with its tasks."""
    tasks: dict[str, list[str]] = {}
    for task, record in records.items():
        tasks.setdefault(text(record), []).append(task)
    if len(tasks) == 1:
        return next(iter(tasks))
    return "; ".join(f"{', '.join(own)}: {line}" for line, own in tasks.items() if line)


def summary(records: Mapping[str, Provenance]) -> str:
    """Return training data and main figures of some networks in a few words."""
    if not all(record.trained for record in records.values()):
        return "random, not trained"
    parts = [part for part in (_trained_on(records), _figures(records)) if part]
    return "; ".join(parts) or joined(records, lambda record: record.description)


def _trained_on(records: Mapping[str, Provenance]) -> str:
    parts = [r.data["train"] for r in _segmenting(records).values() if "train" in r.data]
    synthetic = [part for part in parts if part.get("source") == "phantom"]
    scans = [part for part in parts if part not in synthetic]
    slices = sum(part.get("slices", 0) for part in scans)
    of = [f"{slices} slices of {_subjects(scans)}"] if scans else []
    of += [f"synthetic slices of {_subjects(synthetic)}"] if synthetic else []
    return f"trained on {' and '.join(of)}" if of else ""


def _subjects(parts: Iterable[Mapping[str, Any]]) -> str:
    count = len({subject for part in parts for subject in part.get("subjects", [])})
    return f"{count} subject{'s' * (count != 1)}"


def _figures(records: Mapping[str, Provenance]) -> str:
    figures: dict[str, list[str]] = {}
    for task, record in _segmenting(records).items():
        metric = TASKS[task].best_metric
        if metric in record.metrics:
            figures.setdefault(metric, []).append(f"{record.metrics[metric]:.3f} {task}")
    return ", ".join(f"{_FIGURES[name]} {', '.join(found)}" for name, found in figures.items())


def _segmenting(records: Mapping[str, Provenance]) -> Mapping[str, Provenance]:
    """Return the segmentation networks; the classifier if it is alone."""
    chosen = {task: r for task, r in records.items() if not TASKS[task].is_classifier}
    return chosen or records
