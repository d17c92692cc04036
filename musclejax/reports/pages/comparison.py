"""The page that compares two results of `bench`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musclejax.bench.comparison import Comparison
from musclejax.errors import listed, printable
from musclejax.reports.pages.document import Document, Picture, Section
from musclejax.reports.pages.table import Cell, Column, Look, Table, show

_HEADINGS = {
    "slices_per_s_a": Column("A slices/s", "median over the rounds", number=True),
    "slices_per_s_b": Column("B slices/s", "median over the rounds", number=True),
    "ratio": Column("B vs A", "times as fast", number=True),
    "ratio_low": Column("from", "95 % interval by bootstrap over the rounds", number=True),
    "ratio_high": Column("to", "95 % interval by bootstrap over the rounds", number=True),
    "cpu_ratio": Column("CPU", "processor seconds of A over those of B", number=True),
    "memory_ratio": Column("memory", "peak memory of A over that of B", number=True),
    "agreement_a": Column("A same labels", "of the foreground, as in float32", number=True),
    "agreement_b": Column("B same labels", "of the foreground, as in float32", number=True),
    "repeats_a": Column("A n", "repeats that count", number=True),
    "repeats_b": Column("B n", "repeats that count", number=True),
}
_LOOKS: dict[str, Look] = {"B is faster": "good", "A is faster": "bad"}
_READ = "More than 1 is in favor of B. Intervals are of these runs, not of busier or calmer hours."


def to_document(
    comparison: Comparison,
    files: tuple[Path, Path],
    results: tuple[Mapping[str, Any], Mapping[str, Any]],
    picture: Picture,
) -> Document:
    """Return the page of a comparison."""
    named = dict(zip("AB", zip(files, results, strict=True), strict=True))
    facts = [
        (letter, printable(f"{file}: {result['command']}, {result['finished']}"))
        for letter, (file, result) in named.items()
    ]
    differing = Table(
        "differences",
        "What differs",
        (Column("what"), Column("A"), Column("B")),
        [tuple(map(printable, row)) for row in comparison.differences],
    )
    sections = [Section("Ratios", _READ, to_table(comparison), picture=picture)]
    if comparison.differences:
        sections.append(Section("Machines and versions", table=differing))
    lines = [printable(line) for line in remarks(comparison, *results)]
    return Document("Comparison of two measurements", comparison.summary, facts, lines, sections)


def to_table(comparison: Comparison) -> Table:
    """Return a row per job."""
    rows = comparison.rows
    shown = [name for name in _HEADINGS if rows[name].notna().any()]
    cells: list[list[str | Cell]] = [
        [
            printable(row["job"]),
            *(_cell(name, row[name]) for name in shown),
            Cell(row["verdict"], look=_LOOKS.get(row["verdict"], "")),
        ]
        for _, row in rows.iterrows()
    ]
    columns = (Column("job"), *(_HEADINGS[name] for name in shown), Column("verdict"))
    return Table("comparison", "A row per job that both have", columns, cells)


def remarks(comparison: Comparison, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return what must be known before relying on the ratios."""
    found = []
    if comparison.differences:
        names = listed((name for name, _, _ in comparison.differences), 8)
        found.append(f"A and B differ in {names}: ratios are of all that together")
    for letter, only, result in (("A", comparison.only_a, a), ("B", comparison.only_b, b)):
        found += [f"only in {letter}: {listed(only, 3)}"] * bool(only)
        found += [f"{letter}: {line}" for line in result["warnings"]]
    return found


def _cell(column: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if column.startswith("agreement"):
        return f"{value:.2%}"
    return show(int(value)) if column.startswith("repeats") else show(float(value))
