"""Files that a reader never meets half of: staged writes, manifests, locks, checksums."""

import errno
import gzip
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

from platformdirs import user_cache_path

from musclejax.errors import InputError, one_line
from musclejax.system import newer_than_this

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Numbers of the errors that a full disk, or one's share of it, raises."""
REPLACED = ".replaced"
"""In a staging folder: the `last` file of before, put aside while files move out."""
_PARTIAL, _LOCK = ".partial", ".lock"
_FORGOTTEN_SECONDS = 86400
"""Age of a staging folder that nobody works on, on a disk without locks. Source: ours."""
LARGEST_JSON = 2**26
"""Bytes of a JSON file that is read. Source: ours; a record has thousands, a dataset a million."""
_DEFLATE = 1032
"""Deflate shrinks nothing by more. Source: zlib, "Maximum Compression Factor"."""
_CHUNK = 2**20
_TRAILING = 2**20
"""Bytes that may follow those that a file declares. Source: ours."""


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
    with _own_stage(folder, prefix) as stage:
        try:
            yield stage
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        publish(stage, folder, last)
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, folder: Path, last: str = "") -> None:
    """Move the files of a staging folder out, `last` at the end and absent until then.

    A folder that exists already takes in what the staged one of its name holds.

    A process that is killed in between leaves the rest, and the earlier `last`, in the staging
    folder; see `abandoned_stages`.
    """
    if last and (stage / last).exists() and (folder / last).exists():
        (folder / last).replace(stage / REPLACED)
    hidden = (REPLACED, _PARTIAL, _PARTIAL + _LOCK)  # also what a kill left of a stage within
    paths = (path for path in stage.iterdir() if not path.name.endswith(hidden))
    for path in sorted(paths, key=lambda p: p.name == last):
        _move(path, folder / path.name)


def _move(path: Path, target: Path) -> None:
    if not (path.is_dir() and target.is_dir()):
        path.replace(target)
        return
    for inner in sorted(path.iterdir()):
        _move(inner, target / inner.name)


def abandoned_stages(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield the staging folders that killed processes have left, each locked; remove each after.

    Folders of processes that are still at work are passed over.
    """
    start, length = f".{prefix}.", len(_stage_name(prefix))
    found = {name.removesuffix(_LOCK) for name in names_in(folder) if name.startswith(start)}
    whole = (name for name in found if name.endswith(_PARTIAL) and len(name) == length)
    for stage in sorted(folder / name for name in whole):
        with _lock_of(stage, wait=False) as held:
            if held and stage.is_dir():
                yield stage
                shutil.rmtree(stage, ignore_errors=True)


def names_in(folder: Path) -> Iterator[str]:
    """Yield what is in a folder, by name; nothing if it cannot be read.

    A glob pattern would hold all of it at once: that of 10,000 scans is 100,000 files.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def names_ending(folder: Path, ending: str) -> list[str]:
    """Return what is in a folder, by name and in order, whose name ends so.

    Without the files, ._NAME, in which macOS keeps what other disks cannot hold of NAME.
    """
    return sorted(n for n in names_in(folder) if n.endswith(ending) and not n.startswith("._"))


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the hidden folders that killed runs have left of what `staging_folder` began."""
    for _ in abandoned_stages(folder, prefix):
        pass


@contextmanager
def transient_lock(file: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock on a file that exists only while somebody holds it.

    Where the system or the disk knows no such locks, none is held.

    Args:
        file: Made, and removed at the end.
        wait: Wait while another process holds it.

    Yields:
        False if another process holds it and `wait` is false.
    """
    handle = _open_locked(file, wait)
    if handle is None:
        yield False
        return
    with handle:
        try:
            yield True
        finally:
            _remove_if_possible(file)


def _stage_name(prefix: str) -> str:
    return f".{prefix}.{secrets.token_hex(4)}{_PARTIAL}"


@contextmanager
def _own_stage(folder: Path, prefix: str) -> Iterator[Path]:
    """Make a staging folder of this process; others see by its lock that it is in use."""
    stage = folder / _stage_name(prefix)
    with transient_lock(_lock_file(stage), wait=True):
        stage.mkdir(mode=0o700)
        yield stage


@contextmanager
def _lock_of(stage: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a staging folder; yield whether its process is gone."""
    with transient_lock(_lock_file(stage), wait=wait) as held:
        yield held and (has_locks(stage.parent) or _is_forgotten(stage))


def _lock_file(stage: Path) -> Path:
    return stage.with_name(stage.name + _LOCK)


def _is_forgotten(stage: Path) -> bool:
    try:
        return time.time() - stage.stat().st_mtime > _FORGOTTEN_SECONDS
    except OSError:
        return False


def has_locks(folder: Path) -> bool:
    """Return whether files of a folder can be locked: not on Windows, nor on some network disks."""
    with _opened_folder(folder) as handle:
        return handle is not None and _flock(handle, wait=False, shared=True) is not None


def _open_locked(file: Path, wait: bool) -> BinaryIO | None:
    """Open and lock a file that its holder removes; None if another process holds it."""
    while True:
        handle = file.open("ab")
        try:
            if _flock(handle, wait=wait) is False:
                handle.close()
                return None
            if _is_at(handle, file):
                return handle
        except BaseException:
            handle.close()
            raise
        handle.close()  # its holder has removed it in the meantime


def _is_at(handle: BinaryIO, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _remove_if_possible(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return  # Windows keeps files that are open


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
        value = json.loads(json_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def json_text(path: Path) -> str:
    """Return the text of a JSON file, without the mark that some editors put before it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no regular file, larger than `LARGEST_JSON`, or not UTF-8.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("no regular file")
    if about.st_size > LARGEST_JSON:
        raise ValueError(f"{about.st_size} bytes, more than {LARGEST_JSON}")
    return path.read_text(encoding="utf-8-sig")


def cache_folder() -> Path | None:
    """Return the user's folder for what can be computed again; None where they have no home."""
    try:
        return user_cache_path("musclejax")
    except RuntimeError:
        return None


def is_private(folder: Path) -> bool:
    """Make a folder that only this user can read and write: what lies there is believed.

    Returns:
        False if that is impossible: no home, a disk that cannot be written, another's folder.
    """
    if not folder.is_absolute():  # "~" where nobody knows a home
        return False
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return False
        folder.chmod(0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def sha256(content: bytes) -> str:
    """Return the checksum of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(file: Path) -> str:
    """Return the checksum of a file as 64 hexadecimal digits; it is read in parts."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_manifest(file: Path, provenance: Mapping[str, Any], option: str) -> None:
    """Write the settings of a folder's files, or check that they are what they were.

    Args:
        file: JSON file in the folder, which is made if needed.
        provenance: JSON-able settings, nested or not.
        option: The option that names the folder, for the error.

    Raises:
        InputError: If the folder holds another dataset, or files of other settings; with the
            differences, and the versions if a later musclejax has made them.
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
        later = newer_than_this(known.get("musclejax"))
        remedy = later or f"Give those settings, or another {option}."
        subject = file if later else file.parent
        raise InputError(subject, found, "the settings that it began with", remedy)


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
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, without a file in it; wait while another process holds it.

    Where the system or the disk knows no such locks, none is held.
    """
    with _opened_folder(folder) as handle:
        if handle is not None:
            _flock(handle, wait=True)
        yield


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int | None]:
    """Yield a descriptor of a folder; None on Windows, which has none."""
    if os.name == "nt":
        yield None
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


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
        if _flock(handle, wait=wait) is False:
            found, remedy = "another process at work on it", "Wait for it, or end it."
            raise InputError(file.parent, found, "one process at a time", remedy)
        yield


def _flock(handle: BinaryIO | int, *, wait: bool, shared: bool = False) -> bool | None:
    """Lock an open file; return False if another process holds it, None where locks are unknown."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return None
    return True


@contextmanager
def reading(
    path: object, kind: str, remedy: str = "Copy or convert the file again."
) -> Iterator[None]:
    """Turn any error of a library that reads a file into one line about the file.

    Args:
        path: The file.
        kind: What it should be, such as "NIfTI" or "folder".
        remedy: The next step.

    Raises:
        InputError: If the block raises anything.
    """
    whole = kind if kind == "folder" else f"{kind} file"
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        remedy = "Change its permissions."
        raise InputError(path, "no permission to read it", f"a readable {whole}", remedy) from error
    except Exception as error:  # readers raise a dozen types on damaged files
        found = f"no readable {kind} ({one_line(error)})"
        raise InputError(path, found, f"a whole {whole}", remedy) from error


@contextmanager
def open_unpacked(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file to read; a gzip file, whatever its name, as what it contains."""
    with path.open("rb") as packed:
        if not is_gzip(packed):
            yield packed
            return
        with gzip.GzipFile(fileobj=packed) as stream:
            yield stream


def is_gzip(file: BufferedIOBase) -> bool:
    """Return whether a file begins as gzip does; it is left at its start."""
    file.seek(0)
    mark = file.read(2)
    file.seek(0)
    return mark == b"\x1f\x8b"


def check_declared_size(path: Path, declared: int, packed: bool | None = None) -> None:
    """Compare the bytes that a file declares with those it has, before any is read.

    Args:
        path: The file; gzip or not.
        declared: Bytes that its header promises, unpacked.
        packed: Whether they are packed by deflate; None if a gzip file shows it.

    Raises:
        InputError: If the file cannot hold them.
    """
    size = path.stat().st_size
    if packed is None:
        with path.open("rb") as file:
            packed = is_gzip(file)
    if declared > (size * _DEFLATE if packed else size):
        found = f"{size} bytes, where the header declares {declared}"
        raise InputError(path, found, "a whole file", "Copy or convert the file again.")


def read_to_end(stream: BufferedIOBase, path: Path) -> int:
    """Read and drop the rest of a file: a gzip stream checks its checksum only at its end.

    Returns:
        The number of bytes.

    Raises:
        InputError: If much more follows than the file has declared.
    """
    rest = 0
    while chunk := stream.read(_CHUNK):
        rest += len(chunk)
        if rest > _TRAILING:
            found = "more contents than its header declares"
            raise InputError(path, found, "a whole file", "Copy or convert the file again.")
    return rest
