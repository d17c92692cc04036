"""Picture and page of two results of `bench`, side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from musclejax.bench.comparison import Comparison
from musclejax.errors import printable
from musclejax.reports.benchmark import GRAY, LIGHT, finish, save_figure
from musclejax.reports.pages.comparison import to_document
from musclejax.reports.pages.document import PAGE, from_figure, write_document

PICTURE = "compare.png"
_FASTER, _SLOWER, _NEITHER = "#009E73", "#D55E00", GRAY
_COLORS = {"B is faster": _FASTER, "A is faster": _SLOWER}


def draw_ratios(comparison: Comparison) -> Figure:
    """Draw the ratio of each job and its interval; to the right of 1, B is faster."""
    rows = comparison.rows
    size = (7.5, min(1.3 + 0.32 * len(rows), 20))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    ends = rows[["ratio_low", "ratio_high"]].to_numpy(float)
    spread = np.nan_to_num(np.abs(ends - rows[["ratio"]].to_numpy(float)))
    for place, (_, row) in enumerate(rows.iterrows()):
        color = _COLORS.get(row["verdict"], _NEITHER)
        sure = spread[place][:, None]
        axes.errorbar(row["ratio"], place, xerr=sure, fmt="o", color=color, capsize=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [printable(job) for job in rows["job"]])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    reach = 1.1 * float(np.nanmax(np.abs(np.log(np.column_stack([ends, rows["ratio"]])))))
    axes.set_xlim(*np.exp([-max(reach, 0.05), max(reach, 0.05)]))
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(StrMethodFormatter("{x:.3g}") if reach < 1 else NullFormatter())
    if reach >= 1:
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    finish(axes, "How many times as fast is B as A?", "A is faster   |   B is faster")
    axes.tick_params(axis="x", which="both", labelsize=8)
    axes.grid(axis="x", which="both", color=LIGHT, linewidth=0.6)
    axes.grid(axis="y", visible=False)
    return figure


def save_comparison(
    comparison: Comparison,
    files: tuple[Path, Path],
    results: tuple[Mapping[str, Any], Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Write page and picture of a comparison; return the page."""
    figure = draw_ratios(comparison)
    save_figure(figure, folder / PICTURE)
    alt = "Ratios: " + ", ".join(
        f"{row['job']} {row['ratio']:.3g}" for _, row in comparison.rows.iterrows()
    )
    picture = from_figure(figure, alt, "Bars are 95 % intervals by bootstrap over the rounds.")
    document = to_document(comparison, files, results, picture)
    write_document(folder / PAGE, document)
    return folder / PAGE
