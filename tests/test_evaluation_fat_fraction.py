"""Fat fractions within reference and prediction, by hand; limits of agreement as they are drawn."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from musclejax.anatomy import REGIONS
from musclejax.evaluation.compare import FAT_MEASURES
from musclejax.evaluation.metrics import GROUPS, fat_fractions
from musclejax.evaluation.run import evaluate, from_folders
from musclejax.reports.pictures import agreement
from tests.pairs import AFFINE, thigh, write
from tests.test_evaluation_cli import call

FAT = {0: 0.9, 1: 0.1, 7: 0.3}
"""Of the tissue around, of VL and of AM."""


def inner(limbs: np.ndarray) -> np.ndarray:
    """VL in front and AM behind, with fat around them."""
    x, y, _ = np.indices(limbs.shape)
    radius = np.minimum(np.hypot(x - 25, y - 30) + 3, np.hypot(x - 66, y - 32))
    return np.where(radius < 14, thigh(limbs), 0).astype(np.uint8)


def fat_of(limbs: np.ndarray) -> np.ndarray:
    fat = np.select([inner(limbs) == label for label in FAT], list(FAT.values()))
    return np.where(limbs > 0, fat, np.nan).astype(np.float32)


@pytest.fixture(scope="module")
def dataset(limbs: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases; predictions lie 2 pixels too far in front."""
    folder = tmp_path_factory.mktemp("fat")
    labels = inner(limbs)
    for name in "abc":
        write(folder / "data" / "imagesTr" / f"{name}_0000.nii.gz", limbs)
        write(folder / "data" / "labelsTr" / f"{name}.nii.gz", labels)
        write(folder / "out" / f"{name}_labels.nii.gz", np.roll(labels, 2, 1), "PIR")
    index = {"labels": {"background": 0, "VL": 1, "AM": 7}, "file_ending": ".nii.gz"}
    (folder / "data" / "dataset.json").write_text(json.dumps(index))
    # In percent on a finer grid, named like the scan's file; and as the case, in fractions.
    finer = nib.Nifti1Image(np.repeat(100 * fat_of(limbs), 2, 2), halved(AFFINE))
    (folder / "maps").mkdir()
    nib.save(finer, folder / "maps" / "a_0000.nii.gz")
    write(folder / "maps" / "b.nii.gz", fat_of(limbs))
    return folder


def halved(affine: np.ndarray) -> np.ndarray:
    """The affine of a grid with two slices for each."""
    made = affine @ np.diag([1, 1, 0.5, 1])
    made[2, 3] = -affine[2, 2] / 4
    return made


def test_means_by_plain_numpy() -> None:
    rng = np.random.default_rng(28)
    shape, classes = (6, 7, 3), 4
    reference, prediction = rng.integers(0, classes - 1, (2, *shape)).astype(np.uint8)
    sides = rng.integers(0, 3, shape).astype(np.uint8)
    fat = np.where(rng.random(shape) < 0.3, np.nan, rng.random(shape)).astype(np.float32)
    found = fat_fractions(reference, prediction, sides, fat, classes)
    assert list(found) == FAT_MEASURES
    for group, side in enumerate(GROUPS):
        here = np.ones(shape, bool) if side == "both" else sides == group + 1
        for label in range(classes - 1):
            masks = [(labels == label) & here for labels in (reference, prediction)]
            means = [np.nanmean(fat[mask], dtype=float) for mask in masks]
            either = masks[0] | masks[1]
            expected = [*means, 100 * (means[1] - means[0]), np.isfinite(fat[either]).mean()]
            values = [found[name][group, label] for name in FAT_MEASURES]
            assert values == pytest.approx(expected, rel=1e-6)
    assert all(np.isnan(values[:, classes - 1]).all() for values in found.values())  # in neither


def test_cases_with_and_without_a_map(dataset: Path, limbs: np.ndarray, tmp_path: Path) -> None:
    given = "--reference", dataset / "data", "--prediction", dataset / "out"
    result = call(*given, "--fat-fraction", dataset / "maps", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "c: no fat fraction is measured" in result.stderr
    assert "found no map named c_0000 or c;" in result.stderr
    cases = pd.read_csv(tmp_path / "cases.csv", keep_default_na=False).set_index("case")
    assert cases["fat_fraction_unit"].tolist() == ["percent", "fraction", ""]
    report = (tmp_path / "report.md").read_text()
    assert "fat fractions are those of 2 of 3 cases, which have a map" in report
    assert "![Thigh: agreement of volume and fat fraction](agreement_thigh.png)" in report
    rows = pd.read_csv(tmp_path / "muscles.csv").set_index(["case", "muscle", "side"])
    assert rows.loc["c", FAT_MEASURES].isna().all(axis=None)
    fat, predicted = fat_of(limbs), np.roll(inner(limbs), 2, 1)
    for number, name in ((1, "VL"), (7, "AM")):
        mean = float(np.nanmean(fat[predicted == number]))
        expected = [FAT[number], mean, 100 * (mean - FAT[number])]
        for case in "ab":
            found = rows.loc[(case, name, "both"), FAT_MEASURES[:3]]
            assert found.tolist() == pytest.approx(expected, abs=2e-4)
    summary = pd.read_csv(tmp_path / "summary.csv").set_index(["muscle", "side"])
    assert summary.loc[("VL", "both"), ["dsc_n", "fat_fraction_error_pp_n"]].tolist() == [3, 2]
    assert "(n 2)" in (tmp_path / "summary.md").read_text()
    several = call(*given, "--fat-fraction", dataset / "maps" / "b.nii.gz", "-o", tmp_path / "x")
    assert (several.exit_code, "one file for 3 scans" in several.stderr) == (2, True)


def test_without_scans_the_muscles_alone_judge_the_map(
    dataset: Path, limbs: np.ndarray, tmp_path: Path
) -> None:
    """Label maps alone; and a reference that is empty leaves the unit open."""
    for name, labels in (("a", inner(limbs)), ("empty", np.zeros(limbs.shape, np.uint8))):
        write(tmp_path / "ref" / f"{name}.nii.gz", labels)
        write(tmp_path / "out" / f"{name}.nii.gz", inner(limbs))
        write(tmp_path / "maps" / f"{name}.nii.gz", 100 * fat_of(limbs))
    source = from_folders(tmp_path / "ref", tmp_path / "out", "thigh")
    found = evaluate(source, all_slices=True, fat_fraction=tmp_path / "maps")
    rows = found.comparison.muscles.set_index(["case", "muscle", "side"])
    assert rows.loc[("a", "AM", "left"), FAT_MEASURES].tolist() == pytest.approx([0.3, 0.3, 0, 1])
    assert rows.loc["empty", FAT_MEASURES].isna().all(axis=None)
    assert found.comparison.cases["fat_fraction_unit"].tolist() == ["percent", ""]
    assert any("no muscle is labeled: no fat is measured" in line for line in found.warnings)


@pytest.mark.parametrize("with_fat", [True, False])
def test_agreement_is_drawn_as_it_is_computed(
    with_fat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: errors -1, 2 and 5 ml have a mean of 2 and a standard deviation of 3."""
    figures: list[Figure] = []
    monkeypatch.setattr(agreement, "write_figure", lambda f, path: figures.append(f))
    errors = np.array([-1.0, 2.0, 5.0])
    rows = pd.DataFrame(
        {
            "case": list("abc"), "split": "test", "muscle": "VL",
            "volume_reference_ml": 100.0, "volume_prediction_ml": 100 + errors,
            "volume_error_ml": errors, "volume_error_percent": errors,
            "fat_fraction_reference": 0.2, "fat_fraction_prediction": 0.2 + errors / 100,
            "fat_fraction_error_pp": errors if with_fat else np.nan,
        }
    )  # fmt: skip
    agreement.draw_agreement(rows, REGIONS["thigh"], "title", tmp_path / "a.png")
    panels = figures[0].axes
    assert len(panels) == (3 if with_fat else 2)
    middle = {0: 100 + errors / 2, 2: 20 + errors / 2}
    for index, panel in enumerate(panels):
        assert panel.get_title("right") == "bias +2.0 (-3.9 to +7.9), n 3"
        dots, lines = panel.lines[0], panel.lines[len(REGIONS["thigh"].muscles) + 1 :]
        np.testing.assert_allclose(dots.get_ydata(), errors)
        np.testing.assert_allclose(dots.get_xdata(), middle.get(index, middle[0]))
        heights = [float(line.get_ydata()[0]) for line in lines]
        assert heights == pytest.approx([2, 2 - 1.96 * 3, 2 + 1.96 * 3])
