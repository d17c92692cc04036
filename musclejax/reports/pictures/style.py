"""Slices with their labels, as a radiologist reads them: the style of matplotlib's pictures."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from musclejax import anatomy
from musclejax.errors import printable
from musclejax.reports.pictures.overlay import overlay


def draw_slice(
    axes: Axes,
    image: np.ndarray,
    labels: UInt8[np.ndarray, "r c"] | None,
    white: float,
    aspect: float = 1.0,
) -> None:
    """Draw an axial slice, rows from anterior to posterior, columns from right to left.

    Args:
        axes: Where.
        image: Intensities.
        labels: Label numbers, if any.
        white: Intensity that is shown white.
        aspect: Height of a pixel against its width.
    """
    axes.imshow(image, cmap="gray", vmin=0, vmax=white, aspect=aspect, interpolation="bilinear")
    if labels is not None:
        axes.imshow(overlay(labels), aspect=aspect, interpolation="nearest")
    axes.text(0.02, 0.97, "R", **mark(axes, "left"))
    axes.text(0.98, 0.97, "L", **mark(axes, "right"))


def literal(text: str) -> str:
    """Return a text that matplotlib shows as it is: a name with dollar signs is no formula."""
    return printable(text).replace("$", r"\$")


def mark(axes: Axes, align: str) -> dict[str, Any]:
    """Return the style of a letter at the upper rim of a panel."""
    place = {"ha": align, "va": "top", "transform": axes.transAxes}
    return {**place, "color": "white", "fontsize": 9, "weight": "bold"}


def legend(figure: Figure, region: anatomy.Region, present: UInt8[np.ndarray, " n"]) -> None:
    """Name the muscles below the panels; those that are not `present` are marked as missing."""
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
