"""`musclejax evaluate` as a user meets it: files, lines, exit codes."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from musclejax.cli.evaluate import evaluate
from musclejax.evaluation.run import evaluate as compare_all
from musclejax.evaluation.run import from_folders
from musclejax.scan import nifti
from musclejax.scan.study import load
from tests.pages import Page, check_alone


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(evaluate, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


AXCODES = {"a": "RAS", "b": "LPI", "c": "PSR"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, thigh_path: Path) -> Path:
    """Three turned cuts of a real scan; made-up labels: the front of each thigh VL, the back AM.

    The numbers are the dataset's own: 1 AM, 2 VL, 3 ignore.
    """
    folder = tmp_path_factory.mktemp("dataset")
    volume = load(thigh_path)
    image = volume.data[:, :, 12:15]
    bright = image > image.mean() * 1.5
    y = np.arange(image.shape[1])[None, :, None]
    labels = np.where(bright, np.where(y > 160, 2, 1), 0).astype(np.uint8)
    labels[:8] = 3
    for name, axcodes in AXCODES.items():
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(volume.affine), nib.orientations.axcodes2ornt(axcodes)
        )
        for kind, data in (("images", image), ("labels", labels)):
            part = folder / f"{kind}{'Ts' if name == 'c' else 'Tr'}"
            part.mkdir(exist_ok=True)
            ending = "_0000" if kind == "images" else ""
            turned = nib.Nifti1Image(data, volume.affine).as_reoriented(turn)
            nib.save(turned, part / f"{name}{ending}.nii.gz")
    names = {"background": 0, "AM": 1, "VL": 2, "ignore": 3}
    index = {"channel_names": {"0": "MRI"}, "labels": names, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(index))
    (folder / "cases.csv").write_text("case,subject,severity\na,P1,\nb,P2,\nc,P3,severe\n")
    return folder


def our_numbers(path: Path) -> nib.Nifti1Image:
    image = nib.load(path)
    data = np.array([0, 7, 1, 0], np.uint8)[np.asarray(image.dataobj).astype(int)]
    return nib.Nifti1Image(data, image.affine)


@pytest.fixture
def predictions(dataset: Path, tmp_path: Path) -> Path:
    """Perfect ones for a and c, none for b."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    nib.save(our_numbers(dataset / "labelsTr" / "a.nii.gz"), folder / "a_labels.nii.gz")
    nib.save(our_numbers(dataset / "labelsTs" / "c.nii.gz"), folder / "c_0000_labels.nii.gz")
    return folder


def test_predictions_against_a_dataset_and_one_is_missing(
    dataset: Path, predictions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = call("--reference", dataset, "--prediction", predictions, "-o", out)
    assert result.exit_code == 1
    assert "failed: b: prediction of b: found none in" in result.stderr
    assert "1 of 3 failed" in result.stderr
    assert "a: thigh, 3 slices, DSC 1.000, HD95 0.0 mm" in result.stdout
    assert result.stdout.endswith(" : open report.html first\n")
    tables = ("muscles", "slices", "cases", "summary", "table2", "table3", "table4")
    texts = {"summary.md", "table3.md"}  # no case is of another split
    pictures = {"overlays_thigh.png", "subjects_thigh.png", "views_a.png", "views_c.png"}
    others = {"agreement_thigh.png", "report.md", "report.html", "evaluate.json"}
    expected = {f"{name}.csv" for name in tables} | texts | pictures | others
    assert {p.name for p in out.iterdir()} == expected
    muscles = pd.read_csv(out / "muscles.csv")
    assert set(muscles["muscle"]) == {"VL", "AM"}  # the dataset names no other
    assert muscles["dsc"].eq(1).all()
    third = (out / "table3.md").read_text()
    assert "| severe     | P3        |      1.0000 |" in third
    report = Page(out / "report.html")
    check_alone(report)
    assert report.column("case", "cases") == ["a", "c"]
    assert {*report.column("DSC", "muscles")} == {"1.0000"}
    assert "b failed: prediction of b: found none in" in report.text
    assert "never name it: VM, VI, RF" in report.text
    assert "Table 3" in report.text
    assert "Table 4" not in report.text
    record = json.loads((out / "evaluate.json").read_text())
    assert list(record["failed"]) == ["b"]
    assert record["weights_hash"] is None
    assert {"jax", "scipy"} <= set(record["versions"])
    assert any("never name it: VM, VI, RF" in warning for warning in record["warnings"])
    assert "warning: not compared, as the thigh references never name it: VM" in result.stderr

    again = ("--reference", dataset, "--prediction", predictions, "-o", out, "--paper-tables")
    assert call(*again).exit_code == 1
    assert 'No case of the split "unseen"' in (out / "table4.md").read_text()
    assert 'No case of the split "unseen"' in Page(out / "report.html").text
    assert "## Table 4" in (out / "report.md").read_text()


def test_label_folders_without_scans(dataset: Path, predictions: Path, tmp_path: Path) -> None:
    manual = tmp_path / "manual"
    manual.mkdir()
    nib.save(our_numbers(dataset / "labelsTr" / "a.nii.gz"), manual / "a.nii.gz")
    arguments = ("--reference", manual, "--prediction", predictions)
    result = call(*arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "accepted: --region thigh or --region leg" in result.stderr
    result = call(*arguments, "-o", tmp_path / "out", "--region", "thigh", "-q")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    sides = pd.read_csv(tmp_path / "out" / "muscles.csv").set_index(["muscle", "side"])["dsc"]
    assert sides["VL"].tolist() == [1, 1, 1]
    assert np.isnan(sides["GRA"]).all()


def test_weights_on_a_dataset(
    dataset: Path, weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    read: list[Path] = []
    unpacked = nifti.open_unpacked
    monkeypatch.setattr(nifti, "open_unpacked", lambda path: (read.append(path), unpacked(path))[1])
    result = call(
        "--weights", weights_folder, "--data", dataset, "-o", out,
        "--batch-size", 3, "--save-labels",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "warning: random weights" in result.stderr
    files = [path for part in ("images", "labels") for path in dataset.glob(f"{part}T?/*.nii.gz")]
    assert sorted(read) == sorted(files)  # each once
    labels = out / "labels"
    assert (labels / "labels_thigh.txt").is_file()
    for name in AXCODES:
        part = "imagesTs" if name == "c" else "imagesTr"
        image = nib.load(dataset / part / f"{name}_0000.nii.gz")
        assert nib.load(labels / f"{name}_labels.nii.gz").shape == image.shape
    cases = pd.read_csv(out / "cases.csv").set_index("case")
    assert cases["split"].eq("test").all()  # random weights were trained on nobody
    assert set(cases["classifier_region"]) <= {"thigh", "leg"}
    # The same slices in three orientations: the same figures but for rounding at borders.
    assert cases["slice_dsc"].max() - cases["slice_dsc"].min() < 0.01
    second = pd.read_csv(out / "table2.csv").set_index("network")
    assert second.loc["Classification", ["train_n", "validation_n"]].tolist() == [0, 0]
    assert second.loc["Thigh segmentation", ["train_n", "validation_n"]].tolist() == [0, 0]
    record = json.loads((out / "evaluate.json").read_text())
    assert len(record["weights_hash"]) == 12
    again = compare_all(from_folders(dataset, labels)).comparison.muscles
    columns = ["case", "muscle", "side", "dsc", "hd95_mm", "volume_error_ml"]
    first = pd.read_csv(out / "muscles.csv")[columns]
    # The file has four decimals.
    pd.testing.assert_frame_equal(first, again[columns], rtol=0, atol=5.1e-5)

    edited = labels / "b_labels.nii.gz"
    edited.write_bytes(b"edited")
    result = call("--weights", weights_folder, "--data", dataset, "-o", out, "--save-labels")
    assert result.exit_code == 2
    assert f"{edited}: found a file that musclejax did not write" in result.stderr
    assert edited.read_bytes() == b"edited"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "found neither; accepted: --reference and --prediction, or --weights and --data."),
        (["--reference", "."], "found --reference; accepted"),
        (["--reference", ".", "--data", "."], "found --reference and --data; accepted"),
        (["--weights", "phantom"], "found --weights; accepted"),
        (
            ["--reference", ".", "--prediction", ".", "--weights", "phantom"],
            "found --reference and --prediction and --weights; accepted",
        ),
        (["--weights", "phantom", "--data", "nowhere"], "--data: found no folder nowhere"),
        (["--weights", "nothing", "--data", "."], "no such weights"),
        (["--weights", "phantom", "--data", "."], "no dataset.json"),
        (["--weights", "phantom", "--data", ".", "--region", "leg"], "--region: found with --data"),
        (["--reference", ".", "--prediction", ".", "--save-labels"], "--save-labels: found with"),
        (["--weights", "phantom", "--data", ".", "--numbers", "dataset"], "--numbers: found with"),
        (["--reference", ".", "--prediction", "."], "accepted: --region thigh or --region leg"),
        (["--reference", ".", "--prediction", ".", "--region", "arm"], "'arm' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert not list((tmp_path / "out").glob("*"))


def test_nothing_is_written_when_every_case_fails(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    result = call("--reference", dataset, "--prediction", tmp_path / "empty", "-o", out)
    assert result.exit_code == 1
    assert "3 of 3 failed" in result.stderr
    assert not out.exists()


def test_a_dataset_and_edited_files_are_never_replaced(dataset: Path, tmp_path: Path) -> None:
    """`cases.csv` of a dataset is a person's; ours has the same name."""
    arguments = (
        "--reference",
        dataset,
        "--prediction",
        dataset / "labelsTr",
        "--numbers",
        "dataset",
    )
    into = call(*arguments, "-o", dataset)
    assert (into.exit_code, "found a dataset; accepted: a folder for" in into.stderr) == (2, True)
    out = tmp_path / "out"
    out.mkdir()
    (out / "cases.csv").write_text("case,subject\n")
    foreign = call(*arguments, "-o", out)
    assert (foreign.exit_code, "evaluate did not write" in foreign.stderr) == (2, True)
    assert (out / "cases.csv").read_text() == "case,subject\n"
    (out / "cases.csv").rename(out / "report.html")
    foreign = call(*arguments, "-o", out)
    assert (foreign.exit_code, "report.html: found a file" in foreign.stderr) == (2, True)


def test_help_teaches() -> None:
    shown = call("--help").stdout
    assert "  musclejax evaluate --weights phantom --data DATASET -o scores" in shown
    assert "  muscles.csv           a row per case, muscle and side (left, right, both):" in shown
