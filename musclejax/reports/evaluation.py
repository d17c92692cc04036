"""The files of an evaluation: tables of rows, the paper's tables, pictures and a report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from musclejax import anatomy
from musclejax.errors import InputError, count_of
from musclejax.evaluation.compare import ERRORS
from musclejax.evaluation.result import Evaluation
from musclejax.evaluation.scene import Scene, load_scene, select
from musclejax.files import file_sha256, read_json, staging_folder, write_json, write_text
from musclejax.reports import evaluation_tables as tables
from musclejax.reports.pages.document import PAGE, Section, from_file, write_document
from musclejax.reports.pages.evaluation import (
    numbered_tables,
    report_tables,
    to_document,
    worst_muscles,
)
from musclejax.reports.pages.markdown import document_markdown, section_markdown
from musclejax.reports.pictures.agreement import draw_agreement
from musclejax.reports.pictures.evaluation import Row, draw_overlays, draw_subjects, draw_views
from musclejax.reports.run_record import checksums, is_edited, seal
from musclejax.reports.tables import write_table

_FILES = (
    *("cases.csv", "muscles.csv", "slices.csv", "summary.csv", "summary.md", "report.md", PAGE),
    *(f"table{number}.{kind}" for number in (2, 3, 4) for kind in ("csv", "md")),
    *(f"{what}_{n}.png" for what in ("overlays", "agreement", "subjects") for n in anatomy.REGIONS),
)
"""That are written, beside a picture per case."""
_CASE_PICTURES = "views_*.png"
RECORD = "evaluate.json"
"""Written last: an evaluation with a record is complete."""
SUBJECTS_SHOWN = 10
"""Test subjects in one picture, as in the paper's Fig. 9."""
_SLICES_SHOWN = 3
"""Of each: bottom, inner and top slice."""
_WHITE_LINES = "White lines over the prediction are the reference."


def save(
    evaluation: Evaluation,
    folder: Path,
    record: Callable[[], Mapping[str, Any]] = dict,
    *,
    paper_tables: bool = False,
) -> list[Path]:
    """Write all files of an evaluation; none of them is left if one fails.

    Files of an earlier evaluation in the same folder that are not written again are removed.

    Args:
        evaluation: The comparison of all cases.
        folder: Where to write; made if needed.
        record: Called once all is drawn; its table is merged into `evaluate.json`.
        paper_tables: Whether the paper's tables stand in the report where they are empty, too.

    Raises:
        OSError: If the folder cannot be written.
    """
    check_folder(folder)
    earlier = _checksums_of(folder)
    with staging_folder(folder, "evaluate", last=RECORD) as stage:
        _save_tables(evaluation, stage)
        pictures = list(_draw(evaluation, stage))
        made = record()
        shown = report_tables(evaluation, paper_tables=paper_tables)
        _save_report(evaluation, made, shown, pictures, stage)
        files = {path.name: file_sha256(path) for path in sorted(stage.iterdir())}
        about = {
            "what": evaluation.what,
            "method": evaluation.method,
            "warnings": list(evaluation.warnings),
            "files": files,
        }
        write_json(stage / RECORD, seal({**about, **made}))
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
    paths = [*(folder / name for name in (*known, *_FILES)), *folder.glob(_CASE_PICTURES)]
    edited = [p for p in paths if p.is_file() and file_sha256(p) != known.get(p.name)]
    edited += [folder / RECORD] * is_edited(read_json(folder / RECORD) or {})
    if edited:
        found = "a file that was edited, or that evaluate did not write"
        raise InputError(edited[0], found, "a folder for results", remedy)


def _save_tables(evaluation: Evaluation, stage: Path) -> None:
    """Write every table as comma-separated values."""
    comparison = evaluation.comparison
    rows = {"muscles": comparison.muscles, "slices": comparison.slices, "cases": comparison.cases}
    summary = {"summary": tables.summary(comparison.muscles)}
    for name, table in {**rows, **summary, **numbered_tables(evaluation)}.items():
        write_table(table, stage / f"{name}.csv")


def _save_report(
    evaluation: Evaluation,
    made: Mapping[str, Any],
    shown: Mapping[str, Section],
    pictures: Sequence[Section],
    stage: Path,
) -> None:
    """Write the report as a page and as Markdown, and its tables as Markdown too."""
    cases, summary, *numbered = shown.values()
    parts = [cases, summary, worst_muscles(evaluation), *pictures, *numbered]
    document = to_document(evaluation, made, parts)
    write_document(stage / PAGE, document)
    write_text(stage / "report.md", document_markdown(document))
    for name in shown.keys() - {"cases"}:
        write_text(stage / f"{name}.md", section_markdown(shown[name]))


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


def _draw(evaluation: Evaluation, stage: Path) -> Iterator[Section]:
    """Draw the pictures of every region; yield each."""
    if evaluation.scenes is None:
        return
    comparison = evaluation.comparison
    for region in anatomy.REGIONS.values():
        slices = comparison.slices[comparison.slices["region"] == region.name]
        cases = comparison.cases[comparison.cases["region"] == region.name]
        if slices.empty:
            continue
        yield _draw_extremes(evaluation, slices, region, stage)
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


def _draw_extremes(
    evaluation: Evaluation, slices: pd.DataFrame, region: anatomy.Region, stage: Path
) -> Section:
    picked = extremes(slices["dsc"])
    rows = [_row(evaluation, which, slices.loc[[index]]) for which, index in picked.items()]
    title = f"{region.title}: best, median and worst slice"
    path = stage / f"overlays_{region.name}.png"
    draw_overlays(rows, title, path)
    shown = (f"{row.title} {row.scene.case}, DSC {row.dsc[0]:.2f}" for row in rows)
    alt = f"Axial slices with reference and prediction side by side: {'; '.join(shown)}."
    return Section(title, picture=from_file(path, alt, f"By mean DSC. {_WHITE_LINES}"))


def _draw_agreement(
    muscles: pd.DataFrame, region: anatomy.Region, stage: Path
) -> Iterator[Section]:
    own = muscles[(muscles["region"] == region.name) & (muscles["side"] == "both")]
    if not own[ERRORS].notna().any(axis=None):
        return
    title = f"{region.title}: agreement of volume and fat fraction"
    path = stage / f"agreement_{region.name}.png"
    draw_agreement(own, region, title, path)
    cases = count_of(own["case"].nunique(), "case")
    alt = f"Errors of {cases} against their means, with limits of agreement."
    caption = "A dot: one muscle of one case. Lines: bias and 95 % limits of agreement."
    yield Section(title, picture=from_file(path, alt, caption))


def _draw_subjects(
    evaluation: Evaluation, slices: pd.DataFrame, region: anatomy.Region, stage: Path
) -> Iterator[Section]:
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
        path = stage / f"subjects_{region.name}.png"
        draw_subjects(rows, title, path)
        alt = f"Axial slices of test subjects: {'; '.join(row.title for row in rows)}."
        caption = f"Each pair: reference, prediction. {_WHITE_LINES}"
        yield Section(title, picture=from_file(path, alt, caption))


def _draw_case(
    evaluation: Evaluation, which: str, case: pd.Series, stage: Path
) -> Iterator[Section]:
    scene = _scene(evaluation, case["case"])
    if scene.image.shape[2] < _SLICES_SHOWN:
        return  # so few slices make no coronal view
    title = f"{which.capitalize()} case: {case['case']}, DSC {case['slice_dsc']:.2f}"
    path = stage / _CASE_PICTURES.replace("*", case["case"])
    draw_views(scene, title, path)
    alt = (
        f"Coronal and sagittal views of {case['case']}: the reference above, the prediction below."
    )
    yield Section(title, picture=from_file(path, alt, _WHITE_LINES))


def _checksums_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that the record of an earlier evaluation names."""
    return checksums(read_json(folder / RECORD))
