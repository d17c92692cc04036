"""The contact sheet on which a person checks a segmentation."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musclejax.errors import printable
from musclejax.prediction.result import Segmentation
from musclejax.reports.style import draw_slice, legend, literal, mark
from musclejax.scan.intensity import body_box

PANELS = 16
COLUMNS = 4
_DPI = 110
_LINE_CHARACTERS, _LINE_INCHES = 170, 0.15
"""Characters and height of a line under the title."""


def draw(result: Segmentation, path: Path, *, panels: int = PANELS, columns: int = COLUMNS) -> None:
    """Draw slices with their labels, side marks, legend and region.

    Slices run from feet to head, are shown as a radiologist reads them (anterior up, the
    patient's right on the left of the picture) and are evenly spaced if there are many.

    Args:
        result: A segmented scan.
        path: Picture to write; its suffix gives the format.
        panels: Slices to show at most.
        columns: Panels in a row.
    """
    view, labels = result.volume.lps, result.volume.lps.from_file(result.labels)
    x_mm, y_mm, _ = view.spacing_mm
    box = body_box(view.body | (labels > 0), x_mm, y_mm)
    shown = np.unique(np.linspace(0, view.data.shape[2] - 1, panels).round().astype(int))
    shape = view.data[box[0], box[1], 0].shape
    lines = textwrap.wrap(" · ".join(_remarks(result)), _LINE_CHARACTERS)
    top = 0.6 + _LINE_INCHES * len(lines)
    figure, places = _figure(len(shown), shape, x_mm, y_mm, columns, top)
    white = float(np.percentile(view.data[view.body], 99))
    for axes, z in zip(places, shown, strict=True):
        image = view.data[(*box, z)].T
        draw_slice(axes, image, labels[(*box, z)].T, white, y_mm / x_mm)
        axes.text(0.5, 0.97, _caption(result, int(view.file_index(z))), **mark(axes, "center"))
    legend(figure, result.anatomy, np.unique(result.labels))
    _title(figure, result, lines)
    FigureCanvasAgg(figure)
    # Level 3 takes half the time of the default; the file is as small.
    figure.savefig(path, dpi=_DPI, facecolor="black", pil_kwargs={"compress_level": 3})


def _caption(result: Segmentation, index: int) -> str:
    """Return slice number, level and, where no limb can show a muscle, a remark."""
    text, levels = f"slice {index}", result.levels
    if levels is None or np.isnan(levels.level[index]).all():
        return text
    text += f", level {np.nanmean(levels.level[index]):.2f}"
    return text if levels.in_range[index].any() else f"{text}: out of range"


def _figure(
    count: int, shape: tuple[int, int], x_mm: float, y_mm: float, columns: int, top: float
) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    width = 14.0
    height = width / columns * shape[1] * y_mm / (shape[0] * x_mm)
    bottom = 0.65
    total = rows * height + top + bottom
    figure = Figure(figsize=(width, total))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0, bottom / total, 1, 1 - top / total, 0.01, 0.01)
    panels = list(grid.ravel())
    for axes in panels:
        axes.set_axis_off()
    return figure, panels[:count]


def _remarks(result: Segmentation) -> list[str]:
    texts = f"weights: {result.weights}", *(f"warning: {text}" for text in result.warnings)
    return [printable(text) for text in texts]


def _title(figure: Figure, result: Segmentation, lines: list[str]) -> None:
    probability = result.region_probability
    how = "given" if probability is None else f"probability {probability:.3f}"
    if result.correction:
        how = "corrected labels"
    title = f"{result.volume.name}: {result.anatomy.title.lower()} ({how})"
    height = figure.get_figheight()
    figure.text(
        0.5, 1 - 0.1 / height, literal(title), color="white", fontsize=14, ha="center", va="top"
    )
    color = "orange" if result.warnings else "white"
    where: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9}
    figure.text(0.5, 1 - 0.42 / height, "\n".join(map(literal, lines)), color=color, **where)
