"""Checkpoints of runs -> weights that `segment` takes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from musclejax.anatomy import TASKS
from musclejax.errors import InputError
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance
from musclejax.models.variants import find
from musclejax.models.weights import load_weights
from musclejax.training import checkpoint
from musclejax.training.average import eval_variables
from musclejax.training.mixing import is_fine_tuned
from musclejax.training.workdir import read_metrics, read_run


def read_networks(
    runs: Sequence[Path], kind: str, stated: Provenance
) -> tuple[dict[str, Network], dict[str, Provenance]]:
    """Return the networks of training runs as one set of weights, by task.

    Args:
        runs: Folders of runs, one per task.
        kind: "best" or "last" checkpoint.
        stated: Version, description, license and warning, which the runs do not record.

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
    return networks, records


def read_start(run: Path, network: Network) -> Network | None:
    """Return the network that a run began with; None unless it was fine-tuned on scans.

    None, too, if it began with the network of another region.

    Args:
        run: Folder of the run.
        network: Its network.

    Raises:
        InputError: If the weights that it began with are not where they were, or others by now.
    """
    record = read_run(run) or {}
    begun = record.get("init")
    if not begun or not is_fine_tuned(record.get("data", {}), network.config):
        return None
    if begun["task"] != network.task or TASKS[network.task].is_classifier:
        return None
    weights = load_weights(begun["weights"])
    header = weights.headers.get(network.task)
    if header is None or header.checksum != begun["checksum"]:
        accepted = "the weights that the run began with"
        raise InputError(begun["weights"], "other weights", accepted, "Put them back.")
    return weights.networks[network.task]


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
