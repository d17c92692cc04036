"""`musclejax dataset`: what a dataset holds, what is wrong with it, what training sees of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.options import recipe_options

if TYPE_CHECKING:
    from musclejax.data.check import CaseReport

_PATH = click.Path(path_type=Path)


@click.group()
def dataset() -> None:
    """Check a dataset, and look at what training sees of it.

    \b
    A dataset is a folder in nnU-Net's raw layout:
      dataset.json                 {"labels": {"background": 0, "VL": 1, ...}, ...}
      imagesTr/CASE_0000.nii.gz    scans (_0001 and so on: further channels)
      labelsTr/CASE.nii.gz         label maps on the same grid
      imagesTs/, labelsTs/         test cases, if any
      cases.csv                    optional: case,subject,time_point,region,severity,split

    Labels have the abbreviations or full names of labels.txt (VL, VM, ... of the thigh; SOL, GM,
    ... of the leg), in any order and with any numbers; pixels under the label "ignore" count for
    nothing. Slices without labels are taken as not annotated. split is train, validation, test, or
    unseen (slices of test subjects away from the annotated levels).
    """


@dataset.command()
@click.argument("folder", type=_PATH)
@click.option("--channel", default=0, show_default=True, help="Which image of each case.")
@click.option("-o", "--output", type=_PATH, help="Write the table as CSV too.")
def check(folder: Path, channel: int, output: Path | None) -> None:
    """Report what the dataset in FOLDER holds and what is wrong with it.

    Shapes and affines that differ between image and labels, label values without a name, slices
    that are not annotated, muscles that never occur, subjects in two splits, the same scan under
    two subjects. Exit code: 0 fit for training, 1 something must be mended.
    """
    from musclejax.cli.process import progress_bar
    from musclejax.data.check import check_dataset
    from musclejax.data.dataset import read_dataset
    from musclejax.files import write_text

    cases = read_dataset(folder, channel)
    with progress_bar() as progress:
        bar = progress.add_task("cases", total=len(cases.cases))
        reports, findings = check_dataset(cases, lambda case: progress.advance(bar))
    table = [_row(report) for report in reports]
    _print(table)
    if output:
        import pandas as pd

        write_text(output, pd.DataFrame(table).to_csv(index=False, lineterminator="\n"))
    serious = [f for f in findings if f.serious]
    for finding in findings:
        click.echo(f"{'error' if finding.serious else 'note'}: {finding.text}")
    total = sum(len(r.annotated) for r in reports)
    subjects = len({r.case.subject for r in reports})
    click.echo(
        f"{len(reports)} cases of {subjects} subjects, {total} annotated slices: "
        + (f"{len(serious)} errors to mend before training" if serious else "fit for training")
    )
    raise SystemExit(1 if serious else 0)


@dataset.command()
@recipe_options()
@click.option("--slices", default=4, show_default=True, help="Slices to draw.")
@click.option("--augmented", default=2, show_default=True, help="Augmented samples of each.")
@click.option("-o", "--output", type=_PATH, required=True, help="PNG file to write.")
def show(slices: int, augmented: int, output: Path, **options: Any) -> None:
    """Draw training slices with labels, weight maps (the paper's Fig. 6) and augmented samples.

    \b
    Example:
      musclejax dataset show --config thigh --data DATA -o samples.png
    """
    import numpy as np

    from musclejax.cli.process import configure, usage
    from musclejax.errors import InputError

    with usage():
        configure(None)
    from musclejax.cli.fitting import load, recipe
    from musclejax.data.picture import draw_samples
    from musclejax.files import staging_folder

    with usage():
        config = recipe(options["config"], options["changes"])
        if config.task == "region":
            raise InputError("--config", "the classifier's recipe", "thigh or leg")
    data = load(options["data"], config)
    feed = data.feeds["train"]
    items = np.unique(np.linspace(0, len(feed) - 1, slices).round().astype(int))
    with staging_folder(output.parent, output.name) as stage:
        draw_samples(feed, items.tolist(), data.classes, config, augmented, stage / output.name)
    click.echo(f"{output}: {len(items)} of {len(feed)} training slices")


def _row(report: "CaseReport") -> dict[str, Any]:
    case = report.case
    return {
        "case": case.name,
        "subject": case.subject,
        "time_point": case.time_point,
        "region": report.region or "unusable",
        "severity": case.severity,
        "split": case.split,
        "shape": "x".join(map(str, report.shape)),
        "spacing_mm": "x".join(f"{s:.3g}" for s in report.spacing_mm),
        "slices": report.slices,
        "annotated": len(report.annotated),
        "muscles": sum(n > 0 for n in (report.muscles or {}).values()),
    }


def _print(table: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = [name for name in table[0] if any(row[name] not in ("", 0) for row in table)]
    grid = Table(box=box.SIMPLE)
    for name in shown:
        grid.add_column(name, no_wrap=True)
    for row in table:
        grid.add_row(*(str(row[name]) for name in shown))
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to keep to
        console = Console(width=200)
    console.print(grid)
