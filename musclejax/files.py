"""Files that a reader never meets half of: staged writes, manifests, locks, checksums."""

import glob
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from musclejax.errors import InputError

_PARTIAL = ".partial"


@contextmanager
def staging_folder(folder: Path, prefix: str, last: str = "") -> Iterator[Path]:
    """Yield a hidden folder inside `folder`; move its files out only if the block succeeds.

    Args:
        folder: Where the files go; it is made if needed.
        prefix: Start of the hidden folder's name.
        last: Name of the file moved last: its presence says that all are there.

    Raises:
        OSError: If `folder` cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder, prefix)
    stage = Path(tempfile.mkdtemp(dir=folder, prefix=f".{prefix}.", suffix=_PARTIAL))
    try:
        yield stage
        if last:
            (folder / last).unlink(missing_ok=True)
        for path in sorted(stage.iterdir(), key=lambda p: p.name == last):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the hidden folders that killed runs have left of what `staging_folder` began."""
    for abandoned in folder.glob(f".{glob.escape(prefix)}.????????{_PARTIAL}"):
        shutil.rmtree(abandoned, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path`, then rename."""
    with staging_folder(path.parent, path.name) as stage:
        (stage / path.name).write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if the file is absent, damaged or no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256(content: bytes) -> str:
    """Return the checksum of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check_manifest(file: Path, provenance: Mapping[str, Any], option: str) -> None:
    """Write the settings of a folder's files, or check that they are what they were.

    Args:
        file: JSON file in the folder, which is made if needed.
        provenance: JSON-able settings, nested or not.
        option: The option that names the folder, for the error.

    Raises:
        InputError: If the folder holds another dataset, or files of other settings; with the
            differences.
    """
    settings = json.loads(json.dumps(provenance))
    if not file.is_file():
        if (file.parent / "dataset.json").is_file():
            found = f"a dataset without {file.name}"
            raise InputError(file.parent, found, "a new folder", f"Take another {option}.")
        write_json(file, settings)
        return
    known = read_json(file)
    if known is None:
        raise InputError(file, "an unreadable manifest", f"another {option}")
    changes = differences(known, settings)
    if changes:
        shown = "; ".join(changes[:3]) + ("; ..." if len(changes) > 3 else "")
        found = f"files of other settings ({shown})"
        remedy = f"Give those settings, or another {option}."
        raise InputError(file.parent, found, "the settings that it began with", remedy)


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting in which two nested tables differ."""
    a, b = flatten(first), flatten(second)
    return [
        f"{name}: {a.get(name)!r} against {b.get(name)!r}"
        for name in sorted(a | b)
        if a.get(name) != b.get(name)
    ]


def flatten(table: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested table as one with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if hasattr(value, "items"):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


@contextmanager
def locked(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock on a file; the system frees it when the process ends, however it ends.

    Where the system or the disk knows no such locks, none is held.

    Args:
        file: Made if needed; it stays.
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
