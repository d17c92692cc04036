"""Pictures and page of measurements: throughput by engine, variant, batch, threads; growth."""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from musclejax.bench.table import COLUMNS
from musclejax.errors import count_of
from musclejax.files import staging_folder
from musclejax.reports.pages.benchmark import Measured, is_measured, to_document
from musclejax.reports.pages.document import PAGE, from_figure, write_document

COLORS = {
    "default": "#777777",
    "jax": "#0072B2",
    "onednn": "#003f66",
    "onnxruntime": "#56B4E9",
    "openvino": "#009E73",
    "flax": "#E69F00",
    "torch": "#D55E00",
    "keras": "#CC79A7",
    "imgaug": "#D55E00",
    "scipy": "#CC79A7",
}
"""Colors of Okabe and Ito, distinct for the color-blind."""
NAMES = {
    "default": "as it comes",
    "jax": "musclejax",
    "onednn": "musclejax + oneDNN",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "flax": "plain Flax",
    "torch": "PyTorch",
    "keras": "Keras/TensorFlow",
    "scipy": "SciPy",
}
TITLES = {
    "infer": "Inference",
    "train": "Training step",
    "segment": "musclejax segment",
    "cohort": "musclejax segment, many scans",
    "data": "Training data",
}
AXES = {"batch_size": "slices in a batch", "threads": "threads", "slices": "slices in all"}
GRAY, LIGHT = "#555555", "#dddddd"
_HOW_READ = "Whiskers are quartiles."
Panel = Callable[[Axes, pd.DataFrame], None]


def draw(table: pd.DataFrame) -> Figure:
    """Return the picture of one kind: a panel for each option that took more than one value."""
    panels = _panels(table)
    columns = len(panels) if len(panels) <= 3 else 2
    lines = math.ceil(len(panels) / columns)
    tall = 1.4 + 0.34 * max(len(part) for _, part in panels)
    size = (4.4 * columns, min(max(tall, 2.6), 4.4) * lines)
    figure = Figure(figsize=size, layout="constrained")
    places = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (panel, part) in zip(places, panels, strict=False):
        panel(axes, part)
    for axes in places[len(panels) :]:
        axes.remove()
    figure.supxlabel(_machine(table), fontsize=7, color=GRAY)
    return figure


def save_picture(table: pd.DataFrame, folder: Path) -> None:
    """Write the picture of the rows of one kind as bench_KIND.png."""
    save_figure(draw(table), folder / f"bench_{table['kind'].iloc[0]}.png")


def save_page(table: pd.DataFrame, folder: Path, warnings: Sequence[str]) -> Path:
    """Write the page of the rows of one kind, and of what else was measured into the folder.

    Args:
        table: The latest rows.
        folder: Where the tables are.
        warnings: What could not be measured.

    Returns:
        The page.
    """
    kind = str(table["kind"].iloc[0])
    others = {name: _read_rows(folder, name) for name in TITLES if name != kind}
    shown = {kind: table} | {name: rows for name, rows in others.items() if rows is not None}
    bad = [
        f"bench_{name}.csv is not a table of this version of musclejax, and is left out"
        for name, rows in others.items()
        if rows is None and (folder / f"bench_{name}.csv").exists()
    ]
    measured = [_measured(name, rows) for name, rows in shown.items()]
    write_document(folder / PAGE, to_document(measured, [*warnings, *bad]))
    return folder / PAGE


def _measured(kind: str, rows: pd.DataFrame) -> Measured:
    fastest = rows.sort_values("slices_per_s", ascending=False)
    alt = "Slices per second: " + ", ".join(
        f"{_name(row['engine'], row['precision'])} {row['slices_per_s']:.3g}"
        for _, row in fastest.head(len(NAMES)).iterrows()
    )
    return Measured(kind, TITLES[kind], rows, from_figure(draw(rows), alt, _HOW_READ))


def _read_rows(folder: Path, kind: str) -> pd.DataFrame | None:
    """Return the rows of an earlier measurement; None if there are none that can be read."""
    try:
        rows = pd.read_csv(folder / f"bench_{kind}.csv")
    except (OSError, ValueError):
        return None
    return rows if is_measured(rows, COLUMNS[kind]) else None


def draw_rivals(tables: Sequence[pd.DataFrame], path: Path) -> None:
    """Draw the engines side by side, a panel for each table, two in a line."""
    lines = [[_one_setting(table) for table in tables[n : n + 2]] for n in range(0, len(tables), 2)]
    tall = [1.0 + 0.28 * max(map(len, line)) for line in lines]
    figure = Figure(figsize=(4.2 * len(lines[0]), sum(tall)), layout="constrained")
    panels = figure.subplots(len(lines), len(lines[0]), squeeze=False, height_ratios=tall)
    for axes, rows in zip(panels.flat, chain(*lines), strict=False):
        draw_bars(axes, rows)
    figure.supxlabel(f"{tables[0]['cpu'].iloc[0]}; medians and quartiles", fontsize=7, color=GRAY)
    save_figure(figure, path)


def _panels(table: pd.DataFrame) -> list[tuple[Panel, pd.DataFrame]]:
    """Return the panels, each with its rows: the other options at their first value."""
    panels: list[tuple[Panel, pd.DataFrame]] = []
    if table["kind"].iloc[0] == "data":
        parts = table.groupby(["variant", "threads"], sort=False)
        return [(draw_bars, part) for _, part in parts]
    first = _one_setting(table)
    if len(first) > 1:
        panels.append((draw_bars, first))
    if table["variant"].nunique() > 1:
        panels.append((draw_variants, _hold(table, "variant")))
    for option in ("batch_size", "threads"):
        if table[option].nunique() > 1:
            panels.append((_lines(option, "slices_per_s"), _hold(table, option)))
    growth = _hold(table, "slices")
    if growth["slices"].nunique() > 1:
        panels.append((_lines("slices", "seconds_per_slice"), growth))
        if growth["peak_memory_mib"].notna().any():
            panels.append((_lines("slices", "peak_memory_mib"), growth))
    return panels or [(draw_bars, first)]


def _hold(table: pd.DataFrame, free: str) -> pd.DataFrame:
    """Return the rows in which every option but `free` has its first value."""
    for option in ("variant", "batch_size", "threads", "slices"):
        if option == free or (option == "slices" and free == "batch_size"):
            continue
        if option == "batch_size" and free == "slices" and _one_batch_each(table):
            continue
        table = table[table[option] == table[option].iloc[0]]
    # Without --slices a repeat takes one batch: that is no growth.
    return table.iloc[:0] if free == "slices" and table["batch_size"].nunique() > 1 else table


def _one_batch_each(table: pd.DataFrame) -> bool:
    return bool((table["slices"] == table["batch_size"]).all())


def _one_setting(table: pd.DataFrame) -> pd.DataFrame:
    return _hold(table, "")


def draw_bars(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw throughput by engine, fastest first; whiskers are quartiles."""
    rows = rows.sort_values("slices_per_s", ascending=False)
    names = [
        _name(row["engine"], row["precision"])
        + f", batch of {row['batch_size']}" * bool(rows["batch_size"].nunique() > 1)
        for _, row in rows.iterrows()
    ]
    own = rows["engine"].eq("jax") & rows["precision"].eq("float32")
    ratios = [
        "" if np.isnan(r) or is_own else f"  {r:.2f}x"
        for r, is_own in zip(rows["ratio_to_jax"], own, strict=True)
    ]
    colors = [COLORS.get(e, GRAY) for e in rows["engine"]]
    hatch = ["///" if p == "bfloat16" else "" for p in rows["precision"]]
    whiskers = _whiskers(rows, "slices_per_s")
    axes.barh(names, rows["slices_per_s"], color=colors, hatch=hatch, edgecolor="white", height=0.7)
    axes.errorbar(rows["slices_per_s"], range(len(rows)), xerr=whiskers, fmt="none", ecolor="black")
    ends = rows["slices_per_s"] + whiskers[1]
    for place, (end, rate, ratio) in enumerate(
        zip(ends, rows["slices_per_s"], ratios, strict=True)
    ):
        axes.text(end, place, f" {rate:.3g}{ratio}", va="center", fontsize=8)
    axes.set_xlim(0, float(ends.max()) * 1.36)
    axes.invert_yaxis()
    finish(axes, f"{_title(rows)}\n{_held(rows)}", "slices per second (x: against musclejax)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def draw_variants(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw throughput by variant, a color for each engine."""
    variants = list(dict.fromkeys(rows["variant"]))
    series = _series(rows)
    height = 0.8 / len(series)
    for number, ((engine, precision), part) in enumerate(series):
        places = [variants.index(v) + (number + 0.5) * height - 0.4 for v in part["variant"]]
        axes.errorbar(
            part["slices_per_s"],
            places,
            xerr=_whiskers(part, "slices_per_s"),
            color=COLORS.get(engine, GRAY),
            fmt="s" if precision == "bfloat16" else "o",
            capsize=2,
            label=_name(engine, precision),
        )
    axes.set_yticks(range(len(variants)), variants)
    axes.set_ylim(-0.6, len(variants) - 0.4)
    # Variants differ a hundredfold: a logarithmic axis, on which bars have no foot.
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.invert_yaxis()
    finish(axes, f"{_title(rows)}: variants\n{_held(rows)}", "slices per second")
    axes.grid(axis="y", visible=False)
    if len(series) > 1:
        axes.legend(fontsize=7, frameon=False)


def _series(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    groups = rows.groupby(["engine", "precision"], sort=False)
    return [((str(key[0]), str(key[1])), part) for key, part in groups]  # type: ignore[index]


def _lines(option: str, value: str) -> Panel:
    titles = {
        "slices_per_s": "slices per second",
        "seconds_per_slice": "seconds per slice",
        "peak_memory_mib": "peak memory (GiB)",
    }

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        unit = 1024 if value == "peak_memory_mib" else 1
        for (engine, precision), part in _series(rows):
            part = part.sort_values(option)
            errors = _whiskers(part, value) if value in ("slices_per_s",) else None
            axes.errorbar(
                part[option],
                part[value] / unit,
                yerr=errors,
                color=COLORS.get(engine, GRAY),
                linestyle="--" if precision == "bfloat16" else "-",
                marker="o",
                markersize=4,
                capsize=2,
                label=_name(engine, precision),
            )
        ticks = sorted(rows[option].unique())
        if option == "slices":
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_ylim(bottom=0)
        finish(axes, f"{_title(rows)}: {titles[value]}\n{_held(rows)}", AXES[option])
        axes.legend(fontsize=7, frameon=False)

    return panel


def _whiskers(rows: pd.DataFrame, value: str) -> np.ndarray:
    low, high = rows[value] - rows[f"{value}_low"], rows[f"{value}_high"] - rows[value]
    return np.stack([low.clip(lower=0), high.clip(lower=0)])


def _name(engine: str, precision: str) -> str:
    return NAMES.get(engine, engine) + (" bf16" if precision == "bfloat16" else "")


def _title(rows: pd.DataFrame) -> str:
    return TITLES[rows["kind"].iloc[0]]


def _held(rows: pd.DataFrame) -> str:
    """Name the options that have one value in all rows."""
    row = rows.iloc[0]
    texts = {
        "variant": row["variant"].replace("_", " "),
        "batch_size": f"batch of {row['batch_size']}",
        "threads": count_of(int(row["threads"]), "thread"),
    }
    if row["kind"] == "data":
        del texts["batch_size"]
    return ", ".join(text for option, text in texts.items() if rows[option].nunique() == 1)


def _machine(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    return f"{row['cpu']}; {row['height']} x {row['width']} pixels; medians and quartiles"


def finish(axes: Axes, title: str, x: str) -> None:
    """Give a panel its title and the look that all of them have."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    FigureCanvasAgg(figure)
    with staging_folder(path.parent, path.name) as stage:
        figure.savefig(stage / path.name, dpi=150, format="png")
