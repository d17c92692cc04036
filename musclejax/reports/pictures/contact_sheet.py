"""The contact sheet on which a person checks a segmentation: all slices of a scan."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw

from musclejax.anatomy import Muscle
from musclejax.prediction.result import Segmentation
from musclejax.reports.pictures.lettering import drawable, load_font
from musclejax.reports.pictures.overlay import blend
from musclejax.reports.pictures.slices import Frame, draw_slices, frame_of

_MOST_PX, _NARROWEST_PX = 12_000_000, 280
"""Of all panels together; many slices have smaller panels, but never narrower ones."""
_LEAST_WIDTH_PX, _FORM = 960, 1.5
"""Of a sheet, and its width over its height, about."""
_GAP_PX = 6
_WHITE, _ORANGE, _BLACK = "white", "orange", "black"
_SWATCH_GRAY = 102
"""Gray under the colors of the legend."""
_COMPRESSION = 1
"""Level 6 of PNG takes three times as long, and the file has nine tenths of the size."""
Line = tuple[str, int, str]
"""A text above the panels, its size and its color."""


@dataclass(frozen=True)
class Layout:
    """Where the panels of a sheet stand.

    Attributes:
        shown: Slices that are drawn, counted from the feet.
        frame: Of a panel.
        columns: Panels in a row.
        caption_px: Height of the text above a panel.
    """

    shown: Int[np.ndarray, " n"]
    frame: Frame
    columns: int
    caption_px: int

    @property
    def panel(self) -> tuple[int, int]:
        """Width and height of a panel with its caption and the gap beside it."""
        width, height = self.frame.size
        return width + _GAP_PX, height + 2 * self.caption_px

    @property
    def size(self) -> tuple[int, int]:
        """Width of the sheet, height of all panels."""
        width, height = self.panel
        rows = math.ceil(len(self.shown) / self.columns)
        return max(_LEAST_WIDTH_PX, self.columns * width), rows * height


def draw(result: Segmentation, path: Path) -> None:
    """Draw all slices with their labels, side marks, legend and region.

    Slices run from feet to head and are shown as a radiologist reads them: anterior up, the
    patient's right on the left of the picture. Of more slices than fit into a sheet of 12 million
    pixels, some are left out evenly; the sheet says so.

    Args:
        result: A segmented scan.
        path: Picture to write; its suffix gives the format.
    """
    layout = lay_out(frame_of(result.volume, result.labels), result.volume.num_slices)
    width, height = layout.size
    letters = max(15, width // 120)
    lines = list(_lines(result, layout, letters))
    top = letters + sum(size * 3 // 2 for _, size, _ in lines)
    legend = _draw_legend(result, width, letters)
    sheet = Image.new("RGB", (width, top + height + legend.height), _BLACK)
    _write_lines(sheet, lines, letters // 2)
    _place_panels(sheet, result, layout, top)
    sheet.paste(legend, (0, top + height))
    sheet.save(path, compress_level=_COMPRESSION)


def lay_out(frame: Frame, slices: int) -> Layout:
    """Return the layout of a sheet: as large as pictures are, or as small as they must be."""
    width, height = frame.size
    fitting = math.floor(math.sqrt(_MOST_PX / slices * width / height))
    frame = frame.fit(min(width, max(_NARROWEST_PX, fitting)))
    width, height = frame.size
    count = slices if fitting >= _NARROWEST_PX else max(1, _MOST_PX // (width * height))
    shown = np.linspace(0, slices - 1, count).round().astype(int)
    columns = round(math.sqrt(_FORM * count * height / width))
    return Layout(shown, frame, min(count, max(1, columns)), max(11, width // 30))


def _lines(result: Segmentation, layout: Layout, size: int) -> Iterator[Line]:
    """Return title, remarks and warnings, wrapped."""
    yield from _wrap(_title(result), layout.size[0], size * 3 // 2, _WHITE)
    shown, slices = len(layout.shown), result.volume.num_slices
    some = f" · {shown} of {slices} slices shown" if shown < slices else ""
    yield from _wrap(f"weights: {result.weights}{some}", layout.size[0], size, _WHITE)
    for warning in result.warnings:
        yield from _wrap(f"warning: {warning}", layout.size[0], size, _ORANGE)


def _title(result: Segmentation) -> str:
    probability = result.region_probability
    how = "given" if probability is None else f"probability {probability:.3f}"
    if result.correction:
        how = "corrected labels"
    return f"{result.volume.name}: {result.anatomy.title.lower()} ({how})"


def _wrap(text: str, width: int, size: int, color: str) -> list[Line]:
    characters = int(0.9 * width / load_font(size).getlength("n"))
    return [(line, size, color) for line in textwrap.wrap(drawable(text), characters)]


def _write_lines(sheet: Image.Image, lines: list[Line], top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for text, size, color in lines:
        draw.text((sheet.width / 2, top), text, color, load_font(size), anchor="ma")
        top += size * 3 // 2


def _place_panels(sheet: Image.Image, result: Segmentation, layout: Layout, top: int) -> None:
    """Draw the slices, one after the other, onto the sheet."""
    volume, frame, (width, height) = result.volume, layout.frame, layout.panel
    pictures = draw_slices(volume, result.labels, result.anatomy, frame, layout.shown)
    left = (sheet.width - layout.columns * width + _GAP_PX) // 2
    draw, font = ImageDraw.Draw(sheet), load_font(layout.caption_px)
    for place, (z, picture) in enumerate(zip(layout.shown, pictures, strict=True)):
        row, column = divmod(place, layout.columns)
        x, y = left + column * width, top + row * height
        caption = _caption(result, int(volume.lps.file_index(z)))
        middle = x + frame.size[0] / 2, y + layout.caption_px
        draw.text(middle, caption, _WHITE, font, anchor="mm")
        sheet.paste(picture, (x, y + 2 * layout.caption_px))


def _caption(result: Segmentation, index: int) -> str:
    """Return slice number, level and, where no limb can show a muscle, a remark."""
    text, levels = f"slice {index}", result.levels
    if levels is None or np.isnan(levels.level[index]).all():
        return text
    text += f", level {np.nanmean(levels.level[index]):.2f}"
    return text if levels.in_range[index].any() else f"{text}: out of range"


def _draw_legend(result: Segmentation, width: int, size: int) -> Image.Image:
    """Name the muscles; those that have no voxel are marked as missing."""
    present = {number for plane in result.labels.T for number in np.unique(plane).tolist()}
    names = {
        m: f"{m.number} {m.abbreviation} {m.name}" + ("" if m.number in present else " (none)")
        for m in result.anatomy.muscles
    }
    font = load_font(size)
    step = round(max(map(font.getlength, names.values()))) + 4 * size
    columns = max(1, min(len(names), width // step))
    columns = math.ceil(len(names) / math.ceil(len(names) / columns))  # rows of equal length
    rows = math.ceil(len(names) / columns)
    legend = Image.new("RGB", (width, round((1.6 * rows + 1) * size)), _BLACK)
    draw, left = ImageDraw.Draw(legend), (width - columns * step + size) // 2
    for place, (muscle, name) in enumerate(names.items()):
        row, column = divmod(place, columns)
        x, y = left + column * step, round((1.6 * row + 1.2) * size)
        _draw_swatch(draw, muscle, (x, y), size)
        draw.text((x + 2.4 * size, y), name, _WHITE, font, anchor="lm")
    return legend


def _draw_swatch(
    draw: ImageDraw.ImageDraw, muscle: Muscle, left: tuple[int, int], size: int
) -> None:
    """Draw a box of a muscle's colors as they look on a scan; `left` is the middle of its left."""
    (x, y), half = left, size // 2
    fill = tuple(int(c) for c in blend()[muscle.number, _SWATCH_GRAY])
    draw.rectangle((x, y - half, x + 2 * size, y + half), fill, muscle.color, width=2)
