"""Nobody meets half a file."""

from pathlib import Path

import pytest

from musclejax.files import staging_folder, write_json


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging_folder(tmp_path / "out", "scan") as stage:
        (stage / "a.txt").write_text("half")
        raise RuntimeError
    assert list((tmp_path / "out").iterdir()) == []


def test_files_appear_together_and_the_last_is_last(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("old")
    with staging_folder(tmp_path, "scan", last="run.json") as stage:
        (stage / "z.txt").write_text("new")
        (stage / "run.json").write_text("new")
        assert (tmp_path / "run.json").read_text() == "old"
        assert not (tmp_path / "z.txt").exists()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "z.txt": "new",
        "run.json": "new",
    }


def test_json_replaces_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"b": 2})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 2\n}\n'


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    """Only its own: the scan `a` must not touch the folder of a running scan `a-b`."""
    for name in (".a.12345678.partial", ".a-b.12345678.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.nii.gz").write_text("half")
    with staging_folder(tmp_path, "a") as stage:
        (stage / "a.txt").write_text("whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", ".a-b.12345678.partial"}
