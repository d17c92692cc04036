"""The contact sheet on which a person checks a segmentation."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musclejax.drawing import body_box, draw_slice, legend, mark
from musclejax.scan.grid import lps_spacing_mm, to_lps
from musclejax.scan.intensity import body_mask

if TYPE_CHECKING:
    from musclejax.inference.segment import Segmentation

PANELS = 16
COLUMNS = 4
_DPI = 110
_NOTE_CHARACTERS, _NOTE_INCHES = 170, 0.15
"""Characters and height of a line of notes under the title."""


def draw(
    segmentation: "Segmentation", path: Path, *, panels: int = PANELS, columns: int = COLUMNS
) -> None:
    """Draw slices with their labels, side marks, legend and the decision on the region.

    Slices run from feet to head, are shown as a radiologist reads them (anterior up, the
    patient's right on the left of the picture) and are evenly spaced if there are many.

    Args:
        segmentation: A segmented scan.
        path: Picture to write; its ending tells the format.
        panels: Slices to show at most.
        columns: Panels in a row.
    """
    volume = segmentation.volume
    orientation = to_lps(volume)
    image = nib.apply_orientation(volume.data, orientation)
    labels = nib.apply_orientation(segmentation.labels, orientation)
    x_mm, y_mm, _ = lps_spacing_mm(volume)
    body = body_mask(image)
    box = body_box(body | (labels > 0), x_mm, y_mm)
    shown = np.unique(np.linspace(0, image.shape[2] - 1, panels).round().astype(int))
    shape = image[box[0], box[1], 0].shape
    notes = textwrap.wrap(" · ".join(_notes(segmentation)), _NOTE_CHARACTERS)
    top = 0.6 + _NOTE_INCHES * len(notes)
    figure, places = _figure(len(shown), shape, x_mm, y_mm, columns, top)
    white = float(np.percentile(image[body], 99))
    for axes, z in zip(places, shown, strict=True):
        draw_slice(axes, image[(*box, z)].T, labels[(*box, z)].T, white, y_mm / x_mm)
        index = z if orientation[volume.axial_axis, 1] > 0 else image.shape[2] - 1 - z
        axes.text(0.5, 0.97, f"slice {index}", **mark(axes, "center"))
    legend(figure, segmentation.anatomy, np.unique(segmentation.labels))
    _title(figure, segmentation, notes)
    FigureCanvasAgg(figure)
    # Level 3 is twice as fast as the default and as small.
    figure.savefig(path, dpi=_DPI, facecolor="black", pil_kwargs={"compress_level": 3})


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


def _notes(segmentation: "Segmentation") -> list[str]:
    return [f"weights: {segmentation.weights}", *segmentation.warnings]


def _title(figure: Figure, segmentation: "Segmentation", notes: list[str]) -> None:
    certainty = segmentation.region_probability
    how = "given" if certainty is None else f"probability {certainty:.3f}"
    title = f"{segmentation.volume.name}: {segmentation.anatomy.title.lower()} ({how})"
    height = figure.get_figheight()
    figure.text(0.5, 1 - 0.1 / height, title, color="white", fontsize=14, ha="center", va="top")
    color = "orange" if segmentation.warnings else "white"
    where: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9}
    figure.text(0.5, 1 - 0.42 / height, "\n".join(notes), color=color, **where)
