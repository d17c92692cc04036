"""The contact sheet on which a person checks a segmentation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from musclejax import anatomy
from musclejax.scan.grid import lps_spacing_mm, to_lps
from musclejax.scan.intensity import body_mask

if TYPE_CHECKING:
    from musclejax.inference.segment import Segmentation

PANELS = 16
COLUMNS = 4
_DPI = 110
_MARGIN_MM = 12.0
_ALPHA = 0.4
_EDGE_ALPHA = 0.9


def draw(segmentation: "Segmentation", path: Path) -> None:
    """Draw slices with their labels, side marks, legend and the decision on the region.

    Slices run from feet to head, are shown as a radiologist reads them (anterior up, the
    patient's right on the left of the picture) and are evenly spaced if there are many.

    Args:
        segmentation: A segmented scan.
        path: PNG file to write.
    """
    volume = segmentation.volume
    orientation = to_lps(volume)
    image = nib.apply_orientation(volume.data, orientation)
    labels = nib.apply_orientation(segmentation.labels, orientation)
    x_mm, y_mm, _ = lps_spacing_mm(volume)
    body = body_mask(image)
    box = _box(body | (labels > 0), x_mm, y_mm)
    shown = np.unique(np.linspace(0, image.shape[2] - 1, PANELS).round().astype(int))
    figure, panels = _figure(len(shown), image[box[0], box[1], 0].shape, x_mm, y_mm)
    white = float(np.percentile(image[body], 99))
    for axes, z in zip(panels, shown, strict=True):
        _draw_slice(axes, image[(*box, z)].T, labels[(*box, z)].T, white, y_mm / x_mm)
        index = z if orientation[volume.axial_axis, 1] > 0 else image.shape[2] - 1 - z
        axes.text(0.5, 0.97, f"slice {index}", **_mark(axes, "center"))
    _legend(figure, segmentation.anatomy, np.unique(segmentation.labels))
    _title(figure, segmentation)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, facecolor="black", format="png")


def _box(shown: Bool[np.ndarray, "x y z"], x_mm: float, y_mm: float) -> tuple[slice, slice]:
    """Return the part of the axial plane that shows anything, with a margin."""
    body = np.asarray(shown.any(2))
    box = []
    for axis, spacing in ((0, x_mm), (1, y_mm)):
        # A share of the pixels, not one: noise and wrap are not the body.
        share = np.cumsum(body.sum(1 - axis)) / max(1, body.sum())
        first, last = np.searchsorted(share, (0.002, 0.998))
        margin = round(_MARGIN_MM / spacing)
        box.append(slice(max(0, int(first) - margin), int(last) + margin + 1))
    return box[0], box[1]


def _figure(
    count: int, shape: tuple[int, int], x_mm: float, y_mm: float
) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    width = 14.0
    height = width / columns * shape[1] * y_mm / (shape[0] * x_mm)
    top, bottom = 0.75, 0.65
    total = rows * height + top + bottom
    figure = Figure(figsize=(width, total))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0, bottom / total, 1, 1 - top / total, 0.01, 0.01)
    panels = list(grid.ravel())
    for axes in panels:
        axes.set_axis_off()
    return figure, panels[:count]


def _draw_slice(
    axes: Axes, image: np.ndarray, labels: np.ndarray, white: float, aspect: float
) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=white, aspect=aspect, interpolation="bilinear")
    axes.imshow(_overlay(labels), aspect=aspect, interpolation="nearest")
    axes.text(0.02, 0.97, "R", **_mark(axes, "left"))
    axes.text(0.98, 0.97, "L", **_mark(axes, "right"))


def _overlay(labels: UInt8[np.ndarray, "r c"]) -> Float[np.ndarray, "r c 4"]:
    """Return red, green, blue, alpha: muscles tinted, their outermost pixels opaque."""
    table = np.array([(*color, 0.0) for color in anatomy.COLORS.values()]) / 255
    colors = table[labels]
    padded = np.pad(labels, 1)
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    edge = np.any([labels != neighbour for neighbour in neighbours], axis=0)
    colors[..., 3] = np.where(edge, _EDGE_ALPHA, _ALPHA) * (labels > 0)
    return colors


def _mark(axes: Axes, align: str) -> dict[str, Any]:
    place = {"ha": align, "va": "top", "transform": axes.transAxes}
    return {**place, "color": "white", "fontsize": 9, "weight": "bold"}


def _legend(figure: Figure, region: anatomy.Region, present: UInt8[np.ndarray, " n"]) -> None:
    patches = [
        Patch(
            color="#{:02x}{:02x}{:02x}".format(*m.color),
            label=f"{m.number} {m.abbreviation} {m.name}"
            + ("" if m.number in present else " (none)"),
        )
        for m in region.muscles
    ]
    style: dict[str, Any] = {"frameon": False, "labelcolor": "white", "fontsize": 9}
    figure.legend(handles=patches, loc="lower center", ncols=len(patches) // 2, **style)


def _title(figure: Figure, segmentation: "Segmentation") -> None:
    certainty = segmentation.region_probability
    how = "given" if certainty is None else f"probability {certainty:.3f}"
    title = f"{segmentation.volume.name}: {segmentation.anatomy.title.lower()} ({how})"
    height = figure.get_figheight()
    figure.text(0.5, 1 - 0.1 / height, title, color="white", fontsize=14, ha="center", va="top")
    lines = [f"weights: {segmentation.weights}", *segmentation.warnings]
    color = "orange" if segmentation.warnings else "white"
    where: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9}
    figure.text(0.5, 1 - 0.42 / height, " · ".join(lines), color=color, **where)
