"""The page of a scan: its voxels, what it says and leaves out, names that are markup, bad input.

What a browser makes of it: `tests/browser`. Origin of the numbers: by hand, from small scans.
"""

import ast
import base64
import gzip
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from musclejax.anatomy import NUMBERINGS, REGIONS
from musclejax.app import one_scan
from musclejax.app.scan_page import write_page_of
from musclejax.cli.main import main
from musclejax.errors import InputError
from musclejax.prediction.result import Segmentation
from musclejax.reports import segmentation
from musclejax.reports.pages import scan as scan_page
from musclejax.reports.pages.render import STATIC
from musclejax.reports.pages.scan import write_scan_page
from musclejax.reports.pages.scan_image import RIGHT, Shown, pack, read_shown
from musclejax.reports.pages.scan_tables import slice_facts
from musclejax.reports.pages.viewer_commands import commands
from musclejax.reports.review import COLUMNS
from musclejax.reports.run_record import read_record
from tests.pretend import pretend_picture, pretend_steps
from tests.scan_pages import SLICES, results, scan
from tests.test_report_cohort import Page

NAME = "=cmd <b>\"'\N{GRINNING FACE}"
SCRIPT = "</script><script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_contact_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "draw", pretend_picture)


@pytest.fixture
def done(tmp_path: Path) -> tuple[Path, Segmentation]:
    """A folder with the results of one scan, and what they are."""
    return tmp_path / "out", results(tmp_path / "out", scan(), flagged={"left AL": 0.61})


def notes(page: Path) -> str:
    """Return what a page says about itself."""
    text = page.read_text("utf-8")
    found = re.search(r"<h2>About this page</h2><ul>(.*?)</ul>", text, re.DOTALL)
    return found[1] if found else ""


def data_of(page: Path) -> dict[str, Any]:
    return json.loads(next(s for s in Page(page).scripts if s.lstrip().startswith('{"')))


def nifti(packed: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed)))


@pytest.mark.parametrize(("axes", "turn"), [("RAS", (0, 0)), ("IAR", (0, 0)), ("PSL", (20, 12))])
def test_packed_voxels_are_those_of_the_file(axes: str, turn: tuple[float, float]) -> None:
    volume, labels = scan(axes, turn)
    sides = np.where(labels % 2, np.uint8(1), np.uint8(2))
    packed = pack(Shown(volume, labels, sides))
    image, codes = nifti(packed.image), nifti(packed.labels)
    for one in (image, codes):
        np.testing.assert_allclose(one.affine, volume.affine, atol=1e-4)
        assert one.header["sform_code"] > 0
        np.testing.assert_allclose(one.header.get_zooms(), volume.spacing_mm, rtol=1e-6)
    grays = np.asarray(image.dataobj).astype(float)
    white = 255 * packed.step
    np.testing.assert_allclose(
        grays * packed.step, np.minimum(volume.data, white), atol=0.51 * packed.step
    )
    right = NUMBERINGS["sides"](REGIONS["thigh"].muscles[0], 1) - 1
    assert right == RIGHT
    expected = np.where((labels > 0) & (sides == 2), labels + right, labels)
    assert (np.asarray(codes.dataobj) == expected).all()


@pytest.mark.parametrize(("axes", "turn"), [("RAS", (0, 0)), ("IAR", (0, 0)), ("PSL", (20, 12))])
def test_a_part_lies_where_it_does_in_the_whole(axes: str, turn: tuple[float, float]) -> None:
    shown = Shown(*scan(axes, turn), np.ones_like(scan(axes, turn).labels))
    whole = np.asarray(nifti(pack(shown).image).dataobj)
    part = pack(shown, (slice(10, 60), slice(5, 25)))
    image, codes = nifti(part.image), nifti(part.labels)
    assert sorted(image.shape) == sorted((50, 20, SLICES))
    box = tuple(slice(n, n + size) for n, size in zip(part.first, image.shape, strict=True))
    assert (np.asarray(image.dataobj) == whole[box]).all()
    assert (np.asarray(codes.dataobj) == shown.labels[box]).all()
    place = shown.volume.affine @ [*part.first, 1]
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], place, atol=1e-3)
    corner = shown.volume.lps.affine @ [10, 5, 0, 1]  # one of its corners
    ends = [[0, n - 1] for n in image.shape]
    corners = [image.affine @ [i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]]
    assert min(np.abs(np.array(corners) - corner).max(1)) < 1e-3


@pytest.mark.parametrize("axes", ["LPS", "IAR"])
@pytest.mark.parametrize("numbering", ["muscles", "sides"])
def test_labels_and_sides_are_read_as_they_were(tmp_path: Path, axes: str, numbering: str) -> None:
    result = results(tmp_path / "out", scan(axes), labels=numbering)
    shown, lines = read_shown(tmp_path / "out", "scan", read_record(tmp_path / "out", "scan"), None)
    assert not lines
    assert (shown.labels == result.labels).all()
    there = result.labels > 0
    assert (shown.sides[there] == result.sides.voxels[there]).all()
    assert (shown.volume.data == result.volume.data).all()


def test_what_the_page_says(done: tuple[Path, Segmentation]) -> None:
    folder, result = done
    page = write_scan_page(folder, "scan", result=result)
    assert page == folder / "scan_report.html"
    read = Page(page)
    assert "left AL: estimated DSC 0.61" in read.text
    assert "look at this" in read.text
    assert read.links[1] == "report.html"
    table = read.tables["scan_muscles"]
    assert table[0][:4] == ["muscle", "name", "side", "volume (ml)"]
    assert "fat fraction (%)" not in table[0]  # nothing was measured
    assert len(table) == 1 + 2 * 12 + 2 * 3
    volumes = pd.read_csv(folder / "scan_muscles.csv")["volume_ml"]
    assert float(table[1][3]) == pytest.approx(volumes[0], rel=5e-3)
    assert {row[0] for row in read.tables["scan_slices"][1:]} == {str(z) for z in range(SLICES)}
    data = data_of(page)
    assert data["slices"] == list(range(SLICES))
    assert data["levels"]["0"] == {"left": 0.8, "right": 0.82}
    assert page.read_text("utf-8").count("data:image/webp;base64,") == SLICES
    assert page.read_text("utf-8") == write_scan_page(folder, "scan").read_text("utf-8")


def test_slices_are_counted_as_in_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    page = write_scan_page(folder, "scan", result=results(folder, scan("LPI")))
    data = data_of(page)
    assert data["slices"] == list(range(SLICES))[::-1]  # from feet to head
    assert data["levels"]["0"]["left"] == 0.3
    shown = re.findall(r'id="slice-(\d+)"', page.read_text("utf-8"))
    assert shown == [str(z) for z in range(SLICES)][::-1]


def test_the_page_of_all_scans_leads_on(tmp_path: Path) -> None:
    results(tmp_path / "out", scan(name="a b#1"))
    links = Page(write_scan_page(tmp_path / "out", "a b#1")).links
    ways = [f"report.html#{way}=a%20b%231" for way in ("before", "after")]
    assert links[1:4] == ["report.html", *ways]


def test_names_are_texts(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    results(folder, scan(name=NAME), settings={"names": SCRIPT}, subject=SCRIPT, visit=SCRIPT)
    review = pd.DataFrame([[NAME, 1, "right", SCRIPT]], columns=COLUMNS)
    review.to_csv(folder / "review.csv", index=False)
    page = write_scan_page(folder, NAME)
    assert SCRIPT not in page.read_text("utf-8")
    assert "<b>\"'" not in page.read_text("utf-8")
    known = {"mark": "right", "comment": SCRIPT, "file": "review.csv"}
    assert data_of(page)["review"] == {"1": known}
    assert data_of(page)["name"] == NAME
    assert Page(page).text.count(SCRIPT) == 3


def test_a_scan_that_is_gone_leaves_the_tables(done: tuple[Path, Segmentation]) -> None:
    folder, _ = done
    source = Path(read_record(folder, "scan")["source"])
    source.rename(source.with_name("moved.nii.gz"))
    page = write_scan_page(folder, "scan")
    assert "no viewer and no pictures" in notes(page)
    assert "no such scan" in notes(page)
    assert "image/webp" not in page.read_text("utf-8")
    assert "niivue" not in page.read_text("utf-8")
    assert len(Page(page).tables["scan_muscles"]) == 31


def test_a_changed_scan_and_a_label_map_that_is_gone(done: tuple[Path, Segmentation]) -> None:
    folder, result = done
    (folder / "scan_labels.nii.gz").unlink()
    nib.save(
        nib.Nifti1Image(result.volume.data + 1, result.volume.affine),
        read_record(folder, "scan")["source"],
    )
    page = write_scan_page(folder, "scan")
    assert "the scan has changed since it was segmented" in notes(page)
    assert "no labels are shown" in notes(page)
    assert page.read_text("utf-8").count("image/webp") == SLICES
    assert "The label map is gone" in Page(page).text


def test_tables_that_are_gone_or_edited(done: tuple[Path, Segmentation]) -> None:
    folder, result = done
    (folder / "scan_slices.csv").unlink()
    table = pd.read_csv(folder / "scan_muscles.csv", dtype=str)
    table.loc[0, "volume_ml"] = "about 200"
    table.loc[0, "name"] = SCRIPT
    table.to_csv(folder / "scan_muscles.csv", index=False)
    (folder / "scan_sections.csv").write_text("side,at\nleft,here\n")
    page = write_scan_page(folder, "scan", result=result)
    assert "scan_slices.csv is gone" in notes(page)
    assert "scan_sections.csv is not a readable table (without muscle)" in notes(page)
    assert Page(page).tables["scan_muscles"][1][1:4] == [SCRIPT, "left", ""]
    assert data_of(page)["areas"] == {}


def test_infinite_numbers_of_an_edited_table(done: tuple[Path, Segmentation]) -> None:
    """A browser cannot read them, and no script of the page would run."""
    folder, result = done
    table = pd.read_csv(folder / "scan_slices.csv", dtype=str)
    table[["area_cm2", "level"]] = ["inf", "-Infinity"]
    table.to_csv(folder / "scan_slices.csv", index=False)
    data = data_of(write_scan_page(folder, "scan", result=result))
    assert data["areas"] == {}
    assert {*map(len, data["levels"].values())} == {0}


def test_a_bad_review_is_told(done: tuple[Path, Segmentation]) -> None:
    folder, result = done
    (folder / "scan_review.csv").write_text("scan,slice,mark,comment\nscan,,rihgt,\n")
    assert "rihgt" in notes(write_scan_page(folder, "scan", result=result))


def test_a_volume_that_is_too_large_is_left_out(
    done: tuple[Path, Segmentation], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result = done
    whole = write_scan_page(folder, "scan", result=result).read_text("utf-8")
    monkeypatch.setattr(scan_page, "LARGEST", scan_page._TEXTS + 100_000)
    monkeypatch.setattr(scan_page, "_PICTURES", 12_000)
    page = write_scan_page(folder, "scan", result=result)
    assert re.search(r"no viewer: with it the page would .* more than 2; pictures", notes(page))
    small = re.findall(r"image/webp;base64,([^\"]*)", page.read_text("utf-8"))
    assert len(small) == SLICES
    assert sum(map(len, small)) <= 12_000
    assert "packed-image" in whole
    assert "packed-image" not in page.read_text("utf-8")


def test_slices_to_look_at() -> None:
    """2.04 cm2 of 10.2 cm2 at a DSC of 0.8 may be wrong, and is told; 1.8 cm2 of 9 cm2 is not."""
    rows = [
        (0, "left", "VL", "muscle", 10.2, 0.8, True, True),
        (0, "left", "VM", "muscle", 9.0, 0.7, True, True),
        (0, "right", "VL", "muscle", 9.0, 0.8, True, True),
        (0, "right", "VM", "muscle", 9.0, 0.7, False, True),
        (0, "left", "quadriceps", "group", 99.0, 0.1, True, True),
        (1, "left", "", "", 0.0, np.nan, False, False),
    ]
    titles = ["slice", "side", "muscle", "kind", "area_cm2", "estimated_dsc", "flag", "in_range"]
    facts = slice_facts(pd.DataFrame(rows, columns=titles).assign(level=0.5))
    assert facts[0].remarks == ["look at left VM (0.70), left VL (0.80)"]
    assert facts[1].remarks == ["out of range"]
    assert facts[0].area_cm2["left"] == {"VL": 10.2, "VM": 9.0}


def test_slices_to_look_at_are_linked_above_the_viewer(done: tuple[Path, Segmentation]) -> None:
    folder, result = done
    table = pd.read_csv(folder / "scan_slices.csv")
    low = table["slice"].isin((1, 3)) & table["muscle"].eq("VL") & table["side"].eq("left")
    table.loc[low, ["area_cm2", "estimated_dsc"]] = 10.0, 0.5
    table["flag"] = low
    table.to_csv(folder / "scan_slices.csv", index=False)
    read = Page(write_scan_page(folder, "scan", result=result))
    assert "2 cm² or more may be wrong in slices 1 3" in " ".join(read.text.split())
    assert read.links[4:6] == ["#slice-1", "#slice-3"]


def test_an_empty_label_map_and_a_table_without_rows(done: tuple[Path, Segmentation]) -> None:
    folder, result = done
    for kind in ("muscles", "slices"):
        table = pd.read_csv(folder / f"scan_{kind}.csv")
        table.assign(muscle="", name="").to_csv(folder / f"scan_{kind}.csv", index=False)
    assert notes(write_scan_page(folder, "scan", result=result)) == ""
    (folder / "scan_slices.csv").write_text("slice,side,muscle\n")
    assert notes(write_scan_page(folder, "scan", result=result)) == ""


def test_a_damaged_record_costs_its_lines_only(tmp_path: Path) -> None:
    strange = {"region": ["thigh"], "seconds": {"total": "x"}, "versions": [1], "flagged": 7}
    results(tmp_path / "out", scan(), **strange)
    assert "the record names no region" in notes(write_scan_page(tmp_path / "out", "scan"))


def test_commands_are_quoted() -> None:
    folder = Path("/a b/$HOME 'x' \"y\"")
    scan, labels = folder / "s.nii.gz", folder / "s_labels.nii.gz"
    snap, slicer = commands(scan, labels, "leg", folder)
    names = str(folder / "labels_leg.txt")
    assert shlex.split(snap.command) == ["itksnap", "-g", str(scan), "-s", str(labels), "-l", names]
    program, option, code = shlex.split(slicer.command)
    assert (program, option) == ("Slicer", "--python-code")
    texts = [n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant)]
    assert {str(scan), str(labels), str(folder / "labels_leg.ctbl")} <= {*texts}
    assert not any(one.command for one in commands(folder, labels, "leg", folder))  # DICOM


def test_a_page_is_not_made_of_nothing(tmp_path: Path, done: tuple[Path, Segmentation]) -> None:
    with pytest.raises(InputError, match="no readable record"):
        write_scan_page(tmp_path, "scan")
    folder, result = done
    (folder / "scan_report.html").write_text("<p>mine</p>")
    with pytest.raises(InputError, match="a file that musclejax did not write"):
        write_scan_page(folder, "scan", result=result)
    assert "a file that musclejax did not write" in write_page_of(result, folder)[0]


@pytest.mark.parametrize("option", ["--report", "--no-report"])
def test_segment_and_measure_write_it(
    option: str, tmp_path: Path, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_scan, "segment_steps", pretend_steps)
    results(tmp_path / "other", scan())
    source, out = tmp_path / "scans" / "scan.nii.gz", tmp_path / "out"
    common = ["segment", str(source), "-o", str(out), "--weights", str(weights_folder)]
    told = CliRunner().invoke(main, [*common, option])
    assert told.exit_code == 0, told.output
    page = out / "scan_report.html"
    assert page.exists() == (option == "--report")
    labels = nib.load(out / "scan_labels.nii.gz")
    array = np.asarray(labels.dataobj).copy()
    array[array > 0] = 2
    nib.save(nib.Nifti1Image(array, labels.affine, labels.header), out / "scan_labels.nii.gz")
    told = CliRunner().invoke(main, ["measure", str(out), option])
    assert told.exit_code == 0, told.output
    assert page.exists() == (option == "--report")
    if page.exists():
        assert "A person has corrected these labels" in Page(page).text


def test_the_viewer_is_the_one_that_was_looked_at() -> None:
    library = (STATIC / "niivue.umd.js.gz").read_bytes()
    assert hashlib.sha256(library).hexdigest() in (STATIC / "README.md").read_text("utf-8")
    code = gzip.decompress(library)
    assert b"AGFzbQ" not in code  # no codecs of Zarr
    assert b"</script" not in code  # it could not stand in a page
