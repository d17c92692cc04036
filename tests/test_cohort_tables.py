"""The tables of a cohort: rows, columns, summary, files that are not ours, memory.

Origin of the numbers: by hand, from scans whose tables `tests.cohorts.scan` writes.
"""

import os
from pathlib import Path

import pandas as pd
import pytest

from musclejax.app.cohort import CohortTables
from musclejax.prediction.grades import GOUTALLIER, MERCURI, grade
from musclejax.prediction.measurement import MUSCLE_COLUMNS, SLICE_COLUMNS
from musclejax.reports.cohort_tables import (
    SCAN_COLUMNS,
    SUMMARY_COLUMNS,
    Failure,
    write_cohort_tables,
)
from musclejax.scan.source import COHORT_TABLES, is_output
from tests.cohorts import WARNING, peak_memory, repeat, scan


def read(folder: Path, kind: str) -> pd.DataFrame:
    text = {"subject": str, "visit": str, "first_visit": str}
    return pd.read_csv(folder / f"{kind}.csv", dtype=text, keep_default_na=False)


def test_rows_and_columns_of_all_scans(tmp_path: Path) -> None:
    scan(tmp_path, "s2_a", subject="s2", visit="10", series={"kind": "in phase"})
    scan(tmp_path, "s2_b", subject="s2", visit="2", further="T2_mean")
    scan(tmp_path, "s10", corrected={"by": "a person"}, fat_fraction={"synthesized": True})
    failures = [Failure("s1", "s1.nii: found nothing"), Failure("bad", "=cmd", "s3", "1")]
    assert write_cohort_tables(tmp_path, failures) == []
    scans = read(tmp_path, "scans")
    assert list(scans) == SCAN_COLUMNS
    assert scans[["subject", "visit", "scan", "status"]].to_numpy().tolist() == [
        ["s1", "", "s1", "failed"],
        ["s2", "2", "s2_b", "done"],
        ["s2", "10", "s2_a", "done"],
        ["s3", "1", "bad", "failed"],
        ["s10", "", "s10", "corrected"],
    ]
    assert scans["reason"].tolist() == ["s1.nii: found nothing", "", "", "'=cmd", ""]
    assert scans["image_kind"].tolist() == ["", "other", "in phase", "", "synthesized"]
    done = scans[scans["scan"] == "s2_a"].iloc[0]
    assert done[["region", "slices", "seconds", "flagged", "warnings"]].tolist() == [
        *("thigh", "2", "12.5", "1", WARNING),
    ]
    for kind, own in (("muscles", MUSCLE_COLUMNS), ("slices", SLICE_COLUMNS)):
        table = read(tmp_path, kind)
        assert list(table) == [
            *("subject", "visit", "scan", "region", "image_kind"),
            *own[:-1],
            *("T2_mean", "warnings", "musclejax", "weights"),
        ]
        assert table["scan"].tolist() == ["s2_b"] * 2 + ["s2_a"] * 2 + ["s10"] * 2
        assert table["T2_mean"].tolist() == ["7"] * 2 + [""] * 4
        assert set(table["warnings"]) == {WARNING}
        assert set(table["musclejax"].astype(str) + table["weights"]) == {"0.1phantom"}


def test_a_scan_is_never_lost(tmp_path: Path) -> None:
    """A damaged record or table, one of an earlier version, line breaks of a spreadsheet."""
    scan(tmp_path, "a")
    scan(tmp_path, "b")
    (tmp_path / "c_run.json").write_text("{")
    text = (tmp_path / "b_muscles.csv").read_text().replace("\n", "\r\n")
    (tmp_path / "b_muscles.csv").write_bytes(text.encode())
    (tmp_path / "a_muscles.csv").write_text("muscle,side,volume_ml\nVL,left,3\nVL\n")
    (tmp_path / "a_slices.csv").unlink()
    write_cohort_tables(tmp_path)
    scans = read(tmp_path, "scans")
    assert scans["status"].tolist() == ["done", "done", "failed"]
    assert scans["reason"].tolist()[2] == "its run record is damaged"
    muscles = read(tmp_path, "muscles")
    assert muscles["scan"].tolist() == ["a", "a", "b", "b"]
    assert muscles["volume_ml"].tolist() == ["3", "", "100.0000", "80.0000"]
    assert muscles["warnings"].tolist() == ["", "", WARNING, WARNING]
    assert read(tmp_path, "slices")["scan"].tolist() == ["b", "b"]


def test_the_summary_compares_sides_and_visits(tmp_path: Path) -> None:
    scan(tmp_path, "a1", (100, 80), (0.2, 0.35), subject="a", visit="ses-2")
    scan(tmp_path, "a2", (90, 0), (0.25, float("nan")), subject="a", visit="ses-10")
    scan(tmp_path, "b1", (50, 50), subject="b", visit="ses-1")
    write_cohort_tables(tmp_path)
    table = read(tmp_path, "summary")
    assert list(table) == SUMMARY_COLUMNS
    assert table["scan"].tolist() == ["a1", "a2", "b1"]
    assert table["volume_asymmetry_pct"].tolist() == ["22.2222", "", "0.0000"]
    assert table["fat_fraction_asymmetry_pct"].tolist() == ["-54.5455", "", ""]
    assert table["first_visit"].tolist() == ["", "ses-2", ""]
    assert table["volume_left_change_pct"].tolist() == ["", "-10.0000", ""]
    assert table["volume_right_change_pct"].tolist() == ["", "", ""]
    assert table["fat_fraction_left_change_pp"].tolist() == ["", "5.0000", ""]
    assert table["mercuri_left"].tolist() == ["2", "2", ""]
    assert table["goutallier_right"].tolist() == ["2", "", ""]
    assert table["flag"].tolist() == [True] * 3
    assert table["truncated"].tolist() == [False] * 3


def test_changes_are_those_of_one_person_and_one_place(tmp_path: Path) -> None:
    for visit, volumes in (("1", (100, 80)), ("2", (110, 80))):
        for subject in ("P1", "P01"):  # of one number
            scan(tmp_path, f"{subject}_{visit}", volumes, subject=subject, visit=visit)
        for place, size in (("hip", 1.0), ("knee", 0.5)):
            at = {"subject": "S", "visit": visit, "series": {"description": f"ses-{visit}_{place}"}}
            scan(tmp_path, f"S_{visit}_{place}", (volumes[0] * size, 80), **at)
    scan(tmp_path, "S_3", (99, 80), subject="S", visit="3")  # of two places: no telling which
    write_cohort_tables(tmp_path)
    changes = read(tmp_path, "summary").set_index("scan")["volume_left_change_pct"].to_dict()
    later = {name: change for name, change in changes.items() if "_1" not in name}
    assert later == {
        **dict.fromkeys(("P1_2", "P01_2", "S_2_hip", "S_2_knee"), "10.0000"), "S_3": ""
    }  # fmt: skip


def test_edited_tables_of_scans_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        scan(tmp_path, name, files={f"{name}_muscles.csv": "of before"})
    table = tmp_path / "a_muscles.csv"
    table.write_text(table.read_text().replace(",", ";"))
    CohortTables(tmp_path).close()
    assert "edited since" in (told := capsys.readouterr().err)
    assert all(f"{name}_muscles.csv" in told for name in ("a", "b"))
    found = read(tmp_path, "muscles")
    assert found["scan"].tolist() == ["b", "b"]
    assert list(found)[5:-2] == MUSCLE_COLUMNS


def test_what_a_crash_leaves_of_a_table(tmp_path: Path) -> None:
    """Zeros in place of its contents or of its end; and a row without its last cells."""
    for name in ("head", "tail", "row"):
        scan(tmp_path, name, files={f"{name}_muscles.csv": "as it was written"})
    zeros = "\0" * 200_000
    (tmp_path / "head_muscles.csv").write_text(zeros)
    with (tmp_path / "tail_muscles.csv").open("a") as file:
        file.write(zeros)
    table = tmp_path / "row_muscles.csv"
    titles, left, _ = table.read_text().splitlines()
    table.write_text("\n".join([titles, ",".join(left.split(",")[:7])]))
    assert len(write_cohort_tables(tmp_path)) == 3
    [row] = read(tmp_path, "muscles").to_dict("records")
    assert [row[title] for title in ("scan", "muscle", "weights", "warnings")] == [
        *("row", "VL", "phantom", ""),
    ]


@pytest.mark.parametrize(
    ("fat", "mercuri", "goutallier"),
    [
        (-0.02, "0 or 1", "0 or 1"), (0.1, "2", "2"), (0.3, "3", "2"), (0.4, "3", "3"),
        (0.6, "4", "4"), (1.01, "4", "4"), (float("nan"), "", ""),
    ],
)  # fmt: skip
def test_grades(fat: float, mercuri: str, goutallier: str) -> None:
    assert (grade(fat, MERCURI), grade(fat, GOUTALLIER)) == (mercuri, goutallier)


def test_what_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(tmp_path, "a")
    (tmp_path / "scans.csv").write_text("a person's list\n")
    assert write_cohort_tables(tmp_path) == [tmp_path / "scans.csv"]
    assert {p.name for p in tmp_path.glob("*") if is_output(p.name)} >= {*COHORT_TABLES}
    assert (tmp_path / "scans.csv").read_text() == "a person's list\n"
    scan(tmp_path, "b")
    with (tmp_path / "summary.csv").open("a") as file:
        file.write("a remark\n")
    os.utime(tmp_path / "muscles.csv", (1, 1))  # copied: the same contents at another time
    foreign = write_cohort_tables(tmp_path)
    assert [path.name for path in foreign] == ["scans.csv", "summary.csv"]
    assert (tmp_path / "summary.csv").read_text().endswith("a remark\n")
    assert set(read(tmp_path, "muscles")["scan"]) == {"a", "b"}
    for path in foreign:
        path.unlink()
    assert write_cohort_tables(tmp_path) == []
    assert set(read(tmp_path, "summary")["scan"]) == {"a", "b"}

    # Killed while they move out: both the old and the new ones are ours.
    scan(tmp_path, "c")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("musclejax.files.publish", die)
        with pytest.raises(KeyboardInterrupt):
            write_cohort_tables(tmp_path)
    assert set(read(tmp_path, "scans")["scan"]) == set("ab")
    assert write_cohort_tables(tmp_path) == []
    assert set(read(tmp_path, "scans")["scan"]) == set("abc")
    (tmp_path / ".cohort_tables.json").write_text('{"files": {"scans.csv": [3]}}')
    assert len(write_cohort_tables(tmp_path)) == 4  # nothing says whose they are


def test_tables_of_the_same_scans_are_not_written_again(tmp_path: Path) -> None:
    scan(tmp_path, "a")
    write_cohort_tables(tmp_path, [Failure("x", "no scan")])
    before = (tmp_path / "slices.csv").stat().st_ino
    write_cohort_tables(tmp_path, [Failure("x", "no scan")])
    assert (tmp_path / "slices.csv").stat().st_ino == before
    scan(tmp_path, "b", reviewed=True)
    os.utime(tmp_path / "b_run.json", (2**31, 2**31))
    write_cohort_tables(tmp_path, [Failure("b", "edited")], keep_failed=True)
    scans = read(tmp_path, "scans")
    assert scans[["scan", "status", "reviewed", "reason"]].to_numpy().tolist() == [
        ["a", "done", "False", ""], ["b", "failed", "True", "edited"],
        ["x", "failed", "", "no scan"],
    ]  # fmt: skip
    write_cohort_tables(tmp_path, keep_failed=True)
    assert read(tmp_path, "scans")["status"].tolist() == ["done", "done", "failed"]
    write_cohort_tables(tmp_path)
    assert read(tmp_path, "scans")["scan"].tolist() == ["a", "b"]


def test_tables_and_page_take_a_tenth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []

    def write(*_: object, **__: object) -> list[Path]:
        written.append(now[0])
        now[0] += 1.5
        return []

    def write_page(*_: object, **__: object) -> None:
        now[0] += 0.5

    monkeypatch.setattr("musclejax.app.cohort.write_cohort_tables", write)
    monkeypatch.setattr("musclejax.app.cohort.write_cohort_page", write_page)
    tables = CohortTables(tmp_path, clock=lambda: now[0])
    for _ in range(50):
        now[0] += 1
        tables.add()
    assert written[:2] == [1, 21]
    assert 2 * len(written) <= 0.11 * now[0]
    tables.close()
    assert written[-1] == now[0] - 2


def test_memory_grows_by_the_names_of_scans_only(tmp_path: Path) -> None:
    """A kilobyte per scan, whose tables have five here and a hundred in life."""
    scan(tmp_path, "s0", fat=(0.1, 0.2))
    peaks = []
    for numbers in (range(1, 100), range(100, 1000)):
        repeat(tmp_path, numbers)
        peaks.append(peak_memory(lambda: write_cohort_tables(tmp_path)))
    assert len(read(tmp_path, "scans")) == 1000
    assert peaks[1] - peaks[0] < 900 * 1024
