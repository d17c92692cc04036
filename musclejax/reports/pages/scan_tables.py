"""What the page of a scan says in words and numbers, from its tables and its run record."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from musclejax.anatomy import REGIONS, SIDES
from musclejax.errors import listed, one_line, printable
from musclejax.reports.cohort import read_flagged
from musclejax.reports.cohort_tables import image_kind
from musclejax.reports.pages.table import Cell, Column, Table, show, show_facts

DOUBTFUL_CM2 = 2.0
"""Area of a muscle that may be wrong in a slice, by its estimated DSC, from which the slice's
picture names it. Source: ours; small sections have low estimates in nearly every slice. Of the 31
slices of the sample thighs 4 are named, with 1 cm2 13."""
_NAMED = 3
"""Muscles that a slice's picture names at most."""
_MAP = "_mean"
"""End of the column of a map; none of ours ends so."""
_METHODS = {
    "gap": "the gap between the limbs",
    "muscles": "the labeled muscles of both limbs",
    "anatomy": "lateral and medial muscles of the one limb",
    "position": "the position in the scanner",
}
"""Methods of `scan.sides.Sides`, in words."""
Row = Mapping[str, Any]


class _Figure(NamedTuple):
    """A column of a page's table: its title, what it means, and the cell of a row."""

    column: Column
    cell: Callable[[Row], str | Cell]


def _number(name: str, title: str, meaning: str = "", decimals: int = 2) -> tuple[str, _Figure]:
    column = Column(title, meaning, number=True)
    return name, _Figure(column, lambda row: show(row[name], decimals=decimals))


def _text(name: str, meaning: str = "") -> tuple[str, _Figure]:
    return name, _Figure(Column(name, meaning), lambda row: printable(show(row[name])))


def _dsc(row: Row) -> Cell:
    estimate = row["estimated_dsc"]
    text: str = "" if pd.isna(estimate) else f"{estimate:.2f}"
    return Cell(f"{text} look".strip(), look="warn") if row.get("flag") is True else Cell(text)


def _interval(row: Row) -> str:
    low, high = row["estimated_dsc_low"], row.get("estimated_dsc_high", math.nan)
    return "" if pd.isna(low) else f"{low:.2f}\N{EN DASH}{high:.2f}"


def _percent(name: str, title: str, meaning: str = "") -> tuple[str, _Figure]:
    def cell(row: Row) -> str | Cell:
        return "" if pd.isna(row[name]) else f"{100 * row[name]:.1f}"

    return name, _Figure(Column(title, meaning, number=True), cell)


_LOW = "estimated: what a comparison with a person's contours would give; 'look' where it is low"
_ESTIMATE = ("estimated_dsc", _Figure(Column("estimated DSC", _LOW, number=True), _dsc))
_WIDTH = Column("interval", "of the estimate, 80 %", number=True)
_INTERVAL = ("estimated_dsc_low", _Figure(_WIDTH, _interval))
_FAT = _percent("fat_fraction", "fat fraction (%)", "mean over the muscle")
_MUSCLES = dict(
    (
        _text("muscle"),
        _text("name"),
        _text("side"),
        _number("volume_ml", "volume (ml)"),
        (
            "truncated",
            _Figure(
                Column("truncated", "cut off by the field of view: its volume is a part"),
                lambda row: Cell("truncated", look="quiet") if row["truncated"] is True else "",
            ),
        ),
        _FAT,
        _percent("fat_fraction_eroded", "eroded (%)", "without the outermost pixels"),
        _number("lean_ml", "lean (ml)", "volume times 1 - fat fraction"),
        _ESTIMATE,
        _INTERVAL,
        _percent("changed_share", "changed (%)", "voxels that a person changed"),
        _number("mean_area_cm2", "mean area (cm²)", "over the slices that show the muscle"),
        _number("max_area_cm2", "largest area (cm²)"),
        *(
            _number(f"area_{n}_cm2", f"area at {n} % (cm²)", f"at {n} % of the segment's length")
            for n in (30, 50, 70)
        ),
    )
)
_SECTIONS = dict(
    (
        _text("side"),
        _text("at"),
        _text("length", "estimated from the levels, or measured between both joints"),
        _text("muscle"),
        _number("area_cm2", "area (cm²)"),
        _FAT,
    )
)
_SLICES = dict(
    (
        _number("slice", "slice", "in the file, from 0"),
        _number("level", "level", "0 hip joint, 1 knee joint line, 2 ankle joint"),
        _text("side"),
        _text("muscle"),
        _number("area_cm2", "area (cm²)"),
        _FAT,
        _ESTIMATE,
    )
)


_KINDS = {
    "muscles": ("Muscles and their groups, by side", _MUSCLES),
    "sections": ("Cross-sections along the segment", _SECTIONS),
    "slices": ("Muscles by slice", _SLICES),
}
"""NAME_KIND.csv that a page shows, with the table's caption and figures."""
_KEYS = ("side", "muscle", "slice")
"""Columns without which a table says nothing."""


def read_tables(folder: Path, name: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the tables of a scan by kind, and a line for each that is gone or damaged."""
    tables, lines = {}, []
    for kind, (_, figures) in _KINDS.items():
        path = folder / f"{name}_{kind}.csv"
        try:
            tables[kind] = _read_table(path, figures)
        except FileNotFoundError:
            lines += [f"{path.name} is gone"] if kind != "sections" else []  # without levels
        except (OSError, ValueError) as error:
            lines.append(f"{path.name} is not a readable table ({one_line(error)})")
    return tables, lines


def _read_table(path: Path, figures: Mapping[str, _Figure]) -> pd.DataFrame:
    """Read a table; what is not a finite number in a column of numbers is taken for none."""
    texts = dict.fromkeys(("muscle", "name", "side"), str)  # also where all are empty
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=texts)
    if missing := {*_KEYS} & {*figures} - {*table.columns}:
        raise ValueError(f"without {listed(sorted(missing))}")
    for key, figure in figures.items():
        if figure.column.number and key in table:
            numbers = pd.to_numeric(table[key], errors="coerce")
            table[key] = numbers.where(np.isfinite(numbers))  # JSON of browsers has no infinity
    return table.fillna(dict.fromkeys(texts, ""))


def show_tables(tables: Mapping[str, pd.DataFrame], name: str) -> dict[str, Table]:
    """Return the tables of a page by kind."""
    return {
        kind: _table(f"{name}_{kind}", _KINDS[kind][0], _of_muscles(kind, table), _KINDS[kind][1])
        for kind, table in tables.items()
    }


def _of_muscles(kind: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table; that of slices, which is long, without groups and empty slices."""
    if kind != "slices":
        return table
    named = table["muscle"].ne("")
    return table[named & table["kind"].ne("group")] if "kind" in table else table[named]


def _table(name: str, caption: str, frame: pd.DataFrame, known: Mapping[str, _Figure]) -> Table:
    """Return a table of the known columns, and of maps, that say something."""
    maps = [name.removesuffix(_MAP) for name in frame.columns if name.endswith(_MAP)]
    figures = {**known, **dict(_number(f"{m}{_MAP}", m, "mean of this map", 99) for m in maps)}
    there = [key for key in figures if key in frame.columns and frame[key].notna().any()]
    cells = ([figures[key].cell(row) for key in there] for row in _rows(frame))
    return Table(name, caption, tuple(figures[key].column for key in there), cells)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


class SliceFacts(NamedTuple):
    """What the tables say of a slice.

    Attributes:
        level: Side -> level.
        area_cm2: Side -> muscle -> cross-section.
        out_of_range: Whether no limb can show a muscle there.
        low: Muscles with a low estimated DSC, those with the largest doubtful area first.
    """

    level: dict[str, float]
    area_cm2: dict[str, dict[str, float]]
    out_of_range: bool
    low: list[str]

    @property
    def remarks(self) -> list[str]:
        """What a person should know before looking, in words."""
        low = [f"look at {listed(self.low, _NAMED)}"] if self.low else []
        return ["out of range", *low] if self.out_of_range else low


NOTHING = SliceFacts({}, {}, False, [])
"""Of a slice that the tables do not have."""


def slice_facts(slices: pd.DataFrame | None) -> dict[int, SliceFacts]:
    """Return what the table of slices says, by slice of the file."""
    if slices is None:
        return {}
    by_slice: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(slices):
        if pd.notna(row["slice"]):
            by_slice.setdefault(int(row["slice"]), []).append(row)
    return {z: _facts_of(rows) for z, rows in by_slice.items()}


def _facts_of(rows: list[dict[str, Any]]) -> SliceFacts:
    muscles = [row for row in rows if row["muscle"] and row.get("kind") != "group"]
    area: dict[str, dict[str, float]] = {}
    for row in muscles:
        if pd.notna(row.get("area_cm2")):
            area.setdefault(row["side"], {})[row["muscle"]] = row["area_cm2"]
    flagged = sorted((r for r in muscles if _is_doubtful(r)), key=_doubtful_cm2, reverse=True)
    return SliceFacts(
        {row["side"]: row["level"] for row in rows if pd.notna(row.get("level"))},
        area,
        not any(row.get("in_range", True) is True for row in rows),
        [f"{row['side']} {row['muscle']} ({row['estimated_dsc']:.2f})" for row in flagged],
    )


def _is_doubtful(row: Row) -> bool:
    return row.get("flag") is True and _doubtful_cm2(row) >= DOUBTFUL_CM2


def _doubtful_cm2(row: Row) -> float:
    """Return the area that a comparison would find wrong, were the estimate true."""
    return (1 - row.get("estimated_dsc", math.nan)) * row.get("area_cm2", math.nan)


def volumes_ml(muscles: pd.DataFrame | None) -> dict[str, dict[str, float]]:
    """Return muscle -> side -> volume."""
    if muscles is None or "volume_ml" not in muscles:
        return {}
    found: dict[str, dict[str, float]] = {}
    for muscle, side, volume in muscles[["muscle", "side", "volume_ml"]].itertuples(index=False):
        if side in SIDES:
            found.setdefault(muscle, {})[side] = volume
    return found


def scan_facts(record: Row) -> list[tuple[str, str]]:
    """Return what a scan is, as names and texts."""
    region = REGIONS.get(str(record.get("region")))
    probability = record.get("region_probability")
    how = f" (p = {probability:.3f})" if isinstance(probability, float) else ""
    facts = {
        "Region": f"{region.title}{how}" if region else "",
        "Subject": record.get("subject") if record.get("subject") != record.get("scan") else "",
        "Visit": record.get("visit"),
        "Image": image_kind(record),
        "Voxels": _joined(record.get("shape"), "{}"),
        "Spacing": _joined(record.get("spacing_mm"), "{:.4g}", " mm"),
        "Labels": _whose(record),
    }
    return show_facts(facts)


def _joined(values: object, form: str, unit: str = "") -> str:
    if not isinstance(values, list):
        return ""
    return (
        " \N{MULTIPLICATION SIGN} ".join(
            form.format(v) for v in values if isinstance(v, int | float)
        )
        + unit
    )


def _whose(record: Row) -> str:
    corrected = record.get("corrected")
    if isinstance(corrected, dict):
        when = str(corrected.get("finished") or "")[:10]
        return f"corrected by a person, measured {when}".rstrip()
    return "as segmented"


def how_made(record: Row) -> list[tuple[str, str]]:
    """Return how the results of a scan were made, as names and texts."""
    seconds, versions = (_dict(record, key) for key in ("seconds", "versions"))
    settings = {k: v for k, v in _dict(record, "settings").items() if v not in ("", None, False)}
    engine = " ".join(str(record[key]) for key in ("engine", "precision") if record.get(key))
    corrected = _dict(record, "corrected")
    facts = {
        "Scan": record.get("source"),
        "Weights": f"{record.get('weights', '')} {record.get('weights_hash', '')}".strip(),
        "Engine": engine,
        "Settings": listed((f"{k} {_yes(v)}" for k, v in settings.items()), 99),
        "Slices with TTA": record.get("tta_slices"),
        "Sides found by": _METHODS.get(str(record.get("sides")), record.get("sides")),
        "Corrected labels": corrected.get("by"),
        "Seconds": listed((f"{k} {v:.1f}" for k, v in seconds.items() if _is_time(v)), 99),
        "Versions": listed((f"{k} {v}" for k, v in versions.items()), 99),
        "Finished (UTC)": record.get("finished"),
    }
    return show_facts(facts)


def _dict(record: Row, key: str) -> dict[str, Any]:
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def _yes(value: object) -> str:
    return "on" if value is True else str(value)


def look_first(record: Row) -> Iterator[str]:
    """Yield a line for each muscle with a low estimated DSC."""
    for muscle, dsc in read_flagged(record).items():
        yield f"{muscle}: estimated DSC {dsc:.2f}"
