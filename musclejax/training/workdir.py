"""The folder of a run: its record, its metrics, and whether the run may resume."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from musclejax.config import from_dict
from musclejax.errors import DiskError, InputError
from musclejax.files import differences, json_text, locked, read_json, write_json, write_text
from musclejax.system import newer_than_this

RECORD = "run.json"
METRICS = "metrics.jsonl"
LOCK = ".train.lock"
RATE = "optim.learning_rate"
"""May be lower when a run resumes: a run that has diverged needs that."""
_MAY_CHANGE = ("train.epochs", "train.checkpoint_minutes", "train.early_stopping")
"""Settings that may differ when a run resumes (the last, with its patience)."""
_COPIES = 3
"""Checkpoints on the disk at once: the best, the last and the one being written."""


@contextmanager
def owned(run: Path) -> Iterator[None]:
    """Make the folder of a run, and hold it: one process at a time trains in it.

    Raises:
        InputError: If another process trains in it, or it cannot be made or written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / LOCK).touch()
    except OSError as error:
        accepted, remedy = "a folder that can be written", "Choose another --workdir."
        raise InputError(run, f"no such folder ({error.strerror})", accepted, remedy) from None
    with locked(run / LOCK, wait=False):
        yield


def open_run(
    run: Path, config: ConfigDict, record: Mapping[str, Any], size: int, *, resume: bool
) -> None:
    """Begin the record of a run, or check that the run in the folder may resume.

    Args:
        run: Its folder, as `owned` has made it.
        config: Settings.
        record: JSON-able; its "data" must be the same when the run resumes.
        size: Bytes of a checkpoint.
        resume: Whether an unfinished run may be there.

    Raises:
        InputError: If another run is there, or too little room on the disk.
    """
    known = read_run(run)
    if known is not None and not resume:
        remedy = "Give --resume to continue it, or another --workdir."
        raise InputError(run, "a run", "an empty or new folder", remedy)
    if known is not None:
        _check_same(run, known, config, record)
        record = {**record, **_beginning(known, record)}
    changes = [] if known is None else [*known.get("changes", []), *_new_rate(run, known, config)]
    free, needed = shutil.disk_usage(run).free, _COPIES * size
    if free < needed:
        found = f"{free / 2**20:.0f} MiB of room"
        accepted = f"{needed / 2**20:.0f} MiB, for {_COPIES} checkpoints"
        raise InputError(run, found, accepted, "Make room, or choose another --workdir.")
    record = {**record, "changes": changes} if changes else record
    write_json(run / RECORD, {**record, "config": config.to_dict()})


def read_run(run: Path) -> dict[str, Any] | None:
    """Return the record of a run, or None if the folder holds none.

    Raises:
        InputError: If the record cannot be read, or is of a later version.
    """
    path = run / RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = {}
    try:
        record = json.loads(json_text(path))
        record["config"] = from_dict(record["config"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{getattr(error, 'found', error)}".split())[:160]
        remedy = _later(record) or "Put it back from a copy, or begin anew in another --workdir."
        raise InputError(path, reason, "a run's record", remedy) from None
    return record


def of_later_version(run: Path) -> str:
    """Return what to do about a run of a later version; empty if it is of none."""
    return _later(read_json(run / RECORD))


def _later(record: object) -> str:
    """Return what to do about a record of a later version; empty if it is of none."""
    by = record.get("versions") if isinstance(record, dict) else None
    return newer_than_this(by.get("musclejax")) if isinstance(by, dict) else ""


def append_metrics(run: Path, metrics: Mapping[str, Any]) -> None:
    """Add a line to the metrics and flush it to the disk.

    Raises:
        DiskError: If there is no room; half a line is forgotten by the next reader.
    """
    try:
        with (run / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(metrics)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remedy = "Make room, then continue with --resume."
        found = f"a disk that cannot be written ({error.strerror})"
        raise DiskError(run / METRICS, found, "room", remedy) from None


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of the finished epochs.

    The last line is left out if it is damaged, as by a loss of power, and others are whole.

    Raises:
        InputError: If another line is damaged or missing, or the file cannot be read.
    """
    file = run / METRICS
    try:
        # Every whole line ends in a newline: after the last one there is half a line or nothing.
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        found_file, remedy = f"no readable file ({error.strerror})", "Change its permissions."
        raise InputError(file, found_file, "metrics", remedy) from None
    found = [_epoch_metrics(line, epoch) for epoch, line in enumerate(lines, start=1)]
    if len(found) > 1 and found[-1] is None:
        found.pop()
    if None in found:
        damaged = f"line {1 + found.index(None)} that is damaged, or of another epoch"
        remedy = "Put it back from a copy. Without this file, `weights export` still works."
        raise InputError(file, damaged, "the metrics of one epoch per line, from 1 on", remedy)
    return [line for line in found if line is not None]


def _epoch_metrics(line: bytes, epoch: int) -> dict[str, Any] | None:
    """Return the metrics in a line; None if it is damaged or not of this epoch."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(values, dict) and values.get("epoch") == epoch
    return values if whole else None


def keep_metrics(run: Path, epochs: int) -> None:
    """Drop the metrics of epochs after the checkpoint that a run resumes from."""
    kept = [m for m in read_metrics(run) if m["epoch"] <= epochs]
    write_text(run / METRICS, "".join(json.dumps(m) + "\n" for m in kept))


def _check_same(
    run: Path, known: Mapping[str, Any], config: ConfigDict, record: Mapping[str, Any]
) -> None:
    changed = differences(known["config"].to_dict(), config.to_dict())
    free = (*_MAY_CHANGE, RATE) if _rate(config) <= _rate(known["config"]) else _MAY_CHANGE
    changed = [line for line in changed if not line.startswith(free)]
    if changed:
        remedy = "Give the settings that it began with, or another --workdir."
        found = f"a run of another config ({'; '.join(changed[:3])})"
        raise InputError(run, found, "the same settings", remedy)
    if _content(known) != _content(record):
        remedy = "Give the data that it began with, or another --workdir."
        raise InputError(run, "a run on other data", "the same slices", remedy)


def _rate(config: ConfigDict) -> float:
    return float(config.optim.learning_rate)


def _new_rate(run: Path, known: Mapping[str, Any], config: ConfigDict) -> list[dict[str, Any]]:
    """Return the record of a lower learning rate; none if it is the same."""
    before, now = _rate(known["config"]), _rate(config)
    if before == now:
        return []
    return [{"after_epoch": len(read_metrics(run)), "setting": RATE, "from": before, "to": now}]


def _content(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run learns from, without names and without what came before it.

    A dataset that was moved is the same, and --init does nothing in a run that resumes.
    """
    parts = {k: v for k, v in record.get("data", {}).items() if k != "earlier"}
    return {
        name: {k: v for k, v in part.items() if k != "scans"} if isinstance(part, dict) else part
        for name, part in parts.items()
    }


def _beginning(known: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a resumed run keeps of its record: the weights that it began with."""
    data = {k: v for k, v in record.get("data", {}).items() if k != "earlier"}
    data |= {k: v for k, v in known.get("data", {}).items() if k == "earlier"}
    warnings = dict.fromkeys([*record.get("warnings", []), *known.get("warnings", [])])
    kept = {name: known[name] for name in ("start", "init") if name in known}
    return {"data": data, "warnings": list(warnings), **kept}
