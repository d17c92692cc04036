"""Label maps as thin lines and tints, and the figures that they are drawn into."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from musclejax.reports.pictures.overlay import LAYERS, tint

_DPI = 110


def outlines(labels: UInt8[np.ndarray, "r c"]) -> Float[np.ndarray, "n 2 2"]:
    """Return the line segments, ends as (column, row), between pixels that differ."""
    rows, columns = np.nonzero(labels[:, 1:] != labels[:, :-1])
    vertical = np.stack([np.stack([columns + 0.5, rows + e], 1) for e in (-0.5, 0.5)], 1)
    rows, columns = np.nonzero(labels[1:] != labels[:-1])
    horizontal = np.stack([np.stack([columns + e, rows + 0.5], 1) for e in (-0.5, 0.5)], 1)
    return np.concatenate([vertical, horizontal])


def draw_outlines(axes: Axes, labels: UInt8[np.ndarray, "r c"], **style: Any) -> None:
    """Draw the borders between labels as thin lines."""
    axes.add_collection(LineCollection(list(outlines(labels)), capstyle="round", **style))


def draw_tint(axes: Axes, labels: UInt8[np.ndarray, "r c"], **options: Any) -> None:
    """Tint labels and draw the border of each in its own color."""
    axes.imshow(tint(labels), interpolation="nearest", **options)
    for number in np.unique(labels[labels > 0]):
        mask = (labels == number).astype(np.uint8)
        draw_outlines(axes, mask, colors=[LAYERS[number][:3]], linewidths=1.1)


def letter(axes: Axes, x: float, y: float, text: str) -> None:
    """Write centered on a place of the panel, 0 to 1 from left and from below."""
    style: dict[str, Any] = {"color": "white", "fontsize": 9, "weight": "bold"}
    axes.text(x, y, text, transform=axes.transAxes, ha="center", va="center", **style)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG on black."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, facecolor="black", format="png")
