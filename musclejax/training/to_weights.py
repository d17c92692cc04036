"""Checkpoints of runs -> weights that `segment` takes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from musclejax.errors import InputError
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance
from musclejax.models.variants import find
from musclejax.models.weights import save_weights
from musclejax.training import checkpoint
from musclejax.training.average import eval_variables
from musclejax.training.workdir import read_metrics, read_run


def export_runs(
    runs: Sequence[Path], folder: Path, kind: str, stated: Provenance, *, half: bool = False
) -> dict[str, Provenance]:
    """Write the networks of training runs as one set of weights.

    Args:
        runs: Folders of runs, one per task.
        folder: Weights folder to write.
        kind: "best" or "last" checkpoint.
        stated: Version, description, license and warning, which the runs do not record.
        half: Whether kernels are stored in half precision.

    Returns:
        The provenance of each network, by task.

    Raises:
        InputError: If a folder holds no run or checkpoint, or two are of one task.
    """
    networks: dict[str, Network] = {}
    records: dict[str, Provenance] = {}
    for run in runs:
        network, record = read_network(run, kind)
        if network.task in networks:
            accepted = "one run for each of thigh, leg and region"
            raise InputError(run, f"a second {network.task} run", accepted)
        networks[network.task] = network
        records[network.task] = replace(
            record,
            version=stated.version,
            description=stated.description or record.description,
            license=stated.license,
            warning=stated.warning,
        )
    save_weights(folder, networks, records, half=half)
    return records


def read_network(run: Path, kind: str) -> tuple[Network, Provenance]:
    """Return the network of a run, and its provenance.

    Raises:
        InputError: If the folder holds no run, or no checkpoint yet.
    """
    record = read_run(run)
    saved = None if record is None else checkpoint.load(run, kind)
    if record is None or saved is None:
        found = "no run" if record is None else f"no {kind} checkpoint yet"
        raise InputError(run, found, "the --workdir of `musclejax train`, an epoch old or more")
    state, progress = saved
    config, epoch = record["config"], progress["epoch"]
    metrics = [m for m in read_metrics(run) if m["epoch"] == epoch]
    spec = replace(
        find(config.variant),
        dropout=float(config.optim.dropout),
        momentum=float(config.optim.batch_norm_momentum),
    )
    return Network(config, spec, eval_variables(state)), Provenance(
        description=f"Trained by `musclejax train`: {kind} checkpoint, epoch {epoch}",
        data=record["data"],
        metrics=metrics[0] if metrics else {},
        origin={
            "checkpoint": kind,
            "start": record.get("start", ""),
            "warnings": record.get("warnings", []),
            **({"changes": record["changes"]} if "changes" in record else {}),
        },
        versions=record.get("versions", {}),
    )
