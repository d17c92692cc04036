"""The page of a cohort: what it says, what it leaves out, names that are markup, bad input, memory.

Origin of the numbers: by hand, from scans whose tables `tests.cohorts.scan` writes.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from musclejax.app.cohort import CohortTables
from musclejax.cli.main import main
from musclejax.errors import InputError
from musclejax.files import transient_lock
from musclejax.reports import citation
from musclejax.reports.cohort_tables import Failure, write_cohort_tables
from musclejax.reports.pages import plots
from musclejax.reports.pages.cohort import write_cohort_page
from musclejax.reports.pages.muscle_summary import draw_levels, read_summary
from musclejax.reports.pages.plots import Series, draw_boxes, draw_lines
from musclejax.reports.pages.render import write_page
from musclejax.reports.review import read_remarks, read_review
from musclejax.scan.source import is_output
from tests import pages
from tests.cohorts import WARNING, peak_memory, repeat, scan

ROOT = Path(__file__).parents[1]


class Page(pages.Page):
    """A page of a cohort: its data, too."""

    @property
    def review(self) -> Any:
        return next(json.loads(text) for text in self.scripts if text.startswith('{"marks"'))

    def column(self, title: str, table: str = "scans") -> list[str]:
        return super().column(title, table)


def page_of(folder: Path, *failures: Failure) -> Page:
    write_cohort_tables(folder, failures)
    path = write_cohort_page(folder)
    assert path is not None
    return Page(path)


def test_what_needs_a_look_comes_first(tmp_path: Path) -> None:
    low = "low estimated DSC, look at left VL (0.41)"
    scan(tmp_path, "a", flagged={})
    scan(tmp_path, "b", flagged={"left VL": 0.41, "left VM": 0.6}, warnings=[WARNING, low])
    scan(tmp_path, "c", flagged={"left VL": 0.41}, scan_sha256="77")
    scan(tmp_path, "d", flagged={"left VL": 0.3})
    scan(tmp_path, "e", flagged={}, warnings=[WARNING, "upside down"])
    scan(tmp_path, "f", flagged={"right AL": 0.2})
    for name in "bf":
        (tmp_path / f"{name}_qc.png").touch()
    (tmp_path / "b_report.html").touch()
    marks = "f,,right,\na,,to correct,AL\ne,1,to correct,\ne,0,to correct,\nb,0,right,\ng,,right,\n"
    (tmp_path / "review.csv").write_text(f"scan,slice,mark,comment\n{marks}")
    page = page_of(tmp_path, Failure("g", "g.nii: found nothing", "g"))
    first = page.text[
        page.text.index("Look at these first") : page.text.index("Failed scans, then")
    ]
    assert " ".join(first.split()) == (
        "Look at these first "
        "g: failed: g.nii: found nothing "
        "a: marked to correct “AL” "
        "e: slices 0, 1 marked to correct upside down "
        "b (picture): low estimated DSC: left VL (0.41), left VM (0.60) "
        "d: low estimated DSC: left VL (0.30) "
        "c: low estimated DSC: left VL (0.41)"
    )
    assert "About all scans" in page.text  # the warning that all have
    assert page.column("scan") == list("abcdefg")
    assert page.column("low DSC") == ["", "0.41", "0.41", "0.30", "", "0.20", ""]
    assert page.column("warnings") == ["", "", "", "", "1", "", ""]
    assert page.column("status") == ["done"] * 6 + ["failed"]
    assert page.column("mark") == ["to correct", "", "", "", "", "right", "right"]
    assert page.column("comment")[0] == "AL"
    assert page.column("seconds")[0] == "12.5"
    assert {"b_report.html", "b_qc.png", "f_qc.png", "scans.csv"} < {*page.links}
    assert "a_qc.png" not in page.links
    assert page.review["scans"][2:4] == [["c", "77"], ["d", ""]]
    assert page.review["scans"][-1] == ["g", None]  # nothing of it can be reviewed
    assert page.review["remarks"][1] == ["a", None, "to correct", "AL", "review.csv"]
    facts = re.findall(r"(Scans|Failed|With flagged muscles|Reviewed)(\d[\d of]*)", page.text)
    assert dict(facts) == {
        "Scans": "7", "Failed": "1", "With flagged muscles": "4", "Reviewed": "2 of 6",
    }  # fmt: skip
    assert [c for c in page.tables["scans"][0] if c in ("subject", "visit")] == []


def test_names_are_texts(tmp_path: Path) -> None:
    """Markup, quotes, an end of a script, addresses, bytes that are not UTF-8."""
    bad = '"><script>alert(1)</script>'
    name = "javascript:a#b?c%41<b>&"
    scan(tmp_path, name, subject=bad, series={"kind": bad}, warnings=["</script><b>"])
    scan(tmp_path, os.fsdecode(b"\xff"), subject="=cmd", weights="<i>")
    (tmp_path / f"{name}_qc.png").touch()
    (tmp_path / "review.csv").write_text(f'scan,mark,slice,comment\n"{name}",,,</script>\n')
    page = page_of(tmp_path, Failure(bad.replace("/", "-"), bad))
    assert "javascript%3Aa%23b%3Fc%2541%3Cb%3E%26_qc.png" in page.links
    assert {bad, "=cmd"} < {*page.column("subject")}
    assert bad in page.column("image")
    assert len(page.scripts) == 5  # ours
    assert page.review["remarks"] == [[name, None, "", "</script>", "review.csv"]]


def test_muscles_and_plots(tmp_path: Path) -> None:
    for number in range(6):
        at = {"subject": f"p{number // 2}", "visit": f"0{1 + number % 2}"}
        scan(tmp_path, f"s{number}", (100 + number, 0), (0.1, 0.2), fat_fraction={"x": 1}, **at)
    page = page_of(tmp_path)
    titles, row = page.tables["muscle-summary"]
    found = dict(zip(titles, row, strict=True))
    assert found["volume left, ml"] == "102.5 (101.2 to 103.8)"  # of 100 to 105
    assert found["scans"] == "6"
    assert found["FF right, %"] == "20.0 (20.0 to 20.0)"
    assert found["truncated"] == "0"
    assert found["volume left change, %"] == "1.0 (1.0 to 1.0)"
    assert "volume right, ml" not in found  # out of view
    shown = set(re.findall(r"Thigh: ([a-z ,]+)", page.text))
    assert shown == {
        "volume of muscles, ml", "fat fraction, ", "change of volume since the first visit, ",
        "change of fat fraction since the first visit, points",
    }  # fmt: skip
    assert "Left above right, 6 scans of 3 subjects." in page.text
    assert "Visits6 Subjects with several visits3" in " ".join(page.text.split())
    rows = next(json.loads(t) for t in page.scripts if t.startswith('{"figures"'))["rows"]
    assert rows[1][:9] == ["thigh", "VL", "p0", "02", "s1", False, 101.0, None, None]


def test_places_of_boxes_and_lines() -> None:
    values = np.arange(101.0)
    many, few = (
        draw_boxes("x", "t", "c", " ml", [("VL", [Series("left", v), Series("right", v[:0])])])
        for v in (values, values[:101:25])
    )
    assert many is not None
    assert few is not None
    [box], [other] = many.rows[0].boxes, few.rows[0].boxes
    zero, hundred = (tick.at for tick in many.ticks if tick.label in ("0", "80"))
    scale = (hundred - zero) / 80
    assert many.zero == zero == plots.LABELS
    np.testing.assert_allclose(
        box.quantiles, zero + scale * np.array([5, 25, 50, 75, 95]), atol=0.2
    )
    assert box.dots == ()
    assert box.text == "VL left: 50.0 (25.0 to 75.0) ml, n = 101"
    assert len(other.dots) == len(other.quantiles) == 5
    assert draw_boxes("x", "t", "c", "", [("VL", [Series("left", values[:0])])]) is None
    three = draw_boxes("x", "t", "c", "", [("VL", [Series("both", values[:3])])])
    assert three is not None
    assert three.rows[0].boxes[0].quantiles == ()
    points = np.array([[0.2, 1, 2, 3], [0.4, 2, 3, 4]])
    lines = draw_lines("x", "t", "c", [("a", points), ("b", points)], [(0.3, "here"), (1.0, "no")])
    assert lines is not None
    assert [tick.label for tick in lines.ticks] == ["here"]
    heights = [line.end[1] for line in lines.lines]
    assert abs(heights[0] - heights[1]) >= 13  # their names stand apart


def test_fat_fraction_by_level(tmp_path: Path) -> None:
    columns = "muscle,kind,level,fat_fraction"
    rows = [f"quadriceps,group,{level},{fat}" for level in (0.3, 0.5) for fat in (0.1, 0.2, 0.3)]
    (tmp_path / "a_slices.csv").write_text("\n".join([columns, *rows, "VL,muscle,0.3,0.9"]))
    (tmp_path / "b_slices.csv").write_text("other\n")
    plot = draw_levels(tmp_path, [("a", "thigh"), ("b", "thigh"), ("gone", "leg")])
    assert plot is not None
    assert [line.name for line in plot.lines] == ["quadriceps"]
    assert len(plot.lines[0].points.split()) == 2
    assert "over the slices of 3 scans" in plot.caption
    assert draw_levels(tmp_path, [("b", "thigh")]) is draw_levels(tmp_path, []) is None


def test_what_is_damaged_or_gone_is_told(tmp_path: Path) -> None:
    scan(tmp_path, "a")
    (tmp_path / "b_run.json").write_text("{")
    (tmp_path / "c_run.json").write_text('{"scan": 3, "warnings": 1, "flagged": 2, "settings": []}')
    (tmp_path / "review.csv").write_text("scan,slice,mark\na,,wrong\n")
    page = page_of(tmp_path)
    assert page.column("status") == ["done", "failed", "done"]
    assert "its run record is damaged" in page.text
    assert "the marks are not shown: " in page.text
    edited = pd.read_csv(tmp_path / "summary.csv", dtype=str).assign(volume_asymmetry_pct="-inf")
    edited.to_csv(tmp_path / "summary.csv", index=False)
    assert (summary := read_summary(tmp_path)) is not None
    assert summary["volume_asymmetry_pct"].isna().all()  # browsers cannot read infinity
    (tmp_path / "summary.csv").write_text("a,b\n1,2\n")
    (tmp_path / "review.csv").unlink()
    page = page_of(tmp_path)
    assert "summary.csv is gone, or another table" in page.text
    assert "muscle-summary" not in page.tables
    assert read_summary(tmp_path / "nowhere") is None


def test_marks_of_records_and_reviews_that_contradict(tmp_path: Path) -> None:
    scan(tmp_path, "a", reviewed=True)
    scan(tmp_path, "b")
    (tmp_path / "b_review.csv").write_text("scan,slice,mark,comment\nb,3,unusable,'=x\nb,,right,\n")
    page = page_of(tmp_path)
    assert page.column("mark") == ["right", "right"]
    assert [r.comment for r in read_remarks(tmp_path)] == ["=x", ""]
    (tmp_path / "review.csv").write_text("scan,slice,mark\nb,,unusable\nb,3,unusable\n")
    with pytest.raises(InputError) as error:
        read_review(tmp_path)
    assert str(error.value).endswith(
        "b_review.csv: found row 3, a second mark of b: unusable (row 2 of review.csv) and right; "
        "accepted: one mark. Remove the older row, or file."
    )
    assert "a second mark of b" in page_of(tmp_path).text
    assert is_output("report.html")
    assert is_output("b_review.csv")


def test_a_page_that_is_not_ours_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(tmp_path, "a")
    page = tmp_path / "report.html"
    page.write_text("<p>mine</p>")
    tables = CohortTables(tmp_path)
    tables.add()
    assert tables.close() is None
    assert page.read_text() == "<p>mine</p>"
    assert capsys.readouterr().err.count("a file that musclejax did not write") == 1
    assert (tmp_path / "scans.csv").exists()
    page.unlink()
    assert CohortTables(tmp_path, page=False).close() is None
    assert CohortTables(tmp_path).close() == page
    with transient_lock(tmp_path / ".report.lock", wait=False):
        assert write_cohort_page(tmp_path, wait=False) is None  # left to the process that writes it


def test_a_page_that_cannot_be_written_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("musclejax.app.cohort.write_cohort_page", refuse)
    assert CohortTables(tmp_path).close() is None
    told = capsys.readouterr().err
    assert (
        told
        == "warning: the tables and page of the cohort are not written (Read-only file system)\n"
    )


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        scan(tmp_path, name)
    written: list[str] = []

    def write(folder: Path, name: str) -> None:
        if name == "b":
            raise InputError("b_labels.nii.gz", "no such file", "a label map")
        write_page(folder / f"{name}_report.html", "base.html", title=name)
        written.append(name)

    monkeypatch.setattr("musclejax.app.report.write_scan_page", write)

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["report", *arguments])
        return result.exit_code, result.output

    code, told = call(str(tmp_path))
    assert code == 1
    assert "failed: b: b_labels.nii.gz: found no such file" in told
    assert f"report: {tmp_path / 'report.html'}" in told
    assert "a_report.html" in Page(tmp_path / "report.html").links
    call(str(tmp_path))
    assert written == ["a"]  # it is newer than its record
    os.utime(tmp_path / "a_run.json", (2**31, 2**31))
    call(str(tmp_path), "--no-scans")
    assert written == ["a"]
    call(str(tmp_path))
    assert written == ["a", "a"]
    (tmp_path / "a_report.html").write_text("<p>mine</p>")
    assert call(str(tmp_path))[0] == 1
    assert written == ["a", "a"]
    (tmp_path / "empty").mkdir()
    assert call(str(tmp_path / "empty"))[1].startswith("Error: ")
    assert "no results of segment" in call(str(tmp_path / "empty"))[1]
    assert "no such folder" in call(str(tmp_path / "nowhere"))[1]
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    assert "cannot be written" in call(str(tmp_path))[1]


def test_citation_is_that_of_the_file() -> None:
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    [paper] = known["references"]
    assert paper["doi"] == citation.PAPER_DOI
    for text in (paper["title"], paper["journal"], f"{paper['year']};{paper['volume']}"):
        assert text in citation.PAPER
    assert all(author["family-names"] in citation.PAPER for author in paper["authors"])
    for text in (known["title"], known["version"], known["license"]):
        assert text in citation.SOFTWARE


def test_memory_grows_by_names_and_figures_only(tmp_path: Path) -> None:
    """4 kB per scan, whose rows of the page and records are not held."""
    scan(tmp_path, "s0", fat=(0.1, 0.2))
    peaks = []
    for numbers in (range(1, 50), range(50, 400)):
        repeat(tmp_path, numbers)
        write_cohort_tables(tmp_path)
        peaks.append(peak_memory(lambda: write_cohort_page(tmp_path)))
    assert len(pd.read_csv(tmp_path / "scans.csv")) == 400
    assert peaks[1] - peaks[0] < 350 * 4000
