"""The files of an evaluation: tables of rows, the paper's tables, pictures and a report."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.evaluation.compare import ERRORS
from musclejax.evaluation.result import Evaluation
from musclejax.evaluation.scene import Scene, load_scene, select
from musclejax.files import file_sha256, read_json, staging_folder, write_json, write_text
from musclejax.reports import evaluation_tables as tables
from musclejax.reports.evaluation_agreement import draw_agreement
from musclejax.reports.evaluation_pictures import Row, draw_overlays, draw_subjects, draw_views
from musclejax.reports.run_record import checksums, is_edited, seal
from musclejax.reports.tables import markdown, write_table

_TABLES = ("cases.csv", "muscles.csv", "slices.csv", "summary.csv", "report.md")
RECORD = "evaluate.json"
"""Written last: an evaluation with a record is complete."""
SUBJECTS_SHOWN = 10
"""Test subjects in one picture, as in the paper's Fig. 9."""
_SLICES_SHOWN = 3
"""Of each: bottom, inner and top slice."""
_NO_CASES = {
    2: 'No case of the splits "train" and "validation".',
    3: 'No case of the split "test".',
    4: 'No case of the split "unseen".',
}
_NAME_SPLITS = "Name the split of each case in the dataset's `cases.csv`."
_TITLES = {
    2: "Accuracy on training and validation data",
    3: "Mean DSC over the slices of each test subject",
    4: "DSC of slices away from the annotated slices",
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
}


def save(
    evaluation: Evaluation, folder: Path, record: Callable[[], Mapping[str, Any]] = dict
) -> list[Path]:
    """Write all files of an evaluation; none of them is left if one fails.

    Files of an earlier evaluation in the same folder that are not written again are removed.

    Args:
        evaluation: The comparison of all cases.
        folder: Where to write; made if needed.
        record: Called last; its table is merged into `evaluate.json`.

    Raises:
        OSError: If the folder cannot be written.
    """
    check_folder(folder)
    earlier = _checksums_of(folder)
    with staging_folder(folder, "evaluate", last=RECORD) as stage:
        numbered = _save_tables(evaluation, stage)
        pictures = list(_draw(evaluation, stage))
        write_text(stage / "report.md", _report(evaluation, numbered, pictures))
        files = {path.name: file_sha256(path) for path in sorted(stage.iterdir())}
        about = {
            "what": evaluation.what,
            "method": evaluation.method,
            "warnings": list(evaluation.warnings),
            "files": files,
        }
        write_json(stage / RECORD, seal({**about, **record()}))
    for name in set(earlier) - {*files, RECORD}:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in [*files, RECORD]]


def check_folder(folder: Path) -> None:
    """Check that results replace nothing but unchanged files of an earlier evaluation.

    Raises:
        InputError: If the folder is a dataset, or holds an edited or a foreign file.
    """
    remedy = "Choose another -o."
    if (folder / "dataset.json").exists():
        raise InputError(folder, "a dataset", "a folder for results", remedy)
    known = _checksums_of(folder)
    paths = [folder / name for name in (*known, *_TABLES)]
    edited = [p for p in paths if p.is_file() and file_sha256(p) != known.get(p.name)]
    edited += [folder / RECORD] * is_edited(read_json(folder / RECORD) or {})
    if edited:
        found = "a file that was edited, or that evaluate did not write"
        raise InputError(edited[0], found, "a folder for results", remedy)


def _save_tables(evaluation: Evaluation, stage: Path) -> dict[str, str]:
    """Write every table; return the Markdown of those that go into the report."""
    comparison = evaluation.comparison
    summary = tables.summary(comparison.muscles)
    third = tables.table3(comparison.slices)
    numbered = {
        "table2": tables.table2(comparison),
        "table3": third,
        "table4": tables.table4(comparison.slices),
    }
    rows = {"muscles": comparison.muscles, "slices": comparison.slices, "cases": comparison.cases}
    for name, table in {**rows, "summary": summary, **numbered}.items():
        write_table(table, stage / f"{name}.csv")
    shown = {**numbered, "table3": tables.with_means(third), "summary": _condense(summary)}
    texts = {name: _text(name, table) for name, table in shown.items()}
    for name, text in texts.items():
        write_text(stage / f"{name}.md", text)
    return texts


def _text(name: str, table: pd.DataFrame) -> str:
    """Return a table as Markdown, with its title and legend."""
    number = int(name[-1]) if name[-1].isdigit() else 0
    title = f"Table {number}: {_TITLES[number]}" if number else "Per muscle"
    empty = table.empty or (number == 2 and not table[["train_n", "validation_n"]].any(axis=None))
    body = f"{_NO_CASES[number]} {_NAME_SPLITS}" if number and empty else _markdown(table)
    return f"## {title}\n\n{body}\n\n{_LEGENDS[name]}\n"


def _markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown: distances and errors with one decimal, others with four."""
    texts = pd.DataFrame(
        {
            str(name).replace("_", " ").replace("dsc", "DSC").replace("hd95", "HD95"): _cells(
                column
            )
            for name, column in table.items()
        }
    )
    align = ["right" if pd.api.types.is_numeric_dtype(t) else "left" for t in table.dtypes]
    return str(texts.to_markdown(index=False, disable_numparse=True, colalign=align))


def _cells(column: pd.Series) -> list[str]:
    if not pd.api.types.is_float_dtype(column.dtype):
        return [markdown(str(value)) for value in column]
    digits = 1 if str(column.name).endswith(("_mm", "_absolute")) else 4
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


def extremes(values: pd.Series) -> dict[str, Any]:
    """Return the index labels of the best, the median and the worst value, each once.

    With two values there is no median, with one it is "only".
    """
    order = list(values.dropna().sort_values(kind="stable").index)
    if len(order) < 2:
        return dict(zip(["only"], order, strict=False))
    best, worst = {"best": order[-1]}, {"worst": order[0]}
    middle = {"median": order[(len(order) - 1) // 2]} if len(order) > 2 else {}
    return best | middle | worst


def _draw(evaluation: Evaluation, stage: Path) -> Iterator[tuple[str, str]]:
    """Draw the pictures of every region; yield the title and the file of each."""
    if evaluation.scenes is None:
        return
    comparison = evaluation.comparison
    for region in anatomy.REGIONS.values():
        slices = comparison.slices[comparison.slices["region"] == region.name]
        cases = comparison.cases[comparison.cases["region"] == region.name]
        if slices.empty:
            continue
        rows = [
            _row(evaluation, which, slices.loc[[index]])
            for which, index in extremes(slices["dsc"]).items()
        ]
        title = f"{region.title}: best, median and worst slice"
        draw_overlays(rows, title, stage / f"overlays_{region.name}.png")
        yield title, f"overlays_{region.name}.png"
        yield from _draw_agreement(comparison.muscles, region, stage)
        yield from _draw_subjects(evaluation, slices, region, stage)
        for which, index in extremes(cases["slice_dsc"]).items():
            yield from _draw_case(evaluation, which, cases.loc[index], stage)


def _scene(evaluation: Evaluation, case: str) -> Scene:
    assert evaluation.scenes is not None  # as `_draw` has found
    return load_scene(evaluation.scenes / f"{case}.npz")


def _row(evaluation: Evaluation, title: str, slices: pd.DataFrame) -> Row:
    scene = _scene(evaluation, slices["case"].iloc[0])
    return Row(title, select(scene, slices["slice"].tolist()), slices["dsc"].tolist())


def _draw_agreement(
    muscles: pd.DataFrame, region: anatomy.Region, stage: Path
) -> Iterator[tuple[str, str]]:
    own = muscles[(muscles["region"] == region.name) & (muscles["side"] == "both")]
    if own[ERRORS].notna().any(axis=None):
        title = f"{region.title}: agreement of volume and fat fraction"
        draw_agreement(own, region, title, stage / f"agreement_{region.name}.png")
        yield title, f"agreement_{region.name}.png"


def _draw_subjects(
    evaluation: Evaluation, slices: pd.DataFrame, region: anatomy.Region, stage: Path
) -> Iterator[tuple[str, str]]:
    test = slices[slices["split"] == "test"]
    first = test.drop_duplicates("subject").sort_values(
        ["severity", "subject"], key=tables.by_severity
    )
    rows = []
    for _, case in first.head(SUBJECTS_SHOWN).iterrows():
        own = test[test["case"] == case["case"]].sort_values("level")
        picked = sorted({0, (len(own) - 1) // 2, len(own) - 1})[:_SLICES_SHOWN]
        title = ", ".join(filter(None, (case["subject"], case["severity"])))
        rows.append(_row(evaluation, title, own.iloc[picked]))
    if rows:
        title = f"{region.title}: bottom, inner and top slice of test subjects"
        draw_subjects(rows, title, stage / f"subjects_{region.name}.png")
        yield title, f"subjects_{region.name}.png"


def _draw_case(
    evaluation: Evaluation, which: str, case: pd.Series, stage: Path
) -> Iterator[tuple[str, str]]:
    scene = _scene(evaluation, case["case"])
    if scene.image.shape[2] < _SLICES_SHOWN:
        return  # so few slices make no coronal view
    title = f"{which.capitalize()} case: {case['case']}, DSC {case['slice_dsc']:.2f}"
    draw_views(scene, title, stage / f"views_{case['case']}.png")
    yield title, f"views_{case['case']}.png"


def _report(
    evaluation: Evaluation, texts: Mapping[str, str], pictures: Sequence[tuple[str, str]]
) -> str:
    cases, slices = evaluation.comparison.cases, evaluation.comparison.slices
    count = f"{len(cases)} cases, {len(slices)} slices."
    remarks = "\n".join(f"- {markdown(line)}" for line in (evaluation.method, *evaluation.warnings))
    columns = ["case", "region", "split", "severity", "slices", "slice_dsc"]
    errors = ["volume_error_percent_absolute", "fat_fraction_error_pp_absolute"]
    columns += [name for name in errors if cases[name].notna().any()] + ["hd95_mm", "msd_mm"]
    numbers = cases[["dsc_n", "hd95_mm_n"]].set_axis(["muscles", "with distance"], axis=1)
    each = f"## Per case\n\n{_markdown(cases[columns].join(numbers))}\n"
    shown = "\n".join(_picture(markdown(title), name) for title, name in pictures)
    head = f"# Evaluation\n\n{markdown(evaluation.what)}. {count}\n"
    return "\n".join(filter(None, [head, f"{remarks}\n", *texts.values(), each, shown]))


def _picture(title: str, file: str) -> str:
    return f"### {title}\n\n![{title}]({quote(os.fsencode(file))})\n"


def _checksums_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that the record of an earlier evaluation names."""
    return checksums(read_json(folder / RECORD))
