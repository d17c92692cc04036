"""The log of a search: one line per trial and rung, which survives a kill."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from musclejax.errors import InputError
from musclejax.files import check_manifest

LOG = "trials.jsonl"
MANIFEST = "config.json"


@dataclass(frozen=True)
class Entry:
    """A trial that has reached the end of a rung, or failed on the way.

    Attributes:
        trial: Number of the trial in the whole search.
        bracket: Bracket it belongs to.
        rung: Rung it has finished.
        budget: Epochs it has been trained for in all.
        settings: The settings that were sampled for it.
        metric: Name of the metric that decides.
        value: Its value; higher is better; NaN if the trial failed.
        metrics: All metrics.
        seconds: Duration of this rung; earlier rungs count apart.
        failed: The reason of a failure, in one line; empty without one.
    """

    trial: int
    bracket: int
    rung: int
    budget: int
    settings: Mapping[str, float]
    metric: str
    value: float
    metrics: Mapping[str, float]
    seconds: float
    failed: str = ""


def open_search(workdir: Path, config: ConfigDict, data_folders: list[Path]) -> None:
    """Make the folder of a search, or check that it is of this very search.

    Raises:
        InputError: If it is of another recipe or other data, with the differences.
    """
    file = workdir / MANIFEST
    if (workdir / LOG).is_file() and not file.is_file():
        raise InputError(workdir, f"{LOG} without {MANIFEST}", "both or none")
    data = [str(folder) for folder in data_folders]
    check_manifest(file, {"config": config.to_dict(), "data": data}, "--workdir")


def read_log(workdir: Path) -> list[Entry]:
    """Return the finished tasks; empty if there is no log yet.

    A last line that was cut off by a kill is removed from the file, so that the next line does
    not continue it.

    Raises:
        InputError: If another line is damaged.
    """
    file = workdir / LOG
    if not file.is_file():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no end of line")
            entries.append(_parse(line))
        except (ValueError, TypeError, AttributeError) as error:
            if number < len(lines):
                found = f"line {number} that is no entry ({error})"
                raise InputError(file, found, "one finished trial per line") from None
            os.truncate(file, sum(map(len, lines[:-1])))
    return entries


def append_entry(workdir: Path, entry: Entry) -> None:
    """Append a line and wait until it is on the disk."""
    with (workdir / LOG).open("ab") as file:
        file.write(_line(entry))
        file.flush()
        os.fsync(file.fileno())


def _line(entry: Entry) -> bytes:
    """Return an entry as JSON, which has no NaN: null stands for it."""
    values = asdict(entry)
    values["value"] = _finite(entry.value)
    values["metrics"] = {name: _finite(value) for name, value in entry.metrics.items()}
    return json.dumps(values, allow_nan=False).encode() + b"\n"


def _parse(line: bytes) -> Entry:
    values: dict[str, Any] = json.loads(line)
    metrics = {name: _number(value) for name, value in values.pop("metrics").items()}
    return Entry(**{**values, "value": _number(values["value"]), "metrics": metrics})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
