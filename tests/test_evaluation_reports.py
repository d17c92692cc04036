"""Tables by hand, pictures by their colors, and the files of an evaluation."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from musclejax.data.dataset import Case, Dataset
from musclejax.errors import InputError
from musclejax.evaluation.cases import make_pair as make_pair_of
from musclejax.evaluation.compare import ERRORS, compare
from musclejax.evaluation.result import Comparison
from musclejax.evaluation.run import (
    CaseDone,
    CaseFailed,
    CaseRead,
    CaseSegmented,
    Event,
    evaluate,
    evaluate_steps,
    from_folders,
)
from musclejax.evaluation.scene import load_scene, make_scene, save_scene, select
from musclejax.loops import Advance, result_of
from musclejax.prediction.result import Segmentation
from musclejax.reports import evaluation_tables as tables
from musclejax.reports.evaluation import extremes, save
from musclejax.reports.pictures.evaluation import Row, draw_overlays, draw_subjects, draw_views
from musclejax.reports.pictures.outlines import outlines
from musclejax.scan.volume import Volume
from tests.pages import Page, check_alone
from tests.pairs import AFFINE, ORIENTATIONS, make_pair, thigh, write

# --- tables -------------------------------------------------------------------------------------


def slices_table(*rows: tuple[str, str, str, str, str, int, float]) -> pd.DataFrame:
    columns = ["case", "subject", "region", "severity", "split", "level", "dsc"]
    return pd.DataFrame(rows, columns=columns).assign(time_point="", slice=0)


def test_table_2_counts_slices_and_the_classifiers_decisions() -> None:
    slices = slices_table(
        ("a", "a", "thigh", "", "train", 0, 0.8),
        ("a", "a", "thigh", "", "train", 1, 0.6),
        ("b", "b", "thigh", "", "validation", 0, 0.5),
        ("c", "c", "thigh", "", "test", 0, 0.1),
    )
    cases = pd.DataFrame(
        {
            "region": ["thigh", "thigh", "leg", "leg"],
            "classifier_region": ["thigh", "leg", "leg", ""],
            "classifier_split": ["train", "train", "validation", ""],
        }
    )
    table = tables.table2(Comparison(pd.DataFrame(), slices, cases)).set_index("network")
    assert table.loc["Classification", ["train", "validation"]].tolist() == [0.5, 1.0]
    assert table.loc["Thigh segmentation", ["train", "validation"]].tolist() == [
        pytest.approx(0.7),
        0.5,
    ]
    assert table.loc["Thigh segmentation", ["train_n", "validation_n"]].tolist() == [2, 1]
    assert table.loc["Lower leg segmentation", ["train", "validation"]].isna().all()


def test_table_3_has_a_row_per_test_subject_mild_first() -> None:
    slices = slices_table(
        ("a", "S9", "thigh", "severe", "test", 0, 0.5),
        ("a", "S9", "thigh", "severe", "test", 1, 0.7),
        ("b", "S9", "leg", "severe", "test", 0, 0.9),
        ("c", "S1", "thigh", "mild", "test", 0, 0.8),
        ("d", "S2", "thigh", "mild", "test", 0, 0.6),
        ("u", "S9", "thigh", "severe", "unseen", 0, 0.0),
    )
    table = tables.table3(slices)
    assert table["subject"].tolist() == ["S1", "S2", "S9"]
    assert table["thigh_dsc"].tolist() == pytest.approx([0.8, 0.6, 0.6])
    assert table["leg_dsc"].isna().tolist() == [True, True, False]
    assert table["thigh_slices"].tolist() == [1, 1, 2]
    means = tables.with_means(table)
    assert means["subject"].tolist() == ["S1", "S2", "mean", "S9", "mean"]
    assert means["thigh_dsc"].tolist() == pytest.approx([0.8, 0.6, 0.7, 0.6, 0.6])
    assert tables.table3(slices[:0]).empty


def test_table_4_numbers_the_unseen_slices_of_thigh_and_leg_apart() -> None:
    slices = slices_table(
        ("t", "A", "thigh", "severe", "unseen", 1, 0.82),
        ("t", "A", "thigh", "severe", "unseen", 0, 0.81),
        ("l", "A", "leg", "severe", "unseen", 0, 0.91),
        ("t2", "B", "thigh", "severe", "unseen", 0, 0.75),
        ("x", "B", "thigh", "severe", "test", 0, 0.99),
    )
    table = tables.table4(slices)
    assert table[["subject", "slice"]].to_numpy().tolist() == [["A", 1], ["A", 2], ["B", 1]]
    assert table["thigh_dsc"].tolist() == [0.81, 0.82, 0.75]
    assert table["leg_dsc"].fillna(0).tolist() == [0.91, 0, 0]


def test_summary_keeps_splits_apart_and_leaves_out_what_is_absent() -> None:
    measures = dict.fromkeys(["jaccard", "hd95_mm", "msd_mm", *ERRORS], 1.0)
    measures["fat_fraction_error_pp"] = np.nan
    rows = [
        {"split": split, "muscle": muscle, "dsc": value}
        for split, muscle, value in [
            ("test", "VM", 0.4), ("test", "VL", 0.2), ("test", "VL", 0.6), ("train", "VL", 1.0),
            ("test", "VL", np.nan),
        ]
    ]  # fmt: skip
    muscles = pd.DataFrame([{"region": "thigh", "side": "both", **measures, **r} for r in rows])
    muscles["volume_error_ml"] = [9.0, -1.0, 2.0, 9.0, 5.0]  # VL of the split test: -1, 2, 5
    table = tables.summary(muscles).set_index(["split", "muscle"])
    assert list(table.index) == [("test", "VL"), ("test", "VM"), ("train", "VL")]
    row = table.loc[("test", "VL")]
    assert row[["dsc_mean", "dsc_median", "dsc_n"]].tolist() == [pytest.approx(0.4)] * 2 + [2]
    assert row["dsc_sd"] == pytest.approx(np.sqrt(0.08))
    agreement = ["volume_error_ml_mean", "volume_error_ml_lower", "volume_error_ml_upper"]
    assert row[agreement].tolist() == pytest.approx([2, 2 - 1.96 * 3, 2 + 1.96 * 3])
    assert table["fat_fraction_error_pp_n"].eq(0).all()
    assert table["fat_fraction_error_pp_upper"].isna().all()
    assert table["volume_error_ml_lower"].isna().tolist() == [False, True, True]  # of one case


# --- pictures and files -------------------------------------------------------------------------


def test_extremes_and_outlines() -> None:
    values = pd.Series([0.5, np.nan, 0.9, 0.1, 0.4], index=list("abcde"))
    assert extremes(values) == {"best": "c", "median": "e", "worst": "d"}
    assert extremes(values[:3]) == {"best": "c", "worst": "a"}
    assert extremes(values[:2]) == {"only": "a"}
    pixel = np.zeros((4, 5), np.uint8)
    pixel[1, 2] = 3
    ends = {tuple(map(tuple, line)) for line in outlines(pixel).tolist()}
    assert len(ends) == 4
    assert ((1.5, 0.5), (1.5, 1.5)) in ends  # (column, row): the pixel's left


def is_red(image: np.ndarray) -> np.ndarray:
    """Where the color of label 1 shows."""
    return (image[..., 0] - image[..., 1] > 0.2) & (image[..., 0] - image[..., 2] > 0.2)


def right_front_on_top(limbs: np.ndarray) -> np.ndarray:
    """Return labels with VL in front of the patient's right thigh, in the topmost slice only."""
    reference = np.where(thigh(limbs) > 0, 8, 0).astype(np.uint8)
    only = np.zeros_like(reference, bool)
    only[45:, 32:, 3] = True
    reference[only & (limbs > 0)] = 1
    return reference


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_a_scene_does_not_depend_on_the_orientation_of_the_file(
    axcodes: str, limbs: np.ndarray, tmp_path: Path
) -> None:
    reference = right_front_on_top(limbs)
    prediction = np.roll(reference, 2, 1)
    expected = make_scene(make_pair(tmp_path / "RAS", reference, prediction))
    pair = make_pair(tmp_path / axcodes, reference, prediction, axcodes)
    scene = make_scene(pair)
    for name in ("image", "gain", "reference", "prediction", "sides", "body", "spacing_mm"):
        np.testing.assert_array_equal(getattr(scene, name), getattr(expected, name))
    slices = compare(pair).slices.set_index("level")["slice"]
    assert scene.slices.tolist() == slices.tolist() == sorted(slices, reverse="S" not in axcodes)
    top = select(scene, [int(slices[3])])
    assert (top.reference == 1).any()
    assert not (select(scene, slices[:3].tolist()).reference == 1).any()


def test_pictures_show_the_right_on_the_left_and_the_head_up(
    limbs: np.ndarray, tmp_path: Path
) -> None:
    reference = right_front_on_top(limbs)
    pair = make_pair(tmp_path, reference, reference)
    scene = make_scene(pair)
    top = compare(pair).slices.set_index("level")["slice"][3]
    row = Row("best", select(scene, [int(top)]), [1.0])
    draw_overlays([row], "title", tmp_path / "overlays.png")
    panel = is_red(imread(tmp_path / "overlays.png"))[:-80]
    left_half, height = panel[:, : panel.shape[1] // 4], np.flatnonzero(panel.any(1))
    assert left_half.sum() > 500
    assert not panel[:, panel.shape[1] // 4 : panel.shape[1] // 2].any()
    assert height.mean() < 0.55 * panel.shape[0]

    draw_views(scene, "title", tmp_path / "views.png")
    image = imread(tmp_path / "views.png")
    red = is_red(image)[:-80]
    rows = np.flatnonzero(red[: red.shape[0] // 2].any(1))
    assert rows.size
    below = is_red(image)[rows.max() + 3 : rows.max() + 20]
    assert not below.any()  # nothing red further down the reference's row
    columns = np.flatnonzero(red.any(0)) / red.shape[1]
    assert columns.min() < 0.17  # the right limb, in the left half of the first coronal view

    bottom = Row("S1", select(scene, [int(top)] * 3), [1.0] * 3)
    draw_subjects([bottom, bottom], "title", tmp_path / "subjects.png")
    assert is_red(imread(tmp_path / "subjects.png"))[:-80].sum() > 500


def test_an_evaluation_in_files_and_what_replaces_it(limbs: np.ndarray, tmp_path: Path) -> None:
    labels = thigh(limbs)
    for name, change in (("a", 0), ("b", 5), ("c", 9)):
        write(tmp_path / "ref" / f"{name}.nii.gz", labels)
        write(tmp_path / "pred" / f"{name}.nii.gz", np.roll(labels, change, 1))
    source = from_folders(tmp_path / "ref", tmp_path / "pred", "thigh")
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    evaluation = evaluate(source, scenes=scenes)
    assert evaluation.comparison.cases["case"].tolist() == ["a", "b", "c"]
    out = tmp_path / "out"
    files = save(evaluation, out, lambda: {"ours": 1})
    assert {path.name for path in files} == {path.name for path in out.iterdir()}
    assert {f"views_{name}.png" for name in "abc"} < {path.name for path in files}
    muscles = pd.read_csv(out / "muscles.csv", keep_default_na=False)
    assert muscles.shape == (3 * 12 * 3, 23)
    assert muscles.iloc[0][["case", "muscle", "side", "dsc"]].tolist() == [
        "a", "VL", "left", "1.0000",
    ]  # fmt: skip
    assert "nan" not in (out / "muscles.csv").read_text().lower()
    report = (out / "report.md").read_text()
    assert "![Thigh: best, median and worst slice](overlays_thigh.png)" in report
    assert "Table 2" not in report  # no case is of its splits
    assert "nan" not in report
    assert "nan" not in Page(out / "report.html").text
    assert json.loads((out / "evaluate.json").read_text())["ours"] == 1

    only = replace(source.dataset, cases=source.dataset.cases[:1])
    again = evaluate(replace(source, dataset=only), scenes=scenes)
    save(again, out)
    assert {path.name for path in out.glob("views_*")} == {"views_a.png"}
    with pytest.raises(FileNotFoundError):
        save(replace(again, what="what", scenes=tmp_path / "nowhere"), out)
    assert json.loads((out / "evaluate.json").read_text())["what"] != "what"  # the earlier stands
    for name in ("views_z.png", "overlays_leg.png", "table2.csv"):
        written = (out / name).exists() and (out / name).read_bytes()
        (out / name).write_text("a person's")
        with pytest.raises(InputError, match=f"{name}: found a file that was edited"):
            save(again, out)
        (out / name).write_bytes(written) if written else (out / name).unlink()
    save(replace(again, scenes=None), out)
    assert not list(out.glob("*.png"))
    record = json.loads((out / "evaluate.json").read_text())
    (out / "evaluate.json").write_text(json.dumps({**record, "remark": "checked"}))
    with pytest.raises(InputError, match=r"evaluate.json: found a file that was edited"):
        save(replace(again, scenes=None), out)


HOSTILE = '=cmd|</script><b onclick="x">&$a$'


def test_the_page_has_the_numbers_and_names_are_text(limbs: np.ndarray, tmp_path: Path) -> None:
    """Figures by the tables that programs read; a name that is markup, and a formula."""
    labels = thigh(limbs)
    worst = np.roll(labels, 9, 1)
    write(tmp_path / "ref" / "a.nii.gz", labels)
    write(tmp_path / "pred" / "a.nii.gz", worst)
    evaluation = evaluate(from_folders(tmp_path / "ref", tmp_path / "pred", "thigh"))
    comparison = Comparison(
        *(rows.replace("a", HOSTILE) for rows in vars(evaluation.comparison).values())
    )
    hostile = replace(evaluation, what=HOSTILE, comparison=comparison, warnings=(HOSTILE,))
    out = tmp_path / "out"
    save(hostile, out, lambda: {"command": HOSTILE, "failed": {HOSTILE: HOSTILE}})
    page = Page(out / "report.html")
    check_alone(page)
    assert page.column("case", "cases") == [HOSTILE]
    assert page.text.count(HOSTILE) > 5
    case, muscles = comparison.cases.iloc[0], comparison.muscles
    assert page.column("slice DSC", "cases") == [f"{case['slice_dsc']:.4f}"]
    assert page.column("HD95 mm", "cases") == [f"{case['hd95_mm']:.1f}"]
    sides = muscles[muscles["side"] != "both"].dropna(subset="dsc")
    assert page.column("DSC", "muscles") == [f"{dsc:.4f}" for dsc in sorted(sides["dsc"])]
    assert f"{case['slice_dsc']:.3f} over 1 case" in page.text
    report = (out / "report.md").read_text()
    assert "<b" not in report
    assert f"{case['slice_dsc']:.4f}" in report
    with mock.patch("musclejax.reports.pages.evaluation.MOST_ROWS", 3):
        save(hostile, out)
    assert len(page_rows := Page(out / "report.html").column("DSC", "muscles")) == 3
    assert page_rows == page.column("DSC", "muscles")[:3]
    (out / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report.html: found a file that was edited"):
        save(hostile, out)


def with_segmentation(read: Callable[[Case], CaseRead], case: Case) -> CaseRead:
    return read(case)._replace(found=mock.Mock(spec=Segmentation))


def test_a_loop_over_cases_tells_each_and_survives_those_that_fail(
    limbs: np.ndarray, tmp_path: Path
) -> None:
    labels = thigh(limbs)
    for name in "abc":
        write(tmp_path / "ref" / f"{name}.nii.gz", labels)
    for name in "ac":
        write(tmp_path / "pred" / f"{name}.nii.gz", labels)
    source = from_folders(tmp_path / "ref", tmp_path / "pred", "thigh")
    seen = []

    def follow() -> Iterator[Event]:
        evaluation = yield from evaluate_steps(source)
        seen.append(evaluation)

    first, one, failed, two, last, three = follow()
    assert (one, two, three) == (Advance(1, 3), Advance(2, 3), Advance(3, 3))
    assert isinstance(first, CaseDone)
    assert isinstance(last, CaseDone)
    assert [event.comparison.cases["case"][0] for event in (first, last)] == ["a", "c"]
    assert isinstance(failed, CaseFailed)
    assert failed.case.name == "b"
    assert failed.reason.startswith("prediction of b: found none in")
    assert CaseFailed(failed.case, KeyError("x")).reason == "unexpected KeyError: 'x'"
    assert seen[0].comparison.cases["case"].tolist() == ["a", "c"]
    with pytest.raises(InputError, match="prediction of b"):
        evaluate(source)
    read = partial(with_segmentation, source.read)
    steps = evaluate_steps(replace(source, read=read))
    assert isinstance(next(steps), CaseSegmented)
    failed = steps.throw(OSError(28, "No space left on device"))  # whoever saves it could not
    assert isinstance(failed, CaseFailed)
    assert failed.reason == "No space left on device"
    assert next(steps) == Advance(1, 3)
    nothing = replace(source, dataset=replace(source.dataset, cases=source.dataset.cases[1:2]))
    assert result_of(evaluate_steps(nothing)) is None


def test_a_scene_on_disk_and_its_brightness(tmp_path: Path) -> None:
    """A scan whose upper slice is a third as bright: both are drawn up to white."""
    rng = np.random.default_rng(0)
    image = np.zeros((60, 50, 3), np.float32)
    image[10:50, 10:40] = rng.uniform(0.5, 1, (40, 30, 3)) * [900, 900, 300]
    labels = np.zeros(image.shape, np.uint8)
    labels[20:30, 20:30] = 1
    volume = Volume(image, AFFINE)
    case = Case("a", Path("image"), Path("labels"), subject="a", region="thigh")
    dataset = Dataset(tmp_path, {1: ("thigh", 1)}, None, (case,))
    scene = make_scene(make_pair_of(case, dataset, volume, labels, labels))
    assert scene.image.max((0, 1)).tolist() == [255] * 3
    assert scene.gain[2] / scene.gain[0] == pytest.approx(1 / 3, rel=0.02)
    lps = volume.lps.data / np.percentile(volume.lps.data[volume.lps.body], 99)
    found = scene.image / 255 * scene.gain
    bright = np.sort(lps.ravel())[-found.size :]
    assert np.abs(np.sort(found.ravel()) - bright)[: -found.size // 50].max() < 0.01
    save_scene(scene, tmp_path / "a.npz")
    again = load_scene(tmp_path / "a.npz")
    for field in fields(scene):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(scene, field.name))
    assert (again.case, again.region, again.shows_scan) == ("a", "thigh", True)
    assert isinstance(again.spacing_mm, tuple)
    turned = select(again, again.slices[[2, 0]].tolist())
    assert turned.slices.tolist() == again.slices[[2, 0]].tolist()
    assert turned.image.shape[2] == 2
