"""The log of a search: one line for each trial and rung, which survives being killed."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ml_collections import ConfigDict

from musclejax.data.claim import claim
from musclejax.errors import InputError

LOG = "trials.jsonl"
IDENTITY = "config.json"


@dataclass(frozen=True)
class Entry:
    """A trial that has reached the end of a rung, or failed on the way.

    Attributes:
        trial: Number of the trial in the whole search.
        bracket: Bracket it belongs to.
        rung: Rung it has finished.
        budget: Epochs it has been trained for in all.
        settings: What was drawn for it.
        metric: Name of the metric that decides.
        value: Its value; higher is better; NaN if the trial failed.
        metrics: All metrics.
        seconds: Duration of this rung; earlier rungs count apart.
        failed: In one line why it failed; empty if it did not.
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


def claim_workdir(workdir: Path, config: ConfigDict, data_folders: list[Path]) -> None:
    """Make the folder of a search, or check that it is of this very search.

    Raises:
        InputError: If it is of another recipe or other data, with the differences.
    """
    file = workdir / IDENTITY
    if (workdir / LOG).is_file() and not file.is_file():
        raise InputError(workdir, f"{LOG} without {IDENTITY}", "both or none")
    data = [str(folder) for folder in data_folders]
    claim(file, {"config": config.to_dict(), "data": data}, "--workdir")


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
                raise InputError(file, found, "one finished trial a line") from None
            os.truncate(file, sum(map(len, lines[:-1])))
    return entries


def append_entry(workdir: Path, entry: Entry) -> None:
    """Append a line and wait until it is on the disk."""
    with (workdir / LOG).open("ab") as file:
        file.write(_line(entry))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock on a file; the system frees it when the process ends, however it ends.

    Where the system or the disk knows no such locks, none is held.

    Args:
        file: Is made if needed, and stays.
        wait: Wait while another process holds it, instead of raising.

    Raises:
        InputError: If another process holds it and `wait` is false.
    """
    with file.open("ab") as handle:
        _lock(handle, file, wait)
        yield


def _lock(handle: BinaryIO, file: Path, wait: bool) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        found, remedy = "another process at work on it", "Wait for it, or end it."
        raise InputError(file.parent, found, "one process at a time", remedy) from None
    except OSError:
        return  # a disk without locks


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
