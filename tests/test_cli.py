"""The command line as a user meets it: exit codes, files, lines, speed of --help."""

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from musclejax.cli.main import main
from musclejax.config import recipe_names
from musclejax.reports.cohort_tables import OWN
from musclejax.scan.source import COHORT_TABLES, LABEL_NAMES
from musclejax.scan.study import load
from tests.dicom_series import series_images, write


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, thigh_path: Path, leg_path: Path) -> Path:
    """A cohort: two short real scans, one of them turned."""
    folder = tmp_path_factory.mktemp("cohort")
    for path, name in ((thigh_path, "a"), (leg_path, "b")):
        volume = load(path)
        image = nib.Nifti1Image(volume.data[:, :, 10:20:5], volume.affine)
        if name == "b":
            image = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        nib.save(image, folder / f"{name}.nii.gz")
    return folder


OUTPUTS = (
    "labels.nii.gz",
    "labels_original.nii.gz",
    "muscles.csv",
    "slices.csv",
    "qc.png",
    "run.json",
    "report.html",
)


def test_a_cohort_with_one_bad_scan(scans: Path, weights_folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("no scan")
    out = tmp_path / "out"
    arguments = ("segment", scans, bad, "-o", out, "--weights", weights_folder, "--batch-size", 2)
    result = call(*arguments)
    assert result.exit_code == 1
    assert f"failed: {bad}: found no readable NIfTI" in result.stderr
    assert "1 of 3 failed" in result.stderr
    assert f"report: {out / 'report.html'}" in result.stdout
    expected = {f"{name}_{output}" for name in "ab" for output in OUTPUTS}
    once = {*LABEL_NAMES, *COHORT_TABLES, OWN, "report.html"}
    assert {p.name for p in out.iterdir()} == expected | once
    cohort = pd.read_csv(out / "scans.csv").set_index("scan")
    assert cohort["status"].to_dict() == {"a": "done", "b": "done", "bad": "failed"}
    assert cohort.loc["bad", "reason"].startswith(f"{bad}: found no readable NIfTI")
    tables = [pd.read_csv(p) for p in (out / "muscles.csv", *out.glob("[ab]_muscles.csv"))]
    assert len(tables[0]) == len(tables[1]) + len(tables[2])
    for name in "ab":
        labels, scan = (
            nib.load(p) for p in (out / f"{name}_labels.nii.gz", scans / f"{name}.nii.gz")
        )
        assert labels.shape == scan.shape
        np.testing.assert_array_equal(labels.affine, scan.affine)
    record = json.loads((out / "a_run.json").read_text())
    assert {"resample", "classify", "network", "save", "total"} <= set(record["seconds"])
    assert record["peak_memory_mib"] > 100
    process = record["process_seconds"]
    assert 0 < process["start"] < process["until_here"]
    assert record["threads"] >= 1
    assert {"jax", "musclejax"} <= set(record["versions"])
    assert len(record["weights_hash"]) == len(record["network_hash"]) == 12
    assert "warning: random weights" in result.stderr

    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir() if p.name[:2] in ("a_", "b_")}
    again = call(*arguments)
    assert again.stdout.count("already done") == 2
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir() if p.name in before} == before
    (out / "report.html").unlink()
    other = call(*arguments, "--region", "leg", "--no-report")
    assert not (out / "report.html").exists()
    assert "with other settings; --overwrite" in other.stdout
    last = call("segment", scans / "a.nii.gz", *arguments[3:], "--region", "leg", "--overwrite")
    assert last.exit_code == 0
    assert json.loads((out / "a_run.json").read_text())["region"] == "leg"


def test_options_that_add_outputs(scans: Path, weights_folder: Path, tmp_path: Path) -> None:
    scan = nib.load(scans / "a.nii.gz")
    maps = tmp_path / "maps"
    maps.mkdir()
    nib.save(nib.Nifti1Image(np.full(scan.shape, 25.0), scan.affine), maps / "a.nii.gz")
    result = call(
        "segment", scans / "a.nii.gz", "-o", tmp_path / "out", "--weights", weights_folder,
        "--region", "thigh", "--probabilities", "--fat-fraction", maps, "--batch-size", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "a_probabilities.nii.gz").exists()
    table = pd.read_csv(tmp_path / "out" / "a_muscles.csv")
    assert {"fat_fraction", "fat_fraction_eroded"} <= set(table.columns)
    assert set(table["fat_fraction"].dropna()) == {0.25}
    assert table["fat_fraction"].isna().any()  # where no muscle is


def test_dicom_in_and_dicom_seg_out(scans: Path, weights_folder: Path, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom")
    volume = load(scans / "a.nii.gz")
    images = series_images(volume.data.astype(np.int16), volume.affine)
    write(tmp_path / "dicom" / "knee_42", images)
    result = call(
        "segment", tmp_path / "dicom", "-o", tmp_path / "out", "--weights", weights_folder,
        "--region", "thigh", "--dicom-sr", "--batch-size", 2, "--labels", "musclemap",
        "--naming", "bids", "--muscles", "RF,VL,SOL",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    labels = np.asarray(nib.load(out / "knee_42_labels.nii.gz").dataobj)
    present = set(np.unique(labels)) - {0}
    assert present <= {7101, 7102, 7131, 7132}
    assert hd.seg.segread(out / "knee_42_seg.dcm").number_of_segments == len(present) > 0
    report = hd.sr.srread(out / "knee_42_sr.dcm").content
    assert len(report.get_volumetric_roi_measurement_groups()) == len(present)
    rows = pd.read_csv(out / "knee_42_muscles.csv")
    assert set(rows["muscle"]) == {"VL", "RF"}
    assert set(rows["label"]) == {7101, 7102, 7131, 7132}
    [copy] = (out / "bids").rglob("*_dseg.nii.gz")
    np.testing.assert_array_equal(np.asarray(nib.load(copy).dataobj), labels)
    assert json.loads((out / "knee_42_run.json").read_text())["numbering"] == "musclemap"
    again = call("segment", tmp_path / "dicom", "-o", out, "--weights", weights_folder)
    assert again.exit_code == 2
    assert "label maps with the numbers of musclemap; accepted: --labels mus" in again.stderr


def test_dicom_seg_of_a_nifti_scan_is_refused(
    scans: Path, weights_folder: Path, tmp_path: Path
) -> None:
    result = call(
        "segment", scans / "a.nii.gz", "-o", tmp_path / "o", "--weights", weights_folder,
        "--dicom-seg",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "a DICOM scan with --dicom-seg" in result.stderr
    assert not list((tmp_path / "o").glob("a_*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--weights", "nothing"], "no such weights"),
        (["--region", "arm"], "'arm' is not one of"),
        (["--batch-size", "0"], "batch_size: found 0; accepted: 1 or more"),
        (["--threads", "4096"], "--threads: found 4096; accepted: 1 to"),
        (["--fat-fraction", "nowhere.nii"], "found no file nowhere.nii"),
        (["--typo"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    change: list[str], message: str, scans: Path, tmp_path: Path
) -> None:
    result = call("segment", scans / "a.nii.gz", "-o", tmp_path / "out", *change)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list((tmp_path / "out").glob("a_*"))


def test_unwritable_output_and_one_map_for_two_scans(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = call("segment", scans / "a.nii.gz", "-o", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    result = call("segment", scans, "-o", tmp_path / "out", "--fat-fraction", scans / "a.nii.gz")
    assert (result.exit_code, "one file for 2 scans" in result.stderr) == (2, True)


def test_paths_without_scans_fail(weights_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = call(
        "segment", tmp_path / "none.nii", tmp_path / "empty", "-o", tmp_path / "o",
        "--weights", weights_folder,
    )  # fmt: skip
    assert result.exit_code == 1
    assert "no such file or folder" in result.stderr
    assert "a folder without scans" in result.stderr
    assert "2 of 2 failed" in result.stderr


def test_import_is_light_and_help_is_quick() -> None:
    code = (
        "import musclejax, sys; print(sorted({'jax', 'numpy', 'scipy', 'flax'} & set(sys.modules)))"
    )
    assert run_python(code) == "[]"


def test_segment_imports_what_it_needs_only() -> None:
    others = "matplotlib", "optax", "orbax", "tensorstore", "torch", "distributed", "h5py", "onnx"
    code = (
        "from musclejax.app.process import configure; configure(None)\n"
        "import musclejax.app.segment, sys, gc, os; print(gc.get_threshold()[0], "
        f"os.environ['OPENBLAS_NUM_THREADS'], sorted({{*{others}}} & set(sys.modules)))"
    )
    assert run_python(code) == "1000000 1 []"


def run_python(code: str) -> str:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("", "  musclejax demo                          two sample scans, a minute"),
        ("segment", "  NAME_muscles.csv     volume, cross-section, estimated DSC, fat fraction"),
        ("import-keras", "  --region weights_thighleg.hdf5 -o weights2021"),
    ],
)
def test_help_keeps_its_tables(command: str, line: str) -> None:
    assert line in call(*command.split(), "--help").stdout


def test_an_option_of_several_commands_has_one_text() -> None:
    texts: dict[str, set[str]] = {}
    commands = [
        *main.commands.values(),
        *(c for g in main.commands.values() for c in subcommands(g)),
    ]
    for option in (p for c in commands for p in c.params if isinstance(p, click.Option)):
        texts.setdefault(option.opts[-1], set()).add(option.help or "")
    for name in ("--scheduler", "--json", "--config", "--set"):
        assert len(texts[name]) == 1, name
    # That of `bench` takes several numbers.
    assert len(texts["--threads"]) == 2
    for recipe in recipe_names():
        assert recipe in next(iter(texts["--config"]))


def subcommands(command: click.Command) -> list[click.Command]:
    return [*command.commands.values()] if isinstance(command, click.Group) else []


def test_public_names_work() -> None:
    import musclejax
    from musclejax import prediction, scan

    for room in (musclejax, scan, prediction):
        for name in room.__all__:
            assert getattr(room, name) is not None
    assert len(musclejax.__all__) <= 25


def test_threads_hold_and_killing_leaves_no_half_file(
    scans: Path, weights_folder: Path, tmp_path: Path
) -> None:
    """In a process of its own, because the limit holds for the whole process."""
    command = [sys.executable, "-m", "musclejax", "segment", str(scans / "a.nii.gz")]
    command += ["-o", str(tmp_path), "--weights", str(weights_folder), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(".a.*.partial/*")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("a_")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert json.loads((tmp_path / "a_run.json").read_text())["threads"] == 1
    assert [p.name for p in tmp_path.glob(".*")] == [OWN]
