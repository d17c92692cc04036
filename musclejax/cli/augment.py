"""`musclejax augment`: the paper's fixed set of augmented slices."""

from pathlib import Path
from typing import Any

import click

from musclejax.cli.options import recipe_options, threads_option


@click.command()
@recipe_options()
@click.option(
    "--n",
    "count",
    type=click.IntRange(min=2),
    default=5000,
    show_default=True,
    help="Augmented slices in all.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Dataset to write."
)
@threads_option
def augment(count: int, output: Path, threads: int | None, **options: Any) -> None:
    """Write a fixed set of augmented slices, as the paper trained on.

    `musclejax train` augments on the fly, which gives more variety and needs no room; this is for
    those who want to train something else on the same slices. Subjects are split first, and
    cases.csv says which side each slice is on. A stopped run goes on where it was,
    with the same options, which augment.json keeps.

    \b
    Example:
      musclejax augment --config thigh --data DATA --n 5000 -o AUGMENTED
      musclejax train --config thigh --data AUGMENTED --workdir run --set augment.backend=none
    """
    from musclejax import __version__
    from musclejax.cli.process import BadUsage, configure, progress_bar, usage

    with usage():
        configure(threads)
    from musclejax.cli.fitting import load, recipe
    from musclejax.data.claim import claim
    from musclejax.data.feed import SliceFeed
    from musclejax.data.write import write_augmented

    with usage():
        config = recipe(options["config"], options["changes"])
    if config.task == "region":
        raise BadUsage("--config: found the classifier's recipe; accepted: thigh or leg.")
    if config.data.source == "phantom":
        raise BadUsage("--config: found a recipe that draws its slices; see: musclejax phantom -h")
    if output.resolve() in [d.resolve() for d in options["data"]]:
        raise BadUsage(f"-o: found {output}, which is the data; accepted: another folder.")
    data = load(options["data"], config)
    with usage():
        seen = {split: data.record[split]["checksum"] for split in data.feeds}
        made_from = {"musclejax": __version__, "n": count, "data": seen}
        claim(output / "augment.json", {**made_from, "config": config.to_dict()}, "-o")
    feeds = {name: feed for name, feed in data.feeds.items() if isinstance(feed, SliceFeed)}
    with progress_bar() as progress:
        bar = progress.add_task("slices", total=count)
        write_augmented(output, feeds, count, config, lambda done: progress.advance(bar, done))
    click.echo(f"{output}: {count} augmented slices; train with --set augment.backend=none")
