"""A pair of label maps as a radiologist looks at it, and the strokes it is drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from musclejax import anatomy
from musclejax.drawing import body_box
from musclejax.evaluation.pairs import Pair
from musclejax.scan.grid import lps_spacing_mm, to_lps
from musclejax.scan.intensity import body_mask

_DPI = 110
_GREY = 3.0
"""Where there is no scan, the reference is shown at 1 / this of white."""
_TINT = 0.35


@dataclass(frozen=True, eq=False)
class Scene:
    """A pair in the order [left, posterior, superior], cut in plane to what shows the body.

    Attributes:
        pair: Both label maps in the order of the file.
        image: The scan.
        reference: Label numbers.
        prediction: Label numbers.
        sides: 1 + index into `anatomy.SIDES`.
        spacing_mm: Left, posterior, superior.
        white: Intensity that is shown white.
    """

    pair: Pair
    image: Float[np.ndarray, "x y z"]
    reference: UInt8[np.ndarray, "x y z"]
    prediction: UInt8[np.ndarray, "x y z"]
    sides: UInt8[np.ndarray, "x y z"]
    spacing_mm: tuple[float, float, float]
    white: float

    @property
    def present(self) -> UInt8[np.ndarray, " n"]:
        """The label numbers that either map shows."""
        return np.union1d(self.reference, self.prediction)


def set_scene(pair: Pair, slices: Sequence[int] = ()) -> Scene:
    """Turn and cut a pair for drawing.

    Args:
        pair: Both label maps.
        slices: Indices in the file of the axial slices to keep, in this order; all if empty.
    """
    orientation = to_lps(pair.volume)
    image, reference, prediction, sides = (
        nib.apply_orientation(a, orientation)
        for a in (pair.volume.data, pair.reference, pair.prediction, pair.sides.voxels)
    )
    if slices:
        upward = orientation[pair.volume.axial_axis, 1] > 0
        kept = [s if upward else image.shape[2] - 1 - s for s in slices]
        image, reference, prediction, sides = (
            a[..., kept] for a in (image, reference, prediction, sides)
        )
    spacing_mm = lps_spacing_mm(pair.volume)
    body = body_mask(image) if pair.shows_scan else reference > 0
    box = body_box(body | (reference > 0) | (prediction > 0), *spacing_mm[:2])
    white = float(np.percentile(image[body], 99)) if pair.shows_scan else _GREY
    image, reference, prediction, sides = (
        np.ascontiguousarray(a[box]) for a in (image, reference, prediction, sides)
    )
    return Scene(pair, image, reference, prediction, sides, spacing_mm, white)


def extremes(values: pd.Series) -> dict[str, Any]:
    """Return the index labels of the best, the median and the worst value, each once.

    With two values there is no median, with one it is "only".
    """
    order = list(values.dropna().sort_values(kind="stable").index)
    if len(order) < 2:
        return dict(zip(["only"], order, strict=False))
    best, worst = {"best": order[-1]}, {"worst": order[0]}
    middle = {"median": order[(len(order) - 1) // 2]} if len(order) > 2 else {}
    return best | middle | worst


def outlines(labels: UInt8[np.ndarray, "r c"]) -> Float[np.ndarray, "n 2 2"]:
    """Return the line segments, ends as (column, row), between pixels that differ."""
    rows, columns = np.nonzero(labels[:, 1:] != labels[:, :-1])
    upright = np.stack([np.stack([columns + 0.5, rows + e], 1) for e in (-0.5, 0.5)], 1)
    rows, columns = np.nonzero(labels[1:] != labels[:-1])
    level = np.stack([np.stack([columns + e, rows + 0.5], 1) for e in (-0.5, 0.5)], 1)
    return np.concatenate([upright, level])


def draw_outlines(axes: Axes, labels: UInt8[np.ndarray, "r c"], **style: Any) -> None:
    """Draw the borders between labels as thin lines."""
    axes.add_collection(LineCollection(list(outlines(labels)), capstyle="round", **style))


def draw_tint(axes: Axes, labels: UInt8[np.ndarray, "r c"], **options: Any) -> None:
    """Tint labels and draw the border of each in its own colour."""
    table = np.array([(*color, 255 * _TINT) for color in anatomy.COLORS.values()]) / 255
    table[0] = 0
    axes.imshow(table[labels], interpolation="nearest", **options)
    for number in np.unique(labels[labels > 0]):
        mask = (labels == number).astype(np.uint8)
        draw_outlines(axes, mask, colors=[table[number][:3]], linewidths=1.1)


def letter(axes: Axes, x: float, y: float, text: str) -> None:
    """Write centred on a place of the panel, 0 to 1 from left and from below."""
    style: dict[str, Any] = {"color": "white", "fontsize": 9, "weight": "bold"}
    axes.text(x, y, text, transform=axes.transAxes, ha="center", va="center", **style)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG on black."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, facecolor="black", format="png")
