"""Show figures of variants: the program of `musclejax describe`."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from musclejax.anatomy import TASKS
from musclejax.app import console
from musclejax.app.options import DescribeOptions
from musclejax.app.process import usage
from musclejax.models.counts import describe
from musclejax.models.description import Description
from musclejax.models.variants import VARIANTS, find

_NETWORK = ("network", "trainable", "statistics", "classes", "input px", "valid sizes", "GMAC")
_FIELDS = ("block", "receptive fields (as in Table 1 of the paper)", "exact")


def show_variants(options: DescribeOptions) -> None:
    """Print what a variant has and costs.

    Raises:
        BadUsage: If there is no such variant.
    """
    variant = options.variant
    with usage():
        specs = VARIANTS if variant == "all" else {variant: find(variant)}
    rows = {name: [describe(spec, task) for task in TASKS] for name, spec in specs.items()}
    if options.json:
        tables = {name: [asdict(network) for network in row] for name, row in rows.items()}
        click.echo(json.dumps(tables if variant == "all" else tables[variant], indent=2))
        return
    for name, networks in rows.items():
        click.echo(f"{name}: cost of one slice, size in pixels")
        console.table(_NETWORK, [_costs(network) for network in networks])
        console.table(_FIELDS, _receptive_fields(networks[-1]))


def _costs(network: Description) -> tuple[str, ...]:
    only = TASKS[network.task].is_classifier
    return (
        network.task,
        f"{network.trainable_parameters:,}",
        f"{network.statistics:,}",
        str(network.num_classes),
        str(network.input_px),
        f"{network.input_px} only" if only else f"multiples of {network.size_multiple}",
        f"{network.gmac:.2f}",
    )


def _receptive_fields(network: Description) -> list[tuple[str, ...]]:
    def text(row: Sequence[int]) -> str:
        return ", ".join(f"{field}x{field}" for field in row)

    pairs = zip(network.receptive_fields, network.receptive_fields_exact, strict=True)
    return [(str(n), text(paper), text(exact)) for n, (paper, exact) in enumerate(pairs, 1)]
