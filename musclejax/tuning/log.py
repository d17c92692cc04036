"""The log of a search: one line per trial and rung, which survives a kill."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from musclejax import __version__
from musclejax.errors import InputError
from musclejax.files import check_manifest, read_json
from musclejax.system import newer_than_this

LOG = "trials.jsonl"
MANIFEST = "config.json"
_DAMAGE = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a damaged line raises."""


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
        InputError: If it is of another recipe or other data, with the differences, and the
            versions if a later musclejax has begun it.
    """
    file = workdir / MANIFEST
    if (workdir / LOG).is_file() and not file.is_file():
        raise InputError(workdir, f"{LOG} without {MANIFEST}", "both or none")
    data = [str(folder) for folder in data_folders]
    provenance = {"config": config.to_dict(), "data": data}
    known = read_json(file) or {"musclejax": __version__}
    # Another version may continue a search; manifests of before November 2026 state none.
    began = {name: known[name] for name in ("musclejax",) if name in known}
    check_manifest(file, {**began, **provenance}, "--workdir")


def read_log(workdir: Path) -> list[Entry]:
    """Return the finished tasks; empty if there is no log yet.

    Last lines that a kill has cut off, or a loss of power has filled with zeros, are removed from
    the file, so that the next line does not continue them.

    Raises:
        InputError: If another line is damaged, or the file cannot be read.
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
        except _DAMAGE as error:
            cut = number > 1 or not line.endswith(b"\n")  # a first line that ends is not cut off
            if not cut or line.endswith(b"}\n") or any(map(_is_entry, lines[number:])):
                found = f"line {number} that is no entry ({' '.join(str(error).split())[:100]})"
                began = (read_json(workdir / MANIFEST) or {}).get("musclejax")
                remedy = newer_than_this(began) or "Remove this line: it is trained again."
                raise InputError(file, found, "one finished trial per line", remedy) from None
            os.truncate(file, sum(map(len, lines[: number - 1])))
            break
    return entries


def _is_entry(line: bytes) -> bool:
    try:
        _parse(line)
    except _DAMAGE:
        return False
    return True


def append_entry(workdir: Path, entry: Entry) -> None:
    """Append a line and wait until it is on the disk.

    Raises:
        OSError: If there is no room; the reader removes what was written of the line.
    """
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


_KINDS: dict[Any, Any] = {int: int, str: str, float: int | float | None}
"""Type of a field that is no table -> what JSON may hold for it."""


def _parse(line: bytes) -> Entry:
    """Return the entry in a line, each of its fields of its type: parts of it become a recipe.

    Raises:
        ValueError: If a field is of another type.
        TypeError: If there is no such field, or one is missing.
    """
    values: dict[str, Any] = json.loads(line)
    for field in fields(Entry):
        value = values.get(field.name, "")
        kind = _KINDS.get(field.type, dict)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{field.name} is {value!r:.40}")
    for table in ("settings", "metrics"):
        values[table] = {name: _number(value) for name, value in values[table].items()}
    return Entry(**{**values, "value": _number(values["value"])})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    """Return a number of a line; null stands for NaN.

    Raises:
        ValueError: If it is another thing, as a text.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"{value!r:.40} in place of a number")
    return math.nan if value is None else float(value)
