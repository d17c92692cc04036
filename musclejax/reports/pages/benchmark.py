"""The page of measurements: for each kind a table, a picture, and how it was measured."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from musclejax.errors import count_of, printable
from musclejax.reports.pages.document import Document, Facts, Picture, Section
from musclejax.reports.pages.table import Column, Table, show, show_facts

_HEADINGS = {
    "slices_per_s": Column("slices/s", "median over the rounds", number=True),
    "scans_per_hour": Column("scans/h", "one after another", number=True),
    "ratio_to_jax": Column("vs jax", "times as fast as musclejax in float32", number=True),
    "seconds_median": Column("seconds", "of a repeat, median", number=True),
    "seconds_iqr": Column("IQR (s)", "interquartile range of these seconds", number=True),
    "latency_p90": Column("p90 (s)", "latency that 90 % of the calls keep", number=True),
    "cpu_s": Column("CPU (s)", "of all processors in a repeat, median", number=True),
    "others": Column("others", "processors that other programs kept busy, median", number=True),
    "disturbed": Column("disturbed", "repeats in which they did more than allowed", number=True),
    "compile_s": Column("compile (s)", "seconds of the first call beyond the second", number=True),
    "peak_memory_mib": Column("memory (MiB)", "peak of the process", number=True),
    "energy_j": Column("energy (J)", "of all processors in a repeat", number=True),
    "agreement": Column("same labels", "of the foreground, as by jax in float32", number=True),
    "dsc": Column("DSC", "against the reference labels", number=True),
    "gflops": Column("GFLOP/s", "arithmetic of the network per second", number=True),
    "share_of_peak": Column("of peak", "of the fastest arithmetic seen in any round", number=True),
}
"""Column of a table of measurements -> its heading."""
_FORMATS = {
    **dict.fromkeys(("peak_memory_mib", "gflops", "scans_per_hour", "disturbed"), ".0f"),
    "share_of_peak": ".0%",
    "agreement": ".2%",
    "others": ".2f",
    "dsc": ".4f",
}
_OPTIONS = ("variant", "precision", "threads", "batch_size")
_FILES = {
    ".csv": "a row per configuration: all columns",
    "_repeats.csv": "every repeat",
    ".json": "all of it, for programs and `musclejax bench compare`",
}


class Measured(NamedTuple):
    """What was measured of one kind.

    Attributes:
        kind: See `BenchOptions`.
        title: Its name for people.
        rows: As `bench.table.rows` returns them.
        picture: Of the rows.
    """

    kind: str
    title: str
    rows: pd.DataFrame
    picture: Picture


def to_document(measured: Sequence[Measured], warnings: Sequence[str]) -> Document:
    """Return the page.

    Args:
        measured: What is shown, the latest first.
        warnings: What could not be measured or read.
    """
    files = [(f"bench_{one.kind}{end}", what) for one in measured for end, what in _FILES.items()]
    return Document(
        "Speed and memory",
        "Medians over rounds in which all configurations take turns, without those in which other "
        "programs ran. More than 1 in “vs jax” is faster than musclejax in float32, per round.",
        _fastest(measured[0]),
        [printable(line) for line in warnings],
        [*map(_section, measured), Section("Files for other programs", files=files)],
    )


def to_table(name: str, rows: pd.DataFrame) -> Table:
    """Return medians and ratios, options that took several values in front."""
    options = [*_OPTIONS, *["slices"] * bool((rows["slices"] != rows["batch_size"]).any()), "scans"]
    keys = ["engine", *(option for option in options if rows[option].nunique() > 1)]
    keys += ["used"] * bool((rows["engine"] == "default").any())
    shown = [name for name in _HEADINGS if name in rows and rows[name].notna().any()]
    if not rows["disturbed"].any():
        shown.remove("disturbed")
    cells = [
        [*(printable(str(row[key])) for key in keys), *(_cell(name, row[name]) for name in shown)]
        for _, row in rows.iterrows()
    ]
    heads = [Column(key, number=pd.api.types.is_numeric_dtype(rows[key].dtype)) for key in keys]
    columns = (*heads, *(_HEADINGS[name] for name in shown))
    return Table(name, "A row per configuration", columns, cells)


def is_measured(rows: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether a table that was read is one of measurements: its columns and their types."""
    figures = [name for name in (*_HEADINGS, "slices", "batch_size", "threads") if name in rows]
    numeric = all(pd.api.types.is_numeric_dtype(rows[name].dtype) for name in figures)
    return tuple(rows.columns) == tuple(columns) and len(rows) > 0 and numeric


def _cell(column: str, value: float | int) -> str:
    if value != value:
        return ""
    if column in _FORMATS:
        return f"{value:{_FORMATS[column]}}"
    return show(float(value))


def _section(measured: Measured) -> Section:
    rows, first = measured.rows, measured.rows.iloc[0]
    held = [name for name in _OPTIONS if rows[name].nunique() == 1]
    shown = {name.replace("_", " "): first[name] for name in ("command", *held)}
    shown |= {"pixels": f"{first['height']} x {first['width']}", "rounds": first["repeats"]}
    by = [
        f"{count_of(int(row['threads']), 'thread')}, {row['precision']}: "
        f"{row['peak_gflops']:.0f} GFLOP/s, {row['peak_by']}"
        for _, row in rows.iterrows()
        if row.get("peak_by")
    ]
    shown |= {"peak": "; ".join(dict.fromkeys(by))} if by else {}
    shown |= {"scenarios of MLPerf": _scenarios(rows)} if rows["scenario"].any() else {}
    shown |= {"processor": first["cpu"], "system": first["system"], "versions": _versions(rows)}
    shown |= {"commit": first["commit"]} if isinstance(first["commit"], str) else {}
    table = to_table(f"bench_{measured.kind}", rows)
    return Section(measured.title, table=table, picture=measured.picture, facts=show_facts(shown))


def _scenarios(rows: pd.DataFrame) -> str:
    """Return which scenarios rows resemble, and the figure to read."""
    figures = {"single stream": "read p90", "offline": "read the throughput"}
    return ", ".join(f"{name} ({figures[name]})" for name in dict.fromkeys(rows["scenario"]))


def _versions(rows: pd.DataFrame) -> str:
    """Return the versions of all rows: each engine has libraries of its own."""
    return " ".join(dict.fromkeys(" ".join(map(str, rows["versions"])).split()))


def _fastest(measured: Measured) -> Facts:
    """Return the fastest configuration; the steps of "data" are no alternatives."""
    if measured.kind == "data":
        return ()
    best = measured.rows.sort_values("slices_per_s", ascending=False).iloc[0]
    name = printable(f"{best['engine']}, {best['variant']}, {best['precision']}")
    return [(f"fastest, {measured.title}", f"{name}: {show(best['slices_per_s'])} slices/s")]
