"""Scans and folders that `segment` meets in the field: names, edited files, records, disks, kills.

Most rows come from the thread or the script that is named beside them; the others are ours.
"""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from matplotlib.figure import Figure
from matplotlib.text import Text

from musclejax import files
from musclejax.app import console, one_scan, process, stop
from musclejax.app.names import is_of
from musclejax.app.work import Scan, failure
from musclejax.errors import InputError
from musclejax.files import file_sha256, read_json, staging_folder, transient_lock
from musclejax.loops import Stage
from musclejax.reports import run_record, segmentation, tables
from musclejax.reports.cohort_tables import OWN
from musclejax.reports.pictures.style import literal
from musclejax.scan.source import COHORT_TABLES, PAGES, read_source
from musclejax.scan.volume import Volume
from tests.pretend import pretend_picture, pretend_steps
from tests.test_cli import call
from tests.test_dicom import series_images, write

KINDS = (
    "labels.nii.gz",
    "labels_original.nii.gz",
    "muscles.csv",
    "slices.csv",
    "qc.png",
    "run.json",
)


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_scan, "segment_steps", pretend_steps)
    monkeypatch.setattr(segmentation, "draw", pretend_picture)


@pytest.fixture
def segment(weights_folder: Path, tmp_path: Path) -> Callable[..., Result]:
    """Call `musclejax segment` with some weights, -o being `out` if not given."""

    def run(*arguments: object) -> Result:
        folder = () if "-o" in arguments else ("-o", tmp_path / "out")
        return call("segment", *arguments, *folder, "--weights", weights_folder)

    return run


def scan(path: Path, seed: int = 0) -> Path:
    """Write a small scan; other seeds are other scans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(1, 99, (12, 10, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 5, 1])), path)
    return path


def names(folder: Path) -> set[str]:
    """Return the names of the scans that are done in a folder."""
    return {p.name.removesuffix("_run.json") for p in folder.glob("*_run.json")}


def record(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}_run.json").read_text()))


def contents(folder: Path) -> dict[str, bytes]:
    """Return what was written of scans, not of all of them: tables and page tell of failures."""
    of_all = {*COHORT_TABLES, OWN, *PAGES}
    files = (p for p in folder.iterdir() if p.is_file() and p.name not in of_all)
    return {p.name: p.read_bytes() for p in files}


# Names -------------------------------------------------------------------------------------------


def test_a_source_of_the_same_name_is_told_apart_by_its_folder(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """`cases/scan/same_name_next_run.py`: the second subject was "finished before"."""
    first = scan(tmp_path / "sub-01" / "dixon.nii.gz", 1)
    second = scan(tmp_path / "sub-02" / "dixon.nii.gz", 2)
    assert segment(first).exit_code == 0
    result = segment(second)
    assert result.exit_code == 0
    assert "sub-02_dixon: thigh" in result.stdout
    out = tmp_path / "out"
    assert names(out) == {"dixon", "sub-02_dixon"}
    assert record(out, "sub-02_dixon")["source"] == str(second)
    assert record(out, "dixon")["source"] == str(first)
    # Whatever the order and the company, each scan keeps its name.
    again = segment(second, first)
    assert again.stdout.count("already done") == 2
    assert names(out) == {"dixon", "sub-02_dixon"}


@pytest.mark.parametrize("names_of", [("s.hdr", "s.img"), ("S.HDR", "S.IMG"), ("s.img", "s.hdr")])
def test_both_files_of_a_pair_are_its_source(names_of: tuple[str, str], tmp_path: Path) -> None:
    """Ours: of a pair in capitals only the header was, which two scans may share."""
    for number, name in enumerate(names_of):
        (tmp_path / name).write_bytes(bytes(number + 1))
    source = read_source(tmp_path / names_of[0])
    assert (source.files, source.size_bytes) == (2, 3)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        # ours: both are told apart, at the depth that is needed
        (["sub-01/t1.nii.gz", "sub-02/t1.nii.gz"], {"sub-01_t1", "sub-02_t1"}),
        (["a/ses/t1.nii.gz", "b/ses/t1.nii.gz"], {"a_ses_t1", "b_ses_t1"}),
        # a collision does not refuse the cohort
        (["p/x.nii.gz", "q/x.nii.gz", "q/y.nii.gz"], {"p_x", "q_x", "y"}),
        # the name with its folder is that of a third scan
        (["p/x.nii.gz", "q/x.nii.gz", "z/q_x.nii.gz"], {"p_x", "z_q_x"}),
    ],
)
def test_scans_of_one_name_in_one_command(
    paths: list[str], expected: set[str], segment: Callable[..., Result], tmp_path: Path
) -> None:
    result = segment(*(scan(tmp_path / path, seed) for seed, path in enumerate(paths)))
    assert result.exit_code == 0, result.output
    found = names(tmp_path / "out")
    assert len(found) == len(paths)
    assert expected <= found


def test_two_files_that_no_folder_tells_apart_are_refused_alone(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    a, b = scan(tmp_path / "in/x.nii", 1), scan(tmp_path / "in/x.nii.gz", 2)
    result = segment(a, b, scan(tmp_path / "in/y.nii.gz", 3))
    assert result.exit_code == 1
    assert result.stderr.count("another scan of the same name in the same folder") == 2
    assert names(tmp_path / "out") == {"y"}


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def change(path: Path) -> None:
    scan(path, 9)


def move(path: Path) -> Path:
    return path.rename(path.with_name("elsewhere") / path.name)


@pytest.mark.parametrize(
    ("alter", "code", "line"),
    [
        (lambda path: None, 0, "a: already done"),
        (touch, 0, "a: already done"),  # ours: copied back from an archive
        (change, 1, "a scan that has changed since it was segmented as a"),
    ],
)
def test_the_record_vouches_for_its_source(
    alter: Callable[[Path], None],
    code: int,
    line: str,
    segment: Callable[..., Result],
    tmp_path: Path,
) -> None:
    """`cases/reliability/same_name_other_scan.sh`."""
    path = scan(tmp_path / "a.nii.gz")
    segment(path)
    before = contents(tmp_path / "out")
    alter(path)
    result = segment(path)
    assert (result.exit_code, line in result.output) == (code, True)
    assert contents(tmp_path / "out") == before
    if code:
        assert segment(path, "--overwrite").exit_code == 0
        assert record(tmp_path / "out", "a")["source_files"]["sha256"] == file_sha256(path)


def test_a_scan_that_was_moved_is_done(segment: Callable[..., Result], tmp_path: Path) -> None:
    path = scan(tmp_path / "a.nii.gz")
    segment(path)
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "a.nii.gz")
    assert "a: already done" in segment(moved).stdout


def test_a_scan_whose_labels_are_gone_is_not_done(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """`cases/reliability/same_name_other_scan.sh`, last line."""
    path = scan(tmp_path / "a.nii.gz")
    segment(path)
    (tmp_path / "out/a_labels.nii.gz").unlink()
    assert segment(path).exit_code == 0
    assert (tmp_path / "out/a_labels.nii.gz").exists()


# Edited and foreign files ------------------------------------------------------------------------


def test_manual_labels_beside_the_scans_stay(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """`cases/scan/manual_labels_overwritten.py`: they were replaced without a word."""
    scan(tmp_path / "in/s1.nii.gz", 1)
    scan(tmp_path / "in/s2.nii.gz", 2)
    manual = tmp_path / "in/s1_labels.nii.gz"
    manual.write_bytes(b"by hand")
    for option in ((), ("--overwrite",)):
        result = segment(tmp_path / "in", "-o", tmp_path / "in", *option)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[1].startswith(
            f"failed: {tmp_path}/in/s1.nii.gz: {manual}"
        )
        assert "did not write, or that was edited since" in result.stderr
        assert manual.read_bytes() == b"by hand"
        assert names(tmp_path / "in") == {"s2"}


def test_edited_files_are_replaced_only_on_request_and_kept(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    path, out = scan(tmp_path / "a.nii.gz"), tmp_path / "out"
    segment(path)
    original = contents(out)
    for kind in KINDS[:-1]:
        file = out / f"a_{kind}"
        file.write_bytes(b"edited")
        assert "already done" in segment(path).stdout
        result = segment(path, "--overwrite")
        assert result.exit_code == 1
        assert f"a_{kind}: found a file that musclejax did not write" in result.stderr
        assert file.read_bytes() == b"edited"
        file.write_bytes(original[file.name])
    (out / "a_labels.nii.gz").write_bytes(b"edited")
    (out / "a_slices.csv").write_bytes(b"edited")
    for backup in (".bak", ".bak2"):
        assert segment(path, "--overwrite-edited").exit_code == 0
        dated = {n: original[n] for n in ("a_run.json", "a_report.html")}
        assert {n: c for n, c in contents(out).items() if n in original} | dated == original
        assert (out / f"a_labels.nii.gz{backup}").read_bytes() == b"edited"
        (out / "a_labels.nii.gz").write_bytes(b"edited")
    assert contents(out).keys() - {*original} == {
        *("a_labels.nii.gz.bak", "a_labels.nii.gz.bak2", "a_slices.csv.bak")
    }


def test_an_edited_record_is_replaced_only_on_request_and_kept(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """Ours: a remark that a person writes into the record was lost with --overwrite."""
    path, file = scan(tmp_path / "a.nii.gz"), tmp_path / "out" / "a_run.json"
    segment(path)
    known = record(file.parent, "a")
    assert [*known][-1] == "record_sha256"
    file.write_text(json.dumps(dict(reversed(known.items()))))  # only laid out anew
    assert segment(path, "--overwrite").exit_code == 0
    remark = json.dumps({**record(file.parent, "a"), "remark": "checked by RG"})
    file.write_text(remark)
    assert "already done" in segment(path).stdout
    result = segment(path, "--overwrite")
    assert result.exit_code == 1
    assert "a_run.json: found a file that musclejax did not write" in result.stderr
    assert file.read_text() == remark
    assert segment(path, "--overwrite-edited").exit_code == 0
    assert (file.parent / "a_run.json.bak").read_text() == remark
    assert "remark" not in record(file.parent, "a")
    assert len([*file.parent.glob("*.bak")]) == 1


def test_a_record_of_a_later_version_names_both(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """Ours: its checksums may be named otherwise, so that nothing vouches for the labels."""
    path, file = scan(tmp_path / "a.nii.gz"), tmp_path / "out" / "a_run.json"
    segment(path)
    known = record(file.parent, "a")
    later = {**known, "versions": {"musclejax": "9.1"}, "files": [known["files"]]}
    file.write_text(json.dumps(run_record.seal(later)))
    result = segment(path, "--overwrite")
    assert result.exit_code == 1
    assert "made by musclejax 9.1; this is 0" in result.stderr


def test_an_edit_while_the_scan_is_segmented_stays(
    segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, labels = scan(tmp_path / "a.nii.gz"), tmp_path / "out/a_labels.nii.gz"
    segment(path)

    def draw_and_edit(result: Any, picture: Path) -> None:
        pretend_picture(result, picture)
        labels.write_bytes(b"edited")

    monkeypatch.setattr(segmentation, "draw", draw_and_edit)
    assert segment(path, "--overwrite").exit_code == 1
    assert labels.read_bytes() == b"edited"


def test_results_of_a_record_without_checksums_are_not_vouched_for(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """As of versions before this one: done, but replaced only on request."""
    path, out = scan(tmp_path / "a.nii.gz"), tmp_path / "out"
    segment(path)
    old = {k: v for k, v in record(out, "a").items() if k not in ("files", "source_files")}
    (out / "a_run.json").write_text(json.dumps(old))
    assert "a: already done" in segment(path).stdout
    assert segment(path, "--overwrite").exit_code == 1
    assert segment(path, "--overwrite-edited").exit_code == 0
    assert json.loads((out / "a_run.json.bak").read_text()) == old


@pytest.mark.parametrize("about", [None, [], "x", {}, {"path": 5}])
def test_a_damaged_source_vouches_for_no_scan(about: object, tmp_path: Path) -> None:
    """Source: ours; the path alone vouched, whatever the scan had become."""
    path = scan(tmp_path / "a.nii.gz")
    assert is_of({"source": str(path)}, path)  # of earlier versions
    assert not is_of({"source": str(path), "source_files": about}, path)


def test_files_of_an_earlier_run_that_are_not_written_again_go(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """Ours: probabilities of other labels would stand beside the new ones."""
    path, out = scan(tmp_path / "a.nii.gz"), tmp_path / "out"
    segment(path)
    known = record(out, "a")
    (out / "a_probabilities.nii.gz").write_bytes(b"of old")
    known["files"]["a_probabilities.nii.gz"] = file_sha256(out / "a_probabilities.nii.gz")
    known = run_record.seal(known)
    (out / "a_run.json").write_text(json.dumps(known))
    assert segment(path, "--overwrite").exit_code == 0
    assert not (out / "a_probabilities.nii.gz").exists()


def test_label_names_of_ones_own_stay(segment: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "labels_leg.txt").write_text("my colors")
    result = segment(scan(tmp_path / "a.nii.gz"))
    assert result.exit_code == 0
    assert "labels_leg.txt has other contents than ours" in result.stderr
    assert (out / "labels_leg.txt").read_text() == "my colors"


def test_saving_from_python_keeps_the_results_of_another_scan(tmp_path: Path) -> None:
    def result(seed: int) -> Any:
        data = np.random.default_rng(seed).random((6, 5, 2)).astype(np.float32)
        steps = pretend_steps(Volume(data, np.eye(4), "dicom"))
        with pytest.raises(StopIteration) as end:
            while True:
                next(steps)
        return end.value.value

    segmentation.save(result(1), tmp_path)
    segmentation.save(result(1), tmp_path)
    with pytest.raises(InputError, match="found results of another scan"):
        segmentation.save(result(2), tmp_path)
    segmentation.save(result(2), tmp_path, overwrite="any scan")
    (tmp_path / "dicom_labels.nii.gz").write_bytes(b"edited")
    with pytest.raises(InputError, match="edited since"):
        segmentation.save(result(2), tmp_path, overwrite="any scan")
    segmentation.save(result(2), tmp_path, overwrite="edited")
    assert (tmp_path / "dicom_labels.nii.gz.bak").read_bytes() == b"edited"


# Damaged records ---------------------------------------------------------------------------------


DAMAGED = {
    "not UTF-8": b"\xff\xfe",  # cases/reliability/run_record_damaged.sh
    "no settings": b'{"settings": null}',  # the same
    "deep": b'{"a":' * 100_000,  # ours: RecursionError
    "numbers": b'{"scan": 1, "files": 3, "source": 4, "source_files": {"path": 5}}',
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_costs_no_cohort(
    damaged: bytes, segment: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    a, b = scan(tmp_path / "a.nii.gz", 1), scan(tmp_path / "b.nii.gz", 2)
    segment(a)
    before = contents(out)
    (out / "a_run.json").write_bytes(damaged)
    result = segment(a, b)
    assert "b: thigh" in result.stdout
    kept = {name: content for name, content in before.items() if not name.endswith("run.json")}
    assert contents(out).items() >= kept.items()
    assert (out / "a_run.json").read_bytes() == damaged


def test_a_damaged_record_alone_is_kept_aside(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_run.json").write_bytes(b"\xff\xfe")
    assert segment(scan(tmp_path / "a.nii.gz")).exit_code == 0
    assert (out / "a_run.json.bak").read_bytes() == b"\xff\xfe"
    assert record(out, "a")["region"] == "thigh"


def test_a_record_that_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a_run.json")  # would be waited for
    assert read_json(tmp_path / "a_run.json") is None


@pytest.mark.parametrize("damaged", [b"", b"[1]", b'{"scan": ', b'{"settings": {}}', b'"scan"'])
def test_what_is_no_record_is_read_as_none(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "a_run.json").write_bytes(damaged)
    assert run_record.read_record(tmp_path, "a") is None


# Texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        r"a$\frac{1}$b",  # cases/scan/file_names.py: an unknown formula failed the scan
        "cost$1_a$2^x",  # the same: set as a formula
        "50%_{x}\\$1$",
        "[bold]a[red]",  # ours: rich's markup
        "Müller 木 😀",
        "line\nbreak",
    ],
)
def test_every_name_is_drawn_as_it_is(name: str) -> None:
    figure = Figure()
    text = figure.text(0, 0, literal(name))
    shown, is_formula = text._preprocess_math(text.get_text())
    assert not is_formula
    assert shown == name.replace("\n", "\\n")
    assert isinstance(text, Text)


@pytest.mark.parametrize("name", [r"[red]$\frac{1}$", os.fsdecode(b"M\xfcller")])
def test_odd_names_are_segmented(
    name: str, segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(one_scan, "segment_steps", pretend_steps)
    path = scan(tmp_path / "in" / "x.nii.gz")
    path.rename(path.with_name(f"{name}.nii.gz"))
    result = segment(tmp_path / "in")
    assert result.exit_code == 0, result.output
    assert len(names(tmp_path / "out")) == 1


CELLS = {
    "=1+2": "'=1+2",  # OWASP, CSV injection
    "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0",
    "@SUM(A1)": "'@SUM(A1)",
    "-x": "'-x",
    "-0.5": "-0.5",
    "a=b": "a=b",
    "": "",
    "two\nlines": "two\\nlines",
    "\udcfc": "\\udcfc",
}


@pytest.mark.parametrize(("cell", "expected"), CELLS.items())
def test_no_cell_is_a_formula(cell: str, expected: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"case": [cell], "dsc": [-0.25], "n": [-1], "ok": [True], "none": [None]})
    tables.write_table(table, tmp_path / "a.csv")
    read = pd.read_csv(tmp_path / "a.csv", keep_default_na=False, dtype={"case": str})
    assert read.iloc[0].to_list() == [expected, -0.25, -1, True, ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script&gt;"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("*a* _b_ case_1", r"\*a\* \_b\_ case_1"),
    ],
)
def test_markup_in_names_is_shown(text: str, expected: str) -> None:
    assert tables.markdown(text) == expected


def test_a_console_without_the_letters_prints_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cases/scan/file_names.py`: the whole cohort stopped at the first such name."""
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "latin-1"))
    console.ready_streams()
    console.set_verbosity(console.NORMAL)
    console.say("Müller 木 \udcfc: thigh")
    assert shown.getvalue() == b"M\xfcller \\u6728 \\udcfc: thigh\n"


# DICOM segmentations --------------------------------------------------------------------------


@pytest.fixture
def series(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).integers(1, 99, (12, 10, 3)).astype(np.int16)
    write(tmp_path / "series", series_images(data, np.diag([-2.0, -2, 5, 1])))
    return tmp_path / "series"


@pytest.mark.parametrize(
    "place",
    ["musclejax.app.one_scan.check_dicom_seg", "musclejax.reports.segmentation.save_dicom_seg"],
)
def test_where_no_dicom_segmentation_is_possible_the_rest_is_kept(
    place: str,
    series: Path,
    segment: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`cases/scan/dicom_seg_headers.py`: nothing was left of a whole segmentation."""
    pytest.importorskip("highdicom")

    def refuse(*_: Any) -> None:
        raise InputError("series", "no SOPClassUID", "complete DICOM headers")

    monkeypatch.setattr(place, refuse)
    result = segment(series, "--dicom-seg")
    assert result.exit_code == 0
    assert "warning: series: no DICOM segmentation: series: found no SOPClassUID" in result.stderr
    written = {p.name for p in (tmp_path / "out").glob("series_*")}
    assert written == {f"series_{k}" for k in (*KINDS, "report.html")}
    assert "no SOPClassUID" in record(tmp_path / "out", "series")["warnings"][-1]
    assert "no SOPClassUID" in (tmp_path / "out/series_muscles.csv").read_text()


def test_without_highdicom_no_segmentation_is_promised(
    series: Path, segment: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musclejax.app.segment.find_spec", lambda package: None)
    result = segment(series, "--dicom-seg")
    assert result.exit_code == 2
    assert "pip install 'musclejax[dicom]'" in result.stderr


# Processes and disks -----------------------------------------------------------------------------


def test_a_user_without_a_home_compiles_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no entry in the table of users, as in a container: platformdirs raises."""
    monkeypatch.setattr(process, "user_cache_path", lambda name: homeless())
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    process.configure(None)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def homeless() -> Path:
    raise RuntimeError("could not determine the home directory")


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="closes streams by a shell")
def test_no_home_no_terminal_and_no_reader(weights_folder: Path, tmp_path: Path) -> None:
    """Ours: streams closed, a pipe whose reader has gone, no home, a disk cache in nobody's."""
    for number in range(2):
        scan(tmp_path / "in" / f"{number}.nii.gz", number)
    arguments = ["segment", tmp_path / "in", "-o", tmp_path / "out", "--weights", weights_folder]
    shell = ["/bin/bash", "-c", 'exec "$@" 2>&- <&-', "bash"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*shell, sys.executable, "-m", "tests.pretend", *map(str, arguments)],
        stdout=writer,
        env={**os.environ, "HOME": "/proc/none", "XDG_CACHE_HOME": ""},
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert names(tmp_path / "out") == {"0", "1"}
    table = (tmp_path / "out/0_muscles.csv").read_text()
    assert table.startswith("muscle,")
    assert "thigh" not in table


def test_a_stage_of_a_process_at_work_is_left_alone(tmp_path: Path) -> None:
    """Two processes in one folder: the second removed what the first was writing."""
    with staging_folder(tmp_path, "a") as first:
        (first / "one.txt").write_text("1")
        with staging_folder(tmp_path, "a") as second:
            (second / "two.txt").write_text("2")
        assert (first / "one.txt").exists()
    assert contents(tmp_path) == {"one.txt": b"1", "two.txt": b"2"}


def test_what_a_kill_left_within_a_stage_is_not_moved_out(tmp_path: Path) -> None:
    """Of `write_json` into a stage: met by `tools/kill_segment.py`, one time in 50."""
    with staging_folder(tmp_path, "a") as stage:
        for name in ("a.txt", ".a.txt.12345678.partial.lock"):
            (stage / name).write_text("")
        (stage / ".a.txt.12345678.partial").mkdir()
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt"}


def test_what_others_left_without_locks_is_removed_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "has_locks", lambda folder: False)
    stage = tmp_path / ".a.12345678.partial"
    stage.mkdir()
    files.remove_abandoned(tmp_path, "a")
    assert stage.exists()
    old = time.time() - 2 * 86400
    os.utime(stage, (old, old))
    files.remove_abandoned(tmp_path, "a")
    assert not stage.exists()


def test_a_scan_that_another_process_segments_is_waited_for(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    """The other scans come first; then its results are there, or it is left to us."""
    for name in "ab":
        scan(tmp_path / "in" / f"{name}.nii.gz", ord(name))
    out = tmp_path / "out"
    out.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path\n"
            "from musclejax.files import transient_lock\n"
            "with transient_lock(Path(sys.argv[1]), wait=True):\n"
            "    print('held', flush=True)\n"
            "    for _ in range(3000):\n"  # half a minute: not for ever if b fails
            "        if Path(sys.argv[2]).exists(): break\n"
            "        time.sleep(0.01)",
            str(out / ".a.lock"),
            str(out / "b_run.json"),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    result = segment(tmp_path / "in")
    holder.wait()
    holder.stdout.close()
    assert result.exit_code == 0
    lines = [line.split(" ")[0] for line in result.stdout.splitlines()[1:]]
    assert lines == ["b:", "a:", "a:", "report:"]
    assert "a: another process segments it; waits for it" in result.stdout
    assert [p.name for p in out.glob(".*")] == [OWN]


def test_a_lock_that_is_held_is_reported(tmp_path: Path) -> None:
    file = tmp_path / ".a.lock"
    with transient_lock(file, wait=False) as first, transient_lock(file, wait=False) as second:
        assert (first, second) == (True, False)
    assert not file.exists()


@pytest.mark.parametrize("moved", [0, 3, 6])
@pytest.mark.parametrize("again", [False, True])
def test_a_kill_while_files_move_out_is_finished_later(
    moved: int,
    again: bool,
    segment: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever number of files was out: the next run finishes it, and computes nothing."""
    path, out = scan(tmp_path / "a.nii.gz"), tmp_path / "out"
    expected = segment(path, "-o", tmp_path / "whole")
    assert expected.exit_code == 0
    if again:
        segment(path)
    count = 0
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal count
        if self.parent.name.startswith(".a.") and self.parent.parent == out:
            count += 1
            if count > moved:
                # As a kill: what the process would still tidy up stays.
                patch.setattr("musclejax.files.shutil.rmtree", lambda *a, **k: None)
                raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        assert segment(path, "--overwrite").exit_code == (0 if moved == 6 else 130)
    monkeypatch.setattr(one_scan, "segment_steps", None)
    result = segment(path)
    assert (result.exit_code, "a: already done" in result.stdout) == (0, True)
    assert [p.name for p in out.glob(".*")] == [OWN]
    same = {f"a_{kind}" for kind in KINDS[:-1]}
    whole = contents(tmp_path / "whole")
    found = contents(out)
    assert {n: found[n] for n in same} == {n: whole[n] for n in same}
    assert run_record.foreign_files(out, "a", record(out, "a")) == []


def test_what_a_killed_run_left_of_a_scan_that_is_done_goes(
    segment: Callable[..., Result], tmp_path: Path
) -> None:
    path, out = scan(tmp_path / "a.nii.gz"), tmp_path / "out"
    segment(path)
    before = contents(out)
    (out / ".a.12345678.partial").mkdir()
    (out / ".a.12345678.partial" / "a_labels.nii.gz").write_text("half")
    (out / ".a.lock").write_text("")
    assert "a: already done" in segment(path).stdout
    assert contents(out) == before
    assert [p.name for p in out.glob(".*")] == [OWN]


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_the_cohort_with_a_line_a_scan(
    segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cases/reliability/disk_full.sh`: a line without a name, and each scan was computed."""
    computed, waited = [], []

    def counted(volume: Volume, *rest: Any) -> Any:
        computed.append(volume.name)
        return pretend_steps(volume, *rest)

    monkeypatch.setattr(one_scan, "segment_steps", counted)
    monkeypatch.setattr(one_scan.time, "sleep", waited.append)
    monkeypatch.setattr(segmentation, "draw", full)
    for name in "abc":
        scan(tmp_path / "in" / f"{name}.nii.gz", ord(name))
    result = segment(tmp_path / "in")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed")]
    assert lines[0] == f"failed: {tmp_path}/in/a.nii.gz: No space left on device"
    assert [name in line for name, line in zip("bc", lines[1:], strict=True)] == [True, True]
    assert computed == ["a"]
    assert sum(waited) == 60
    assert names(tmp_path / "out") == set()
    assert [p.name for p in (tmp_path / "out").glob(".*")] == [OWN]


def test_a_disk_that_is_full_for_a_moment_costs_nothing(
    segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([full, full, pretend_picture])
    monkeypatch.setattr(segmentation, "draw", lambda *a: next(calls)(*a))
    monkeypatch.setattr(one_scan.time, "sleep", lambda seconds: None)
    result = segment(scan(tmp_path / "a.nii.gz"))
    assert result.exit_code == 0
    assert result.stderr.count("no space left; waits 60 s for room") == 1


def test_too_little_room_is_told_before_anything_is_computed(
    segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(10, 9, 2**20)
    monkeypatch.setattr(one_scan.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(one_scan, "segment_steps", None)
    result = segment(scan(tmp_path / "a.nii.gz"))
    assert result.exit_code == 1
    assert "found 1.0 MiB free on its disk; accepted: 4.0 MiB" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        MemoryError(),
        InputError("weights x", "a", "b"),
        RuntimeError("odd"),
    ],
)
def test_a_failure_names_the_scan(error: Exception) -> None:
    line = failure(Scan(Path("in/x.nii.gz"), "x"), error).line
    assert line.startswith("failed: in/x.nii.gz: ")
    assert not line.endswith(": ")


def test_an_error_cites_at_most_500_characters_of_each_part() -> None:
    """Of 100,000 in a --set value, a header of a table or a key; the ends say which it is."""
    line = str(InputError("key", "first" + "x" * 100_000 + "last", "a\tnumber", "Shorten it."))
    assert line.startswith("key: found first")
    assert line.endswith("last; accepted: a\\tnumber. Shorten it.")
    assert len(line) < 560


def test_ctrl_c_that_a_library_swallows_ends_the_command(
    segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a callback from native code it is only printed, or becomes an error of one scan."""

    def swallowing(volume: Volume, *rest: Any) -> Any:
        yield Stage("network")
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            pass
        return (yield from pretend_steps(volume, *rest))

    def turning(volume: Volume, *rest: Any) -> Any:
        yield Stage("network")
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            raise RuntimeError("INTERNAL: callback") from None

    for steps in (swallowing, turning):
        monkeypatch.setattr(one_scan, "segment_steps", steps)
        result = segment(scan(tmp_path / "a.nii.gz"), scan(tmp_path / "b.nii.gz", 1))
        assert result.exit_code == stop.STOPPED
        assert "stopped; scans that are done are in" in result.stderr
        assert names(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("folder", "private"),
    [("~/.cache", False), ("/proc/none", False), ("own", True)],
)
def test_compiled_functions_are_kept_in_a_private_folder_only(
    folder: str, private: bool, tmp_path: Path
) -> None:
    path = tmp_path / folder if folder == "own" else Path(folder)
    assert process.is_private(path) == private
    if private:
        assert path.stat().st_mode & 0o777 == 0o700


EXAMPLE = Path(__file__).parents[1] / "examples" / "huashan_thigh"


@pytest.mark.parametrize(
    ("command", "output"),
    [
        # cases/train/13_output_cannot_be_written.py: tracebacks
        (("weights", "init", "--variant", "compact4"), ""),
        (("weights", "export", "RUN"), ""),
        (("import-keras", "--thigh", "weights.hdf5"), ""),
        (("dataset", "check", EXAMPLE), "x.csv"),
        (("dataset", "show", "--data", EXAMPLE), "x.png"),
    ],
)
def test_a_place_that_cannot_be_written_is_reported_before_any_work(
    command: tuple[object, ...], output: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = call(*command, "-o", tmp_path / "file" / output)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "which cannot be written" in result.stderr


def test_warnings_stand_in_the_tables(
    segment: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def warned(volume: Volume, *rest: Any) -> Any:
        result = yield from pretend_steps(volume, *rest)
        return replace(result, warnings=("one; a", "=two"))

    monkeypatch.setattr(one_scan, "segment_steps", warned)
    result = segment(scan(tmp_path / "a.nii.gz"))
    for kind in ("muscles", "slices"):
        table = pd.read_csv(tmp_path / f"out/a_{kind}.csv")
        assert table.columns[-1] == "warnings"
        assert set(table["warnings"]) == {"one; a; =two"}
    assert record(tmp_path / "out", "a")["warnings"] == ["one; a", "=two"]
    assert "warning: a: one; a" in result.stderr


def test_a_terminal_is_closed_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    silenced: list[int] = []
    monkeypatch.setattr(console.click, "echo", lambda *a, **k: full())
    monkeypatch.setattr(console, "_silence", silenced.append)
    console.say("a")
    console.warn("b")
    assert silenced == [1, 2]
