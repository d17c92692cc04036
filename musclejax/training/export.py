"""Checkpoints of runs -> weights that `segment` takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musclejax.errors import InputError
from musclejax.models.weights import Network, save_weights
from musclejax.training import checkpoint
from musclejax.training.average import tested_variables
from musclejax.training.run import read_metrics, read_run


def export_runs(
    runs: Sequence[Path],
    folder: Path,
    kind: str,
    licence: str,
    caution: str = "",
    *,
    half: bool = False,
) -> list[str]:
    """Write the networks of training runs as one set of weights.

    Args:
        runs: Folders of runs, one a task.
        folder: Weights folder to write.
        kind: "best" or "last" checkpoint.
        licence: What the provenance says of it.
        caution: What every result made with the weights shall say, if anything.
        half: Whether kernels are stored in half precision.

    Returns:
        A line for each network.

    Raises:
        InputError: If a folder holds no run or checkpoint, or two are of one task.
    """
    networks: dict[str, Network] = {}
    report: dict[str, Any] = {}
    for run in runs:
        network, figures = read_network(run, kind)
        if network.task in networks:
            accepted = "one run for each of thigh, leg and region"
            raise InputError(run, f"a second {network.task} run", accepted)
        networks[network.task], report[network.task] = network, figures
    provenance: dict[str, Any] = {
        "trained": True,
        "description": "; ".join(f"{task}: {_describe(r)}" for task, r in report.items()),
        "licence": licence,
        "report": report,
    }
    if caution:
        provenance["caution"] = caution
    save_weights(folder, networks, provenance, half=half)
    return [f"{folder}: {task}, {_describe(figures)}" for task, figures in report.items()]


def read_network(run: Path, kind: str) -> tuple[Network, dict[str, Any]]:
    """Return the network of a run, and what is known of its training.

    Raises:
        InputError: If the folder holds no run, or no checkpoint yet.
    """
    record = read_run(run)
    saved = None if record is None else checkpoint.load(run, kind)
    if record is None or saved is None:
        found = "no run" if record is None else f"no {kind} checkpoint yet"
        raise InputError(run, found, "the --workdir of `musclejax train`, an epoch old or more")
    state, progress = saved
    metrics = [m for m in read_metrics(run) if m["epoch"] == progress["epoch"]]
    return Network(record["config"], tested_variables(state)), {
        "checkpoint": kind,
        "start": record.get("start", ""),
        "notes": record.get("notes", []),
        "data": record["data"],
        "versions": record.get("versions", {}),
        "metrics": metrics[0] if metrics else {},
    }


def _describe(report: Mapping[str, Any]) -> str:
    metrics, train = report["metrics"], report["data"]["train"]
    shown = {"validation_dsc": "validation DSC", "validation_accuracy": "validation accuracy"}
    figures = [f"{label} {metrics[name]:.3f}" for name, label in shown.items() if name in metrics]
    slices = f"{train['slices']} slices of {len(train['subjects'])} subjects"
    return ", ".join(
        [f"{report['checkpoint']} epoch {metrics.get('epoch', '?')}", *figures, slices]
    )
