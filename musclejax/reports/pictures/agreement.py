"""Differences of volume and fat fraction against their means (Bland and Altman 1986)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from musclejax import anatomy
from musclejax.errors import count_of
from musclejax.reports.evaluation_tables import limits
from musclejax.reports.pictures.outlines import write_figure
from musclejax.reports.pictures.style import legend, literal

_WIDTH_IN, _ROW_IN = 14.0, 3.6
_HEAD_IN, _FOOT_IN, _GAP_IN = 0.75, 1.25, 0.95
_GRAY = "0.65"
_CAPTION = (
    "a dot: one muscle of one case, both sides as one label; lines: the mean over all dots and its "
    "95 % limits of agreement (mean ± 1.96 SD); per muscle they are in summary.csv"
)


class _Panel(NamedTuple):
    """A measure.

    Attributes:
        error: Column of the difference.
        of: Columns of reference and prediction are OF_reference and OF_prediction, then `unit`.
        unit: Ending of these columns.
        scale: What turns them into the unit of `below`.
        beside: Label of the vertical axis.
        below: Label of the horizontal axis.
    """

    error: str
    of: str
    unit: str
    scale: float
    beside: str
    below: str


_VOLUME = "mean of both volumes (ml)"
_PANELS = (
    _Panel("volume_error_ml", "volume", "_ml", 1, "volume error (ml)", _VOLUME),
    _Panel("volume_error_percent", "volume", "_ml", 1, "volume error (%)", _VOLUME),
    _Panel(
        "fat_fraction_error_pp", "fat_fraction", "", 100,
        "fat-fraction error (percentage points)", "mean of both fat fractions (%)",
    ),
)  # fmt: skip


def draw_agreement(muscles: pd.DataFrame, region: anatomy.Region, heading: str, path: Path) -> None:
    """Draw prediction - reference against the mean of both, a row per split.

    Args:
        muscles: Rows of `compare`, sides as one label, of one region.
        region: The region.
        heading: Title of the picture.
        path: PNG file to write.
    """
    shown = [panel for panel in _PANELS if muscles[panel.error].notna().any()]
    splits = {str(name): rows for name, rows in muscles.groupby("split", sort=False)}
    total = _HEAD_IN + _FOOT_IN + len(splits) * _ROW_IN + (len(splits) - 1) * _GAP_IN
    figure = Figure(figsize=(_WIDTH_IN, total))
    axes = figure.subplots(len(splits), len(shown), squeeze=False)
    bottom, top = _FOOT_IN / total, 1 - (_HEAD_IN + 0.3) / total
    figure.subplots_adjust(0.06, bottom, 0.985, top, 0.22, _GAP_IN / _ROW_IN)
    where: dict[str, Any] = {"color": "white", "ha": "center", "va": "top"}
    figure.text(0.5, 1 - 0.1 / total, literal(heading), fontsize=14, **where)
    figure.text(0.5, 1 - 0.42 / total, _CAPTION, fontsize=9, **where)
    for line, (split, rows) in zip(axes, splits.items(), strict=True):
        for place, panel in zip(line, shown, strict=True):
            _draw_panel(place, rows, region, panel)
        style: dict[str, Any] = {"fontsize": 11, "weight": "bold", "loc": "left", "pad": 6}
        title = f"{split}, {count_of(rows['case'].nunique(), 'case')}"
        line[0].set_title(literal(title), color="white", **style)
    present = [m.number for m in region.muscles if m.abbreviation in set(muscles["muscle"])]
    legend(figure, region, np.array(present, np.uint8))
    write_figure(figure, path)


def _draw_panel(axes: Axes, rows: pd.DataFrame, region: anatomy.Region, panel: _Panel) -> None:
    names = [f"{panel.of}_{which}{panel.unit}" for which in ("reference", "prediction")]
    middle, error = panel.scale * rows[names].mean(axis=1, skipna=False), rows[panel.error]
    for muscle in region.muscles:
        own = rows["muscle"] == muscle.abbreviation
        color = tuple(part / 255 for part in muscle.color)
        axes.plot(middle[own], error[own], "o", color=color, markersize=4.5, alpha=0.85)
    axes.set_facecolor("black")
    axes.tick_params(colors="white", labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(_GRAY)
    axes.set_xlabel(panel.below, color="white", fontsize=9)
    axes.set_ylabel(panel.beside, color="white", fontsize=9)
    axes.axhline(0, color="0.35", linewidth=0.8, zorder=0)
    bias, sd = error.mean(), error.std()
    lines = [(bias, "-"), *((limit, "--") for limit in limits(bias, sd))]
    for value, dashes in lines:
        if np.isfinite(value):
            axes.axhline(value, color="white", linewidth=1, linestyle=dashes, zorder=1)
    texts = [f"{value:+.1f}" for value, _ in lines if np.isfinite(value)]
    between = f" ({texts[1]} to {texts[2]})" if len(texts) > 1 else ""
    bias_text = f"bias {texts[0]}{between}, n {error.count()}" if texts else "no value"
    axes.set_title(bias_text, color="white", fontsize=9, loc="right", pad=6)
