"""The folder of a run: its record, its metrics, and whether the run may resume."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from musclejax.config import from_dict
from musclejax.errors import InputError
from musclejax.files import differences, write_json, write_text

RECORD = "run.json"
METRICS = "metrics.jsonl"
_MAY_CHANGE = ("train.epochs", "train.checkpoint_minutes", "train.early_stopping")
"""Settings that may differ when a run resumes (the last, with its patience)."""
_COPIES = 3
"""Checkpoints on the disk at once: the best, the last and the one being written."""


def open_run(
    run: Path, config: ConfigDict, record: Mapping[str, Any], size: int, *, resume: bool
) -> None:
    """Make the folder of a run, or check that the run in it may resume.

    Args:
        run: Its folder.
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
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(run, f"no folder ({error.strerror})", "one that can be made") from None
    free, needed = shutil.disk_usage(run).free, _COPIES * size
    if free < needed:
        found = f"{free / 2**20:.0f} MiB of room"
        accepted = f"{needed / 2**20:.0f} MiB, for {_COPIES} checkpoints"
        raise InputError(run, found, accepted, "Make room, or choose another --workdir.")
    write_json(run / RECORD, {**record, "config": config.to_dict()})


def read_run(run: Path) -> dict[str, Any] | None:
    """Return the record of a run, or None if the folder holds none.

    Raises:
        InputError: If the record cannot be read.
    """
    path = run / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["config"] = from_dict(record["config"])
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(path, f"{type(error).__name__}: {error}", "a run's record") from None
    return record


def append_metrics(run: Path, metrics: Mapping[str, Any]) -> None:
    """Add a line to the metrics and flush it to the disk."""
    with (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(metrics)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of the finished epochs; half a last line is left out."""
    try:
        lines = (run / METRICS).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    # Every whole line ends in a newline: after the last one there is half a line or nothing.
    return [json.loads(line) for line in lines[:-1]]


def keep_metrics(run: Path, epochs: int) -> None:
    """Drop the metrics of epochs after the checkpoint that a run resumes from."""
    kept = [m for m in read_metrics(run) if m["epoch"] <= epochs]
    write_text(run / METRICS, "".join(json.dumps(m) + "\n" for m in kept))


def _check_same(
    run: Path, known: Mapping[str, Any], config: ConfigDict, record: Mapping[str, Any]
) -> None:
    changed = differences(known["config"].to_dict(), config.to_dict())
    changed = [line for line in changed if not line.startswith(_MAY_CHANGE)]
    if changed:
        remedy = "Give the settings that it began with, or another --workdir."
        found = f"a run of another config ({'; '.join(changed[:3])})"
        raise InputError(run, found, "the same settings", remedy)
    if known.get("data") != record.get("data"):
        remedy = "Give the data that it began with, or another --workdir."
        raise InputError(run, "a run on other data", "the same slices", remedy)
