"""What people read of an evaluation: its tables with their legends, as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from musclejax.errors import count_of, printable
from musclejax.evaluation.compare import ERRORS
from musclejax.evaluation.result import Evaluation
from musclejax.reports import evaluation_tables as tables
from musclejax.reports.pages.document import Document, Facts, Section, failures, how_made
from musclejax.reports.pages.table import Column, Table

MOST_ROWS = 500
"""Of the table of muscles, the worst first; all are in muscles.csv. Source: ours."""
_NO_CASES = {
    "table2": 'No case of the splits "train" and "validation".',
    "table3": 'No case of the split "test".',
    "table4": 'No case of the split "unseen".',
}
_NAME_SPLITS = "Name the split of each case in the dataset's cases.csv."
_TITLES = {
    "summary": "Per muscle",
    "table2": "Table 2: Accuracy on training and validation data",
    "table3": "Table 3: Mean DSC over the slices of each test subject",
    "table4": "Table 4: DSC of slices away from the annotated slices",
    "cases": "Per case",
    "muscles": "Every muscle, the worst first",
}
_ROWS = {
    "summary": "A row per region, split and muscle",
    "table2": "A row per network",
    "table3": "A row per test subject, and the means",
    "table4": "A row per slice",
    "cases": "A row per case",
    "muscles": "A row per case, muscle and side",
}
_LEGENDS = {
    "table2": "n: slices; for the classifier scans. Hard DSC of the final labels; the paper's "
    "Table 2 has the soft DSC of training, with background, on validation slices that are "
    "augmented siblings of training slices.",
    "table3": "Per slice the mean over the muscles that either map shows, sides as one label.",
    "table4": "Slices are numbered from the feet; thigh and leg of one row are different scans.",
    "summary": "Sides as one label; sides apart and medians are in summary.csv. Errors, prediction "
    "- reference: bias (95 % limits of agreement, mean - 1.96 SD to mean + 1.96 SD over cases; "
    "Bland and Altman 1986); pp: percentage points. Others: mean ± standard deviation over cases. "
    "n: cases in the mean of DSC and Jaccard; another number stands behind its mean. A muscle that "
    "one map lacks has DSC 0 and no distance.",
    "cases": "Slice DSC: mean over the compared slices of the mean over muscles, sides as one "
    "label. Distances and errors: mean over muscles.",
    "muscles": "Sides apart. Look at these first: a muscle that one map lacks has DSC 0.",
}
_DIGITS = {
    "dsc": 3,
    "volume_error_ml": 1,
    "volume_error_percent": 1,
    "fat_fraction_error_pp": 1,
    "jaccard": 3,
    "hd95_mm": 1,
    "msd_mm": 1,
}
"""Columns of the summary in the report, and their decimals."""
_ONE_DECIMAL: tuple[str, ...] = ("_mm", "_absolute", "_ml", "_percent", "_pp")
_HELP = {
    "dsc": "Dice similarity coefficient, 0 to 1",
    "slice_dsc": "mean over slices of the mean DSC over muscles",
    "jaccard": "overlap over union, 0 to 1",
    "hd95_mm": "95 % Hausdorff distance: 95 % of both surfaces are nearer",
    "msd_mm": "mean distance of the surfaces",
    "volume_error_ml": "prediction - reference",
    "volume_error_percent": "prediction - reference, of the reference",
    "volume_error_percent_absolute": "mean over muscles, signs left out",
    "fat_fraction_error_pp": "prediction - reference, percentage points",
    "fat_fraction_error_pp_absolute": "mean over muscles, signs left out",
    "with distance": "muscles that both maps show",
    "n": "cases in the mean",
}
_WORDS = {"dsc": "DSC", "hd95": "HD95", "msd": "MSD"}
FILES = (
    ("muscles.csv", "a row per case, muscle and side: all measures"),
    ("slices.csv", "a row per slice"),
    ("cases.csv", "a row per case"),
    ("summary.csv", "mean, SD, median and number of cases per muscle and side"),
    ("report.md", "this page as Markdown"),
    ("evaluate.json", "versions, settings and what failed"),
)


def numbered_tables(evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """Return the paper's tables, by the names of their files."""
    comparison = evaluation.comparison
    return {
        "table2": tables.table2(comparison),
        "table3": tables.table3(comparison.slices),
        "table4": tables.table4(comparison.slices),
    }


def report_tables(evaluation: Evaluation, *, paper_tables: bool) -> dict[str, Section]:
    """Return the tables of the report by name: cases, summary, and the paper's.

    Args:
        evaluation: The comparison of all cases.
        paper_tables: Whether the paper's tables stand in it where they are empty, too.
    """
    found = numbered_tables(evaluation)
    empty = {name for name, table in found.items() if _is_empty(table)}
    found["table3"] = tables.with_means(found["table3"])
    shown = {name: table for name, table in found.items() if paper_tables or name not in empty}
    summary = _condense(tables.summary(evaluation.comparison.muscles))
    return {
        name: Section(_TITLES[name], f"{_NO_CASES[name]} {_NAME_SPLITS}")
        if name in empty
        else _section(name, table)
        for name, table in {"cases": _cases(evaluation), "summary": summary, **shown}.items()
    }


def to_document(
    evaluation: Evaluation, record: Mapping[str, Any], sections: Sequence[Section]
) -> Document:
    """Return the report of an evaluation.

    Args:
        evaluation: The comparison of all cases.
        record: What it was made with, and what failed.
        sections: Tables and pictures of the report.
    """
    return Document(
        "Evaluation",
        printable(evaluation.what),
        _facts(evaluation),
        [*failures(record.get("failed", {})), *map(printable, evaluation.warnings)],
        [
            *sections,
            _how_made(evaluation, record),
            Section("Files for other programs", files=FILES),
        ],
    )


def worst_muscles(evaluation: Evaluation) -> Section:
    """Return the muscles of all cases, sides apart, the worst first."""
    rows = evaluation.comparison.muscles
    known = rows[(rows["side"] != "both") & rows["dsc"].notna()].sort_values("dsc", kind="stable")
    names = ["case", "region", "split", "muscle", "side", "dsc", "hd95_mm"]
    names += [name for name in ERRORS if known[name].notna().any()]
    section = _section("muscles", known[names].head(MOST_ROWS))
    more = f" The worst {MOST_ROWS} of {len(known)}; all are in muscles.csv."
    return section._replace(text=section.text + more * (len(known) > MOST_ROWS))


def _is_empty(table: pd.DataFrame) -> bool:
    """Return whether there is no case for one of the paper's tables."""
    return table.empty or (
        "train_n" in table and not table[["train_n", "validation_n"]].any(axis=None)
    )


def _cases(evaluation: Evaluation) -> pd.DataFrame:
    cases = evaluation.comparison.cases
    columns = ["case", "region", "split", "severity", "slices", "slice_dsc"]
    errors = ["volume_error_percent_absolute", "fat_fraction_error_pp_absolute"]
    columns += [name for name in errors if cases[name].notna().any()] + ["hd95_mm", "msd_mm"]
    numbers = cases[["dsc_n", "hd95_mm_n"]].set_axis(["muscles", "with distance"], axis=1)
    return cases[columns].join(numbers)


def _section(name: str, frame: pd.DataFrame) -> Section:
    """Return a table with its title and legend."""
    columns = tuple(_column(str(column), frame[column]) for column in frame)
    rows = list(zip(*(_cells(column) for _, column in frame.items()), strict=True))
    return Section(_TITLES[name], _LEGENDS[name], table=Table(name, _ROWS[name], columns, rows))


def _column(name: str, values: pd.Series) -> Column:
    title = " ".join(_WORDS.get(word, word) for word in name.split("_"))
    is_number = name in _DIGITS or pd.api.types.is_numeric_dtype(values.dtype)
    return Column(title, _HELP.get(name, ""), is_number)


def _cells(column: pd.Series) -> list[str]:
    """Return the texts of a column: distances and errors with one decimal, others with four."""
    if not pd.api.types.is_float_dtype(column.dtype):
        return [printable(str(value)) for value in column]
    digits = 1 if str(column.name).endswith(_ONE_DECIMAL) else 4
    return ["" if pd.isna(value) else f"{value:.{digits}f}" for value in column]


def _condense(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary of both sides as one label: errors with limits, others with SD."""
    both = summary[summary["side"] == "both"]
    condensed = both[["region", "split", "muscle"]].assign(n=both["dsc_n"])
    for name, digits in _DIGITS.items():
        if not both[f"{name}_n"].any():
            continue
        columns = (both[f"{name}_{kind}"] for kind in ("mean", "sd", "n"))
        written = _bias if name in ERRORS else _plus_minus
        condensed[name] = [
            written(mean, sd, digits) + (f" (n {n})" if 0 < n != total else "")
            for mean, sd, n, total in zip(*columns, both["dsc_n"], strict=True)
        ]
    return condensed


def _bias(mean: float, sd: float, digits: int) -> str:
    if pd.isna(mean):
        return ""
    lower, upper = tables.limits(mean, sd)
    bias = f"{mean:+.{digits}f}"
    return bias if pd.isna(sd) else f"{bias} ({lower:+.{digits}f} to {upper:+.{digits}f})"


def _plus_minus(mean: float, sd: float, digits: int) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" if pd.isna(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def _facts(evaluation: Evaluation) -> Facts:
    """Return the mean DSC of each region and split, and over what it was taken."""
    cases, slices = evaluation.comparison.cases, evaluation.comparison.slices
    means = [
        (f"mean DSC, {rows['region'].iloc[0]}, {rows['split'].iloc[0]}", _mean_of(rows))
        for _, rows in cases.groupby(["region", "split"], sort=False)
    ]
    return [("cases", str(len(cases))), ("slices", str(len(slices))), *means]


def _mean_of(cases: pd.DataFrame) -> str:
    mean, size = cases["slice_dsc"].mean(), len(cases)
    return f"{mean:.3f} over {count_of(size, 'case')}" if mean >= 0 else "no value"


def _how_made(evaluation: Evaluation, record: Mapping[str, Any]) -> Section:
    settings, hashes = record.get("settings", {}), record.get("network_hashes", {})
    networks = ", ".join(f"{name} {value}" for name, value in hashes.items())
    weights = f"{settings.get('weights')} {record.get('weights_hash')} ({networks})"
    engine = f"{settings.get('engine')}, {settings.get('precision')}"
    used = {"weights": weights, "engine": engine} if record.get("weights_hash") else {}
    return how_made(record, f"{evaluation.method}.", **used)
