"""`musclejax describe`: what a variant has and costs."""

import click


@click.command()
@click.option("--variant", default="paper", show_default=True, help="Name of a variant, or 'all'.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def describe(variant: str, as_json: bool) -> None:
    """Show parameters, receptive fields and cost of the three networks.

    \b
    Examples:
      musclejax describe
      musclejax describe --variant compact8 --json
      musclejax describe --variant all
    """
    import dataclasses
    import json

    from musclejax import anatomy
    from musclejax.cli.process import usage
    from musclejax.models import variants

    with usage():
        specs = variants.VARIANTS if variant == "all" else {variant: variants.find(variant)}
    rows = {
        name: [dataclasses.asdict(variants.describe(spec, task)) for task in anatomy.TASKS]
        for name, spec in specs.items()
    }
    if as_json:
        click.echo(json.dumps(rows if variant == "all" else rows[variant], indent=2))
        return
    for name, networks in rows.items():
        _print(name, networks)


def _print(variant: str, networks: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "network", "trainable", "statistics", "classes", "input px", "valid sizes", "GMAC"
    )
    for n in networks:
        only = n["task"] == "region"
        valid = f"{n['input_px']} only" if only else f"multiples of {n['size_multiple']}"
        counts = f"{n['trainable_parameters']:,}", f"{n['statistics']:,}", str(n["num_classes"])
        table.add_row(n["task"], *counts, str(n["input_px"]), valid, f"{n['gmac']:.2f}")
    fields = Table("block", "receptive fields (as in Table 1 of the paper)", "exact")
    deepest = networks[-1]
    pairs = zip(deepest["receptive_fields"], deepest["receptive_fields_exact"], strict=True)
    for block, (paper, exact) in enumerate(pairs, 1):
        fields.add_row(str(block), *(", ".join(f"{f}x{f}" for f in row) for row in (paper, exact)))
    console = Console()
    console.print(f"[bold]{variant}[/bold]: cost of one slice, size in pixels")
    console.print(table, fields)
