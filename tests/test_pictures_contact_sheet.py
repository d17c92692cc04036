"""Contact sheets: slices, sides, sizes and texts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from musclejax.anatomy import COLORS, REGIONS
from musclejax.loops import result_of
from musclejax.prediction.result import Segmentation
from musclejax.reports.pictures import contact_sheet
from musclejax.reports.pictures.contact_sheet import draw, lay_out
from musclejax.reports.pictures.overlay import blend
from musclejax.reports.pictures.slices import Frame, frame_of
from musclejax.scan.volume import Volume
from tests.pretend import pretend_steps

VL = 1
MOST_PX = 12_000_000


def segmented(slices: int, *warnings: str, name: str = "a") -> Segmentation:
    """Return thighs with a vastus lateralis on the patient's right in every slice; RAS."""
    data = np.zeros((100, 50, slices), np.float32)
    data[2:-2, 2:-2] = 1
    result = result_of(pretend_steps(Volume(data, np.diag([4.0, 4.0, 10.0, 1.0]), name)))
    labels = np.zeros(data.shape, np.uint8)
    labels[60:90, 15:35] = VL
    return replace(result, labels=labels, warnings=warnings)


def drawn(result: Segmentation, path: Path) -> np.ndarray:
    draw(result, path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def shows(image: np.ndarray, color: tuple[int, ...] | np.ndarray, within: int) -> np.ndarray:
    return np.asarray(np.abs(image - color).max(-1) <= within)


@pytest.mark.parametrize("slices", [1, 5, 31])
def test_every_slice_is_there_with_the_right_on_the_left(slices: int, tmp_path: Path) -> None:
    result = segmented(slices)
    image = drawn(result, tmp_path / "a.png")
    layout = lay_out(frame_of(result.volume, result.labels), slices)
    on_white = blend()[VL, 255]  # in the legend it is on gray
    muscle = shows(image, on_white, within=2)
    width = layout.panel[0]
    left = (image.shape[1] - layout.columns * width) // 2
    panels = [muscle[:, left + n * width : left + (n + 1) * width] for n in range(layout.columns)]
    assert not any(panel[:, width // 2 :].any() for panel in panels)
    pixels = (30 * 4.8) * (20 * 4.8)
    assert sum(panel.sum() for panel in panels) == pytest.approx(slices * pixels, rel=0.1)


@pytest.mark.parametrize(
    ("slices", "width", "shown"), [(1, 480, 1), (60, 480, 60), (200, 346, 200), (2000, 280, 306)]
)
def test_many_slices_have_smaller_panels_and_very_many_are_thinned(
    slices: int, width: int, shown: int
) -> None:
    layout = lay_out(Frame((slice(0, 320), slice(0, 160)), (480, 240)), slices)
    assert (layout.frame.size[0], len(layout.shown)) == (width, shown)
    assert shown * np.prod(layout.frame.size) < 1.01 * MOST_PX
    assert np.unique(layout.shown).size == shown
    assert {layout.shown[0], layout.shown[-1]} == {0, slices - 1}


def test_a_thinned_sheet_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = segmented(12)
    whole = drawn(result, tmp_path / "a.png")
    monkeypatch.setattr(contact_sheet, "_MOST_PX", 280 * 150 * 4)
    written = []
    monkeypatch.setattr(contact_sheet, "_write_lines", lambda _, lines, top: written.extend(lines))
    assert drawn(result, tmp_path / "b.png").size < whole.size
    assert any("slices shown" in text for text, *_ in written)


def test_warnings_are_orange_and_have_room(tmp_path: Path) -> None:
    orange = (255, 165, 0)
    plain = drawn(segmented(1), tmp_path / "a.png")
    one = drawn(segmented(1, "look at it"), tmp_path / "b.png")
    three = drawn(segmented(1, *["look at every picture of it " * 6] * 3), tmp_path / "c.png")
    rows = [shows(image, orange, within=40)[:-140].any(1).sum() for image in (plain, one, three)]
    assert rows[0] == 0
    assert rows[1] > 5
    assert rows[2] > 4 * rows[1]
    assert len(plain) < len(one) < len(three)


@pytest.mark.parametrize("name", ["$a$ \\frac{1}{2} [b] " * 20, "x" * 255, "木" * 99, "a\nb"])
def test_long_and_odd_names_stay_within_the_sheet(name: str, tmp_path: Path) -> None:
    image = drawn(segmented(1, name=name), tmp_path / "a.png")
    assert image[:60].any()
    assert not image[:, :4].any()
    assert not image[:, -4:].any()


def test_the_legend_has_all_muscles_of_the_region(tmp_path: Path) -> None:
    image = drawn(segmented(1), tmp_path / "a.png")[-140:]
    for muscle in REGIONS["thigh"].muscles:
        assert (image == COLORS[muscle.number]).all(-1).sum() > 60, muscle
