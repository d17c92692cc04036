"""List weights, show them, draw random ones, export runs: the program of `musclejax weights`."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import click

from musclejax.anatomy import TASKS
from musclejax.app import console
from musclejax.app.options import ListOptions, RandomWeights, ShowOptions, WeightsExport
from musclejax.app.process import check_output, usage, writing
from musclejax.errors import InputError
from musclejax.models.initialization import initialize
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance, summary
from musclejax.models.variants import find
from musclejax.models.weights import Weights, list_weights, load_weights, save_weights
from musclejax.reports.weights import weights_record, weights_sheets
from musclejax.system import versions
from musclejax.training.forgetting import compare_steps, warning_of
from musclejax.training.to_weights import read_networks, read_start


def show_bundled(options: ListOptions) -> None:
    """Print a line about each set of weights that ships with the package."""
    bundled = list_weights()
    if options.json:
        records = {name: weights_record(weights) for name, weights in bundled.items()}
        click.echo(json.dumps(records, indent=2))
        return
    for weights in bundled.values():
        click.echo(weights.summary)


def show_weights(options: ShowOptions) -> None:
    """Print all details of some weights.

    Raises:
        BadUsage: If there are no such weights.
    """
    with usage():
        weights = load_weights(options.name_or_dir)
    if options.json:
        click.echo(json.dumps(weights_record(weights), indent=2))
        return
    click.echo(weights.summary)
    for sheet in weights_sheets(weights):
        if sheet.rows:
            console.table(sheet.columns, sheet.rows)


def draw_random(options: RandomWeights) -> None:
    """Write random, untrained weights.

    Raises:
        BadUsage: If there is no such variant, or the folder cannot be written.
    """
    with usage():
        find(options.variant)
    check_output(options.output)
    networks = {task: initialize(task, options.variant, options.seed) for task in TASKS}
    provenance = Provenance(
        trained=False,
        description=f"Random weights (Glorot normal, seed {options.seed}); not trained",
        origin={"start": f"random weights (seed {options.seed})"},
        versions=versions(),
    )
    with writing(options.output):
        save_weights(options.output, networks, provenance)
    tasks = ", ".join(networks)
    console.say(f"{options.output}: {tasks} of variant {options.variant}, random, not trained")


def export_weights(runs: Sequence[Path], options: WeightsExport) -> None:
    """Write the networks of training runs as weights.

    Raises:
        BadUsage: If the folder cannot be written.
        InputError: If a folder holds no run or checkpoint, or two are of one task.
    """
    check_output(options.output)
    stated = Provenance(
        version=options.version,
        description=options.description,
        license=options.license,
        warning=options.warning,
    )
    networks, records = read_networks(runs, options.checkpoint, stated)
    if options.check:
        for run, task in zip(runs, networks, strict=True):
            records[task] = _check_forgetting(run, networks[task], records[task])
    others = _others(options.others, networks)
    with writing(options.output):
        save_weights(
            options.output,
            {**networks, **others.networks},
            {**records, **others.provenance},
            half=options.half,
        )
    for task, record in records.items():
        epoch = f"{record.origin['checkpoint']} epoch {record.metrics.get('epoch', '?')}"
        console.say(f"{options.output}: {task}, {epoch}; {summary({task: record})}")
    if others.networks:
        console.say(f"{options.output}: {', '.join(others.networks)} of {others.name}")


def _others(name: str | None, networks: Collection[str]) -> Weights:
    """Return the networks of some weights that are not among those of the runs."""
    if name is None:
        return Weights("", {})
    with usage():
        weights = load_weights(name)
    tasks = [task for task in weights.networks if task not in networks]
    return Weights(
        weights.name,
        {task: weights.networks[task] for task in tasks},
        {task: weights.provenance[task] for task in tasks},
    )


def _check_forgetting(run: Path, network: Network, record: Provenance) -> Provenance:
    """Compare a fine-tuned network with its start; return its record with what was found."""
    try:
        start = read_start(run, network)
    except InputError as error:
        console.warn(f"warning: {run}: not checked for what it has forgotten: {error}")
        return record
    if start is None:
        return record
    changes = console.follow(compare_steps(start, network), "references")
    console.say(f"{network.task}, Dice before and after fine-tuning:")
    for change in changes:
        console.say(f"  {change}")
    found = "; ".join(map(str, changes))
    warning = warning_of(changes)
    if warning:
        share = record.data.get("synthetic", {}).get("share", 0)
        remedy = f"train again with a larger data.synthetic_share (now {share:g})"
        console.warn(f"warning: {run}: {warning}; {remedy}")
    stated = "; ".join(filter(None, (record.warning, warning)))
    return replace(record, warning=stated, origin={**record.origin, "forgetting": found})
