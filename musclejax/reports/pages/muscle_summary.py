"""Muscles and groups over the scans of a cohort, from summary.csv and NAME_slices.csv."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from musclejax.anatomy import GROUPS, REGIONS, SIDES
from musclejax.errors import count_of
from musclejax.reports.pages.plots import (
    FEWEST_OF_A_BOX,
    QUANTILES,
    BoxPlot,
    LinePlot,
    Series,
    draw_boxes,
    draw_lines,
    words,
)
from musclejax.reports.pages.table import Cell, Column, Table

_TEXTS = ("subject", "visit", "scan", "region", "muscle", "name", "kind", "truncated")
_VOLUME = ("volume_left_ml", "volume_right_ml")
_FAT = ("fat_fraction_left", "fat_fraction_right")
FIGURES = (
    *(*_VOLUME, "volume_asymmetry_pct"),
    *(*_FAT, "fat_fraction_asymmetry_pct"),
    *("volume_left_change_pct", "volume_right_change_pct"),
    *("fat_fraction_left_change_pp", "fat_fraction_right_change_pp"),
)
"""Columns of summary.csv with numbers; fat fractions are shown in percent."""
_DECIMALS = 1
_ORDER = {
    key: number
    for number, key in enumerate(
        (region, name)
        for region, whole in REGIONS.items()
        for name in (
            *(muscle.abbreviation for muscle in whole.muscles),
            *(group.name for group in GROUPS[region]),
        )
    )
}
_LEVEL_STEP, _MOST_SCANS = 0.05, 100
"""Of the plot by level: width of a bin, and scans whose slices are read. Source: ours."""
_LEVELS = ((0.0, "hip"), (0.5, "mid-thigh"), (1.0, "knee"), (1.5, "mid-leg"), (2.0, "ankle"))
_MOST_ROWS = 20_000
"""Rows of summary.csv that a page holds, for its table of one muscle: those of 1,000 thighs."""


class _Kind(NamedTuple):
    """A plot per region.

    Attributes:
        id: Start of its id.
        title: What it shows.
        unit: Of its values, with a space before it where one belongs.
        columns: Of summary.csv: left and right, or both in one.
        kinds: "muscle" and "group", those that it shows.
    """

    id: str
    title: str
    unit: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...] = ("muscle", "group")


_PLOTS = (
    _Kind("volume", "volume of muscles", " ml", _VOLUME, kinds=("muscle",)),
    _Kind("group-volume", "volume of muscle groups", " ml", _VOLUME, kinds=("group",)),
    _Kind("fat", "fat fraction", " %", _FAT),
    _Kind("asymmetry", "left against right, volume", " %", ("volume_asymmetry_pct",)),
    _Kind("change", "change of volume since the first visit", " %", FIGURES[6:8]),
    _Kind("fat-change", "change of fat fraction since the first visit", " points", FIGURES[8:10]),
)


def read_summary(folder: Path) -> pd.DataFrame | None:
    """Return the rows of summary.csv with a volume; None if it is gone or another table.

    Returns:
        Columns `_TEXTS` (categories) and `FIGURES`, fat fractions in percent; volumes of muscles
        that are not in view are NaN.
    """
    known = {*_TEXTS, *FIGURES}
    try:
        frame = pd.read_csv(
            folder / "summary.csv",
            usecols=lambda name: name in known,
            converters=dict.fromkeys(_TEXTS, intern),  # 001 stays what it is
            keep_default_na=False,
            na_values=dict.fromkeys(FIGURES, ""),
        )
    except (OSError, ValueError):  # of pandas too
        return None
    if known - {*frame.columns}:
        return None
    for name in _TEXTS:
        frame[name] = frame[name].astype("category")
    for name in FIGURES:
        numbers = pd.to_numeric(frame[name], errors="coerce").astype(np.float32)
        frame[name] = numbers.where(np.isfinite(numbers))  # JSON of browsers has no infinity
    for name in _VOLUME:
        frame[name] = frame[name].where(frame[name] > 0)
    frame[list(_FAT)] *= 100
    return frame[frame[list(_VOLUME)].notna().any(axis=1)]


def muscle_table(frame: pd.DataFrame) -> Table:
    """Return a row per region and muscle or group: numbers of scans, medians and quartiles."""
    shown = [name for name in FIGURES if frame[name].notna().any()]
    several = frame["region"].nunique() > 1
    columns = (
        *([Column("region")] * several),
        *(Column("muscle"), Column("name")),
        Column("scans", "in which it is in view", number=True),
        Column("truncated", "of these, by the field of view: volumes are of a part", number=True),
        *(Column(_title(name), f"{name} of summary.csv", number=True) for name in shown),
    )
    rows: Iterator[list[str | Cell]] = (
        [
            *([region] * several),
            *(muscle, str(rows["name"].iloc[0])),
            *(str(len(rows)), str(_truncated(rows))),
            *(_summary(rows[name].dropna().to_numpy(float)) for name in shown),
        ]
        for (region, muscle), rows in _by_muscle(frame)
    )
    fewer = f"of fewer than {FEWEST_OF_A_BOX}: lowest to highest"
    caption = f"Muscles and groups over all scans: median (first to third quartile; {fewer})"
    return Table("muscle-summary", caption, columns, rows)


def _summary(values: np.ndarray) -> Cell:
    median, _, spread = words(values, _DECIMALS).partition(" ")
    return Cell(median, note=spread)


def _truncated(rows: pd.DataFrame) -> int:
    return int((rows["truncated"] == "True").sum())


def draw_plots(frame: pd.DataFrame) -> list[BoxPlot]:
    """Return the plots of a cohort for which there are values, by region."""
    return [
        plot
        for region in REGIONS
        if len(rows := frame[frame["region"] == region])
        for kind in _PLOTS
        if (plot := _draw(region, kind, rows))
    ]


def draw_levels(folder: Path, scans: Sequence[tuple[str, str]]) -> LinePlot | None:
    """Return the fat fraction of muscle groups along the limb; None if no slice has it.

    Args:
        folder: Of the results.
        scans: Name and region of those with a fat fraction; some, evenly spread, stand for many.
    """
    chosen = np.unique(np.linspace(0, len(scans) - 1, _MOST_SCANS).astype(int))
    tables = [_read_levels(folder, *scans[n]) for n in chosen if scans]
    filled = [table for table in tables if len(table)]
    if not filled:
        return None
    frame = pd.concat(filled)
    frame["bin"] = (frame["level"] / _LEVEL_STEP).round() * _LEVEL_STEP
    lines = [
        (str(group), _quartiles(frame[(frame["region"] == region) & (frame["muscle"] == group)]))
        for region in REGIONS
        for group in (group.name for group in GROUPS[region])
    ]
    some = f"{len(chosen)} of " if len(chosen) < len(scans) else ""
    of = f"{some}{count_of(len(scans), 'scan')}"
    caption = f"Median and quartiles over the slices of {of}, both sides, by level along the limb."
    return draw_lines("fat-level", "Fat fraction by level, %", caption, lines, _LEVELS)


def embedded_rows(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the rows of a summary as lines of JSON for the page; none if they are too many."""
    if len(frame) > _MOST_ROWS:
        return
    texts = frame[["region", "muscle", "subject", "visit", "scan", "truncated"]]
    figures = frame[list(FIGURES)].to_numpy()
    for row, values in zip(texts.itertuples(index=False), figures, strict=True):
        yield embedded([*row[:-1], row[-1] == "True", *map(_shorter, values.tolist())])


def embedded(value: Any) -> str:
    """Return JSON that may stand in a page: what could end a script is an escape."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _shorter(value: float) -> float | None:
    return None if np.isnan(value) else round(value, _DECIMALS)


def _by_muscle(frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    groups: Any = frame.groupby(["region", "muscle"], observed=True, sort=False)
    return sorted(groups, key=lambda pair: _ORDER.get(pair[0], len(_ORDER)))


def _title(column: str) -> str:
    """Return the title of a column of summary.csv, with its unit."""
    text = column.replace("fat_fraction", "FF").replace("_", " ")
    text = text.removesuffix(" ml").removesuffix(" pct").removesuffix(" pp")
    units = {"_ml": ", ml", "_pct": ", %", "_pp": ", points"}
    unit = next((unit for end, unit in units.items() if column.endswith(end)), ", %")
    return f"{text}{unit}"


FIGURE_TITLES = tuple(map(_title, FIGURES))
"""Title of each figure, for the page."""


def _draw(region: str, kind: _Kind, frame: pd.DataFrame) -> BoxPlot | None:
    looks = ("both",) if len(kind.columns) == 1 else SIDES
    frame = frame[frame["kind"].isin(kind.kinds)]
    rows = [
        (
            muscle,
            [
                Series(look, own[column].dropna().to_numpy(float))
                for look, column in zip(looks, kind.columns, strict=True)
            ],
        )
        for (_, muscle), own in _by_muscle(frame)
    ]
    title = f"{REGIONS[region].title}: {kind.title},{kind.unit}"
    id_ = f"{kind.id}-{region}"
    return draw_boxes(id_, title, _caption(frame, kind), kind.unit, rows)


def _caption(frame: pd.DataFrame, kind: _Kind) -> str:
    """Return one sentence on what a plot shows and on how much it stands."""
    used = frame[frame[list(kind.columns)].notna().any(axis=1)]
    scans, subjects = (count_of(used[who].nunique(), who) for who in ("scan", "subject"))
    sides = "100 (left - right) / mean of both" if len(kind.columns) == 1 else "Left above right"
    partial = _truncated(used)
    many = "all" if partial == len(used) else f"{partial} of {len(used)}"
    note = f"; {many} values are of muscles truncated by the field of view"
    return f"{sides}, {scans} of {subjects}{note if partial and 'fat' not in kind.id else ''}."


def _read_levels(folder: Path, name: str, region: str) -> pd.DataFrame:
    """Return level and fat fraction, in percent, of the groups in the slices of a scan."""
    columns = ["muscle", "kind", "level", "fat_fraction"]
    try:
        table = pd.read_csv(folder / f"{name}_slices.csv", usecols=columns)
    except (OSError, ValueError):
        return pd.DataFrame({"level": []})
    numbers = table[["level", "fat_fraction"]].apply(pd.to_numeric, errors="coerce")
    known = table.assign(level=numbers["level"], fat=100 * numbers["fat_fraction"], region=region)
    known = known[known["kind"] == "group"].dropna(subset=["level", "fat"])
    return known[["region", "muscle", "level", "fat"]]


def _quartiles(frame: pd.DataFrame) -> np.ndarray:
    """Return level, first quartile, median, third quartile in rows."""
    found = frame.groupby("bin")["fat"].quantile(np.array(QUANTILES[1:4])).unstack()
    return np.column_stack([found.index.to_numpy(float), found.to_numpy(float)])
