"""Folders of results with records and tables only: what the tables and pages of cohorts read."""

import json
import os
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from musclejax.prediction.measurement import MUSCLE_COLUMNS, SLICE_COLUMNS

WARNING = 'trained, on "synthetic" slices only; =look'


def line(columns: list[str], **cells: object) -> str:
    shown = {"warnings": '"' + WARNING.replace('"', '""') + '"', **cells}
    return ",".join(str(shown.get(column, "")) for column in columns)


def scan(
    folder: Path,
    name: str,
    volumes: tuple[float, float] = (100, 80),
    fat: tuple[float, float] | None = None,
    further: str = "",
    **record: Any,
) -> None:
    """Write the record and the tables of a scan with one muscle, as `segment` does."""
    about = {
        "scan": name, "region": "thigh", "slices": 2, "weights": "phantom", "warnings": [WARNING],
        "seconds": {"total": 12.5}, "flagged": {"left VL": 0.6}, "versions": {"musclejax": "0.1"},
        "finished": "2026-12-01T04:00:00+00:00",
    }  # fmt: skip
    (folder / f"{name}_run.json").write_text(json.dumps({**about, **record}))
    for kind, known in (("muscles", MUSCLE_COLUMNS), ("slices", SLICE_COLUMNS)):
        columns = [*known[:-1], *([further] if further else []), known[-1]]
        rows = [",".join(columns)]
        for number, side in enumerate(("left", "right")):
            cells = {
                "muscle": "VL", "name": "Vastus lateralis", "kind": "muscle", "side": side,
                "volume_ml": f"{volumes[number]:.4f}", "slice": number, "truncated": False,
                "flag": side == "left", further: 7,
                "fat_fraction": f"{fat[number]:.4f}" if fat else "",
            }  # fmt: skip
            rows.append(line(columns, **cells))
        (folder / f"{name}_{kind}.csv").write_text("\n".join(rows) + "\n")


def repeat(folder: Path, numbers: Iterable[int], *kinds: str) -> None:
    """Give the files of the scan s0 to further ones, s1, s2 ...; by default all of its files."""
    for number in numbers:
        for kind in kinds or ("run.json", "muscles.csv", "slices.csv"):
            os.link(folder / f"s0_{kind}", folder / f"s{number}_{kind}")


def peak_memory(write: Callable[[], object]) -> int:
    """Return how many bytes Python's objects take at most while a function runs."""
    tracemalloc.start()
    write()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
