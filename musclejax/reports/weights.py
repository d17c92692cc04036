"""Provenance and specification of weights, as a record and as tables; no array is read."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from musclejax.anatomy import TASKS
from musclejax.errors import count_of
from musclejax.models.counts import describe
from musclejax.models.provenance import Provenance
from musclejax.models.weights import Weights


class Sheet(NamedTuple):
    """A table of texts."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def weights_record(weights: Weights) -> dict[str, Any]:
    """Return all details of weights; JSON-able."""
    return {
        "name": weights.name,
        "version": weights.version,
        "summary": weights.summary,
        "description": weights.description,
        "license": weights.license,
        "warning": weights.warning,
        "trained": weights.trained,
        "hash": weights.hash,
        "networks": {task: _network(weights, task) for task in weights.networks},
    }


def _network(weights: Weights, task: str) -> dict[str, Any]:
    header, provenance = weights.headers[task], weights.provenance.get(task, Provenance())
    return {
        "variant": header.config.variant,
        "parameters": describe(header.spec, task).trainable_parameters,
        "checksum": header.checksum,
        "spec": asdict(header.spec),
        "provenance": asdict(provenance),
        "config": header.config.to_dict(),
    }


def weights_sheets(weights: Weights) -> list[Sheet]:
    """Return the tables of `musclejax weights show`, the general ones first."""
    record = weights_record(weights)
    networks: Mapping[str, Any] = record["networks"]
    tasks = tuple(networks)
    general = ("name", "version", "license", "warning", "hash")
    facts = {
        "variant": [n["variant"] for n in networks.values()],
        "parameters": [f"{n['parameters']:,}" for n in networks.values()],
        "checksum": [n["checksum"][:12] for n in networks.values()],
    }
    for name in ("description", "license"):
        facts[name] = [n["provenance"][name] for n in networks.values()]
    return [
        Sheet(("weights", ""), [(name, str(record[name])) for name in general if record[name]]),
        Sheet(("network", *tasks), [(name, *map(str, row)) for name, row in facts.items()]),
        _by_task("provenance", {t: _origin(n["provenance"]) for t, n in networks.items()}),
        _by_task("metric", {t: _metrics(n["provenance"]) for t, n in networks.items()}),
        Sheet(("muscle", "network", "training DSC", "validation DSC"), _muscles(networks)),
        _by_task("specification", {t: n["spec"] for t, n in networks.items()}),
        _by_task("versions", {t: n["provenance"]["versions"] for t, n in networks.items()}),
    ]


def _by_task(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """Return a table with a column per network, and a row per name that any of them has."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [(name, *(_text(column.get(name, "")) for column in columns.values())) for name in names]
    return Sheet((title, *columns), rows)


def _origin(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the start of a training and the sizes of its data."""
    found: dict[str, Any] = {name: text for name, text in provenance["origin"].items() if text}
    for part in ("train", "validation"):
        data = provenance["data"].get(part)
        if data:
            source = f" ({data['source']})" if "source" in data else ""
            people = count_of(len(data["subjects"]), "subject")
            found[part] = f"{data['slices']} slices of {people}{source}"
    return found


def _metrics(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a network as a whole, without the costs of training."""
    return {
        name: value
        for name, value in provenance["metrics"].items()
        if "_dsc_" not in name and "seconds" not in name and name not in ("best", "wait_share")
    }


def _muscles(networks: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for task, network in networks.items():
        metrics = network["provenance"]["metrics"]
        for muscle in TASKS[task].muscles:
            names = [f"{part}_dsc_{muscle.abbreviation}" for part in ("train", "validation")]
            if any(name in metrics for name in names):
                figures = [_text(metrics.get(name, "")) for name in names]
                rows.append((f"{muscle.abbreviation} {muscle.name}", task, *figures))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
