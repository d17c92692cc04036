"""`musclejax dataset`: check a dataset, or draw the training samples of a recipe."""

from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from musclejax.anatomy import TASKS
from musclejax.app import console
from musclejax.app.process import check_output, usage
from musclejax.app.recipe_options import DatasetOptions, SamplesOptions
from musclejax.config import load_recipe
from musclejax.data.check import check_dataset_steps
from musclejax.data.dataset import read_datasets
from musclejax.data.label_names import parse_map
from musclejax.data.report import CaseReport
from musclejax.errors import InputError, count_of
from musclejax.files import staging_folder, write_text
from musclejax.reports.samples import draw_samples
from musclejax.reports.tables import csv_text
from musclejax.training.setup import load_data_steps


def check(options: DatasetOptions) -> int:
    """Print a table of the cases, the warnings and the errors.

    Returns:
        The exit code: 0 fit for training, 1 if there are errors.

    Raises:
        BadUsage: If the table cannot be written.
        InputError: If the folder is no dataset.
    """
    if options.output:
        check_output(options.output.parent)
    [dataset] = read_datasets([options.folder], options.channel, parse_map(options.map))
    report = console.follow(check_dataset_steps(dataset), "cases")
    table = [_row(case) for case in report.cases]
    _print(table)
    if options.output:
        write_text(options.output, csv_text(pd.DataFrame(table)))
    for kind, lines in (("warning", report.warnings), ("error", report.errors)):
        for line in lines:
            console.warn(f"{kind}: {line}")
    slices = sum(len(case.annotated) for case in report.cases)
    subjects = len({case.case.subject for case in report.cases})
    verdict = "fit for training"
    if report.errors:
        verdict = f"{count_of(len(report.errors), 'error')} to mend before training"
    cases = f"{count_of(len(report.cases), 'case')} of {count_of(subjects, 'subject')}"
    console.say(f"{cases}, {count_of(slices, 'annotated slice')}: {verdict}")
    return 1 if report.errors else 0


def show(options: SamplesOptions) -> None:
    """Draw training slices with labels, weight maps and augmented samples.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If the data cannot be learned from.
    """
    with usage():
        config = load_recipe(options.config, options.changes)
        if TASKS[config.task].is_classifier:
            raise InputError("--config", "the classifier's recipe", "thigh or leg")
    check_output(options.output.parent)
    data = console.follow(load_data_steps(options.data, config), "cases")
    sampler, output = data.samplers["train"], options.output
    indices = np.unique(np.linspace(0, len(sampler) - 1, options.slices).round().astype(int))
    with staging_folder(output.parent, output.name) as stage:
        chosen, path = indices.tolist(), stage / output.name
        draw_samples(sampler, chosen, data.classes, config, options.augmented, path)
    console.say(f"{output}: {len(indices)} of {len(sampler)} training slices")


def _row(report: CaseReport) -> dict[str, Any]:
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
    """Print the columns in which any row has a value."""
    shown = [name for name in table[0] if any(row[name] not in ("", 0) for row in table)]
    grid = Table(box=box.SIMPLE)
    for name in shown:
        grid.add_column(name, no_wrap=True)
    for row in table:
        grid.add_row(*(str(row[name]) for name in shown))
    Console(width=console.width(), markup=False).print(grid)
