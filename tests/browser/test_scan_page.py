"""The page of a scan in a browser: what is under the pointer in any orientation, labels, keys,
review, sizes; without WebGL, and without scripts."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from musclejax.anatomy import REGIONS, SIDES
from musclejax.prediction.result import Segmentation
from musclejax.reports.pages import scan as scan_page
from musclejax.reports.pages.scan import write_scan_page
from musclejax.reports.pages.scan_image import WHITE_PERCENTILE, Packed, pack
from musclejax.reports.review import read_remarks, read_review
from tests.browser.conftest import watched_page
from tests.scan_pages import MARKER, SLICES, marker, results, scan

NAME = "=cmd <b>\"'\N{GRINNING FACE}"
SCRIPT = "</script><script>document.title = 'hacked'</script>"
MUSCLES = {m.number: m for m in REGIONS["thigh"].muscles}
ORIENTATIONS = {"LPS": (0.0, 0.0), "IAR": (0.0, 0.0), "PSL": (20.0, 12.0)}
"""Axes of the file, and by how much the stack is turned: axial, sagittal first, oblique."""
_RIM = 6


class Shown(NamedTuple):
    """A page and what it shows."""

    path: Path
    result: Segmentation


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """The same thighs in files of three orientations; the oblique page has a part of them only."""
    found = {}
    for axes, turn in ORIENTATIONS.items():
        folder = tmp_path_factory.mktemp(axes) / "out"
        result = results(folder, scan(axes, turn))
        with pytest.MonkeyPatch.context() as patch:
            if axes == "PSL":
                patch.setattr(scan_page, "pack", too_large)
            found[axes] = Shown(write_scan_page(folder, "scan"), result)
    return found


def too_large(shown: Any, box: Any) -> Packed:
    """Pack a scan as if the whole of it had too many bytes."""
    packed = pack(shown, box)
    return packed if box else packed._replace(image="A" * scan_page.LARGEST)


def open_viewer(page: Any, path: Path) -> Any:
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-viewer=ready]")
    before, now = np.zeros(1), picture(page)
    while not np.array_equal(before, now):  # letters are drawn when they have been read
        before, now = now, picture(page)
    return page


@pytest.fixture(scope="module")
def viewer(browser: Any, shown: dict[str, Shown]) -> Iterator[Any]:
    """The page of the axial file, opened once; no test leaves it changed."""
    context, seen = browser.new_context(viewport={"width": 1280, "height": 900}), []
    yield open_viewer(watched_page(context, seen), shown["LPS"].path)
    context.close()
    assert not seen


def picture(page: Any) -> np.ndarray:
    """Return the grays of the viewer."""
    shot = page.locator("#canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("L"), int)


def square_in(grays: np.ndarray) -> tuple[float, float]:
    """Return row and column of the middle of the largest bright part; letters are smaller."""
    parts, _ = ndimage.label(grays[_RIM:-_RIM, _RIM:-_RIM] > 200)  # without the focus ring
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    row, column = ndimage.center_of_mass(parts == largest)
    return float(row) + _RIM, float(column) + _RIM


def point_at(page: Any, column: float, row: float) -> str:
    """Move the pointer to a pixel of the viewer and return what stands below it."""
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + column, box["y"] + row)
    return str(page.locator("#pointer").text_content())


def voxel_in(text: str) -> tuple[int, ...]:
    found = re.match(r"voxel (\d+), (\d+), (\d+) ", text)
    assert found, text
    return tuple(map(int, found.groups()))


def file_voxel(result: Segmentation, x: int, y: int, z: int) -> tuple[int, ...]:
    """Return the index in the file of a voxel of the canonical view."""
    view = result.volume.lps
    there = np.zeros(view.data.shape, bool)
    there[x, y, z] = True
    return tuple(int(n[0]) for n in np.nonzero(view.to_file(there)))


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_voxel_under_the_pointer(page: Any, shown: dict[str, Shown], axes: str) -> None:
    path, result = shown[axes]
    open_viewer(page, path)
    page.keyboard.press("l")  # no labels: only the square is brighter than 200
    page.keyboard.press("-")
    page.keyboard.press("-")
    for z in (0, SLICES - 1):  # of the canonical view: feet, head
        page.keyboard.press("Home" if z == 0 else "End")
        row, column = square_in(picture(page))
        height, width = picture(page).shape
        assert column < width / 2  # the patient's right is on the left
        assert row < height / 2  # anterior is up
        x, y = marker(z)
        middle = file_voxel(result, x + MARKER // 2, y + MARKER // 2, z)
        found = voxel_in(point_at(page, column, row))
        assert found[result.volume.axial_axis] == middle[result.volume.axial_axis]
        np.testing.assert_allclose(found, middle, atol=1)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_muscle_side_intensity_and_area_under_the_pointer(
    page: Any, shown: dict[str, Shown], axes: str
) -> None:
    path, result = shown[axes]
    volume, view = result.volume, result.volume.lps
    areas = pd.read_csv(path.with_name("scan_slices.csv")).set_index(["slice", "side", "muscle"])
    white = np.percentile(view.data[view.body], WHITE_PERCENTILE)
    backward = np.zeros(view.data.shape, int) + np.arange(view.data.shape[1])[:, None]
    backward = view.to_file(backward)  # how far behind the front a voxel of the file lies
    open_viewer(page, path)
    height, width = picture(page).shape
    seen = set()
    for column in np.linspace(0.1, 0.9, 9) * width:
        before = -1
        for row in np.linspace(0.28, 0.72, 4) * height:
            text = point_at(page, float(column), float(row))
            voxel = voxel_in(text)
            assert backward[voxel] > before  # from the front to the back
            before = backward[voxel]
            intensity = min(float(view.to_file(view.data)[voxel]), white)
            told = float(re.findall(r"intensity (?:≥ )?([\d.]+)", text)[0])
            assert abs(told - intensity) < white / 200 + 0.01 * intensity, text
            label, side = result.labels[voxel], SIDES[result.sides.voxels[voxel] - 1]
            assert (" cm² in this slice" in text) == (label > 0)
            if label:
                muscle, z = MUSCLES[label], voxel[volume.axial_axis]
                assert f"{muscle.abbreviation} {muscle.name}, {side}" in text
                assert side == ("right" if column < width / 2 else "left")
                area = areas.loc[(z, side, muscle.abbreviation), "area_cm2"]
                assert float(re.findall(r"([\d.]+) cm²", text)[0]) == pytest.approx(area, rel=6e-3)
                seen.add((label, side))
    assert len({label for label, _ in seen}) > 5
    assert {side for _, side in seen} == set(SIDES)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two pictures are equal but for the focus ring and such."""
    return bool((np.abs(one - other) > 8).mean() < 1e-3)


def test_labels_can_be_changed(viewer: Any) -> None:
    both = picture(viewer)
    viewer.keyboard.press("l")
    off = picture(viewer)
    assert (both != off).mean() > 0.05
    viewer.keyboard.press("l")
    assert same(picture(viewer), both)
    viewer.locator("#opacity").fill("0")
    assert same(picture(viewer), off)
    viewer.locator("#opacity").fill("40")
    viewer.locator("#style").select_option("outline")
    outline = (picture(viewer) != off).mean()
    assert 0.005 < outline < 0.6 * (both != off).mean()
    viewer.locator("#style").select_option("fill")
    assert not same(picture(viewer), both)
    viewer.locator("#style").select_option("both")
    one = viewer.locator(".muscles input").first
    one.uncheck()
    changed = picture(viewer) != both
    assert 0 < changed.mean() < 0.5 * (both != off).mean()
    assert (picture(viewer)[changed] == off[changed]).all()
    viewer.locator("#none").click()
    assert same(picture(viewer), off)
    viewer.locator("#all").click()
    assert same(picture(viewer), both)


def place(page: Any) -> str:
    return str(page.locator("#place").text_content())


def test_keys_alone(viewer: Any) -> None:
    viewer.locator("#canvas").focus()
    before = place(viewer)
    assert before.startswith(f"slice {SLICES // 2} ({SLICES // 2 + 1} of {SLICES}), level 0.5")
    viewer.keyboard.press("ArrowUp")
    assert place(viewer).startswith(f"slice {SLICES // 2 + 1} ")
    assert viewer.locator("figure.current").get_attribute("data-slice") == str(SLICES // 2 + 1)
    viewer.keyboard.press("Home")
    viewer.keyboard.press("ArrowDown")
    assert place(viewer).startswith("slice 0 ")
    viewer.keyboard.press("PageUp")
    assert place(viewer).startswith(f"slice {SLICES - 1} ")
    assert viewer.locator("#through").input_value() == str(SLICES - 1)
    fitted = picture(viewer)
    viewer.keyboard.press("+")
    assert (picture(viewer) != fitted).mean() > 0.05
    viewer.keyboard.press("0")
    assert same(picture(viewer), fitted)
    viewer.keyboard.press("?")
    assert viewer.get_by_text("one slice toward the head").is_visible()
    viewer.keyboard.press("?")
    assert not viewer.get_by_text("one slice toward the head").is_visible()
    viewer.keyboard.press("m")
    assert viewer.evaluate("document.activeElement.id") == "mark-slice"
    viewer.locator("#canvas").focus()
    viewer.locator(f"#slice-{SLICES // 2} a").press("Enter")
    assert place(viewer) == before


def test_a_scan_is_marked_by_keys(page: Any, shown: dict[str, Shown]) -> None:
    path = shown["LPS"].path
    path.with_name("report.html").touch()
    open_viewer(page, path)
    for key, mark in (("r", "right"), ("c", "to correct"), ("u", "unusable"), ("u", "")):
        page.keyboard.press(key)  # at once: the picture has the focus
        assert page.locator("#mark-scan").input_value() == mark
    assert page.locator("#review-state").text_content() == "no marks yet"
    page.keyboard.press("n")
    page.wait_for_url(f"{path.with_name('report.html').as_uri()}#after=scan")


def test_wheel_and_three_planes(viewer: Any) -> None:
    axial = picture(viewer)
    height, width = axial.shape
    point_at(viewer, width / 2, height / 2)
    viewer.mouse.wheel(0, -100)
    assert place(viewer).startswith(f"slice {SLICES // 2 + 1} ")
    viewer.mouse.wheel(0, 100)
    viewer.locator("#canvas").focus()
    viewer.keyboard.press("2")
    planes = picture(viewer)
    assert (planes != axial).mean() > 0.1
    box = viewer.locator("#canvas").bounding_box()
    viewer.mouse.click(box["x"] + 0.25 * width, box["y"] + 0.12 * height)
    assert (picture(viewer) != planes).any()
    viewer.keyboard.press("1")
    viewer.locator("#slice-3 a").click()
    assert same(picture(viewer), axial)


def test_a_review_goes_round(page: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    results(folder, scan(name=NAME), settings={"names": SCRIPT}, subject=SCRIPT)
    path = write_scan_page(folder, NAME)
    open_viewer(page, path)
    assert page.title() == NAME
    assert SCRIPT in page.locator("#made").text_content()
    page.locator("#mark-scan").select_option("right")
    page.locator("#slice-2 a").click()
    page.locator("#mark-slice").select_option("to correct")
    page.locator("#comment-slice").fill('=1+1, "SAR"\N{GRINNING FACE}')
    page.locator("#comment-slice").press("Enter")
    assert page.locator("#slice-2 .mark").text_content() == "to correct"
    assert "2 not saved" in page.locator("#review-state").text_content()
    page.reload()
    assert page.locator("#slice-2 .mark").text_content() == "to correct"
    with page.expect_download() as found:
        page.locator("#save-review").click()
    assert "all saved" in page.locator("#review-state").text_content()
    found.value.save_as(folder / f"{NAME}_review.csv")
    assert read_review(folder) == {NAME: {None: "right", 2: "to correct"}}
    assert read_remarks(folder)[1].comment == '=1+1, "SAR"\N{GRINNING FACE}'
    write_scan_page(folder, NAME)
    open_viewer(page, path)
    assert (
        page.evaluate("localStorage.length") == 0
        or "not" not in page.locator("#review-state").text_content()
    )
    assert page.locator("#mark-scan").input_value() == "right"
    page.locator("#mark-scan").select_option("")
    assert "1 not saved" in page.locator("#review-state").text_content()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sizes(browser: Any, shown: dict[str, Shown], width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = open_viewer(context.new_page(), shown["LPS"].path)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#canvas").bounding_box()
    assert box["width"] > 0.6 * width
    assert box["height"] > 300
    assert picture(page).max() > 200
    context.close()


def test_long_paths_break(page: Any, tmp_path: Path) -> None:
    """Of a DICOM series, which no command opens."""
    series = "/" + "study_of_many_words_" * 10
    one = scan(name="n" * 100)
    result = results(tmp_path / "out", one, source=series, source_files={"path": series})
    path = write_scan_page(tmp_path / "out", "n" * 100, result=result)
    page.set_viewport_size({"width": 390, "height": 800})
    open_viewer(page, path)
    assert page.get_by_text("Open the DICOM series").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def assert_pictures(page: Any) -> None:
    """Check that a page without the viewer has all else."""
    assert not page.locator("#viewer").is_visible()
    assert page.locator("#no-scripts").count() == 0
    images = page.locator("figure img")
    assert images.count() == SLICES
    assert images.first.bounding_box()["width"] > 300
    assert images.first.evaluate("image => image.naturalWidth") > 300
    assert page.locator("#scan_muscles tbody tr").count() == 30
    assert page.get_by_text("itksnap -g").is_visible()


def test_without_webgl(browser_without_webgl: Any, shown: dict[str, Shown]) -> None:
    context, seen = browser_without_webgl.new_context(), []
    page = watched_page(context, seen)
    page.goto(shown["LPS"].path.as_uri())
    page.wait_for_selector("html[data-viewer=none]")
    assert_pictures(page)
    assert "no WebGL 2" in page.locator("#no-viewer").text_content()
    page.locator("#slice-1 a").click()
    page.locator("#mark-slice").select_option("unusable")
    assert page.locator("#slice-1 .mark").text_content() == "unusable"
    context.close()
    assert not seen


def test_without_scripts(browser: Any, shown: dict[str, Shown]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shown["LPS"].path.as_uri())
    assert page.locator("figure img").count() == SLICES
    assert page.locator("figure img").first.is_visible()
    assert page.locator("#scan_muscles tbody tr").count() == 30
    assert page.locator("#no-scripts").is_visible()
    assert not page.locator("#review").is_visible()
    context.close()


def test_a_damaged_volume_leaves_the_pictures(
    page: Any, shown: dict[str, Shown], tmp_path: Path
) -> None:
    copy = Path(shutil.copy(shown["LPS"].path, tmp_path))
    text = copy.read_text("utf-8")
    start = text.index('id="packed-image">') + 100
    copy.write_text(text[:start] + "A" * 200 + text[start + 200 :], "utf-8")
    page.goto(copy.as_uri())
    page.wait_for_selector("html[data-viewer=none]")
    assert_pictures(page)
