"""The run record of a scan, and which of its files it vouches for: no other is ever replaced."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

from musclejax.errors import InputError
from musclejax.files import (
    REPLACED,
    abandoned_stages,
    file_sha256,
    names_ending,
    publish,
    read_json,
    sha256,
    staging_folder,
    write_json,
)
from musclejax.scan.source import ORIGINAL as ORIGINAL_KIND
from musclejax.scan.source import OUTPUT_KINDS
from musclejax.system import newer_than_this

RECORD = "{name}_run.json"
"""Written last: a scan with a record is done."""
LABELS, ORIGINAL = "{name}_labels.nii.gz", f"{{name}}_{ORIGINAL_KIND}"
"""The label map, which people correct, and what they correct, which stays as it is."""
_KEPT = (
    *(LABELS, ORIGINAL),
    *("{name}_probabilities.nii.gz", "{name}_fat_fraction.nii.gz"),
)
"""Files that a measurement of corrected labels leaves as they are."""
BACKUP = ".bak"
BIDS_TREE = "bids"
"""Folder of the results that are named as BIDS does; the only one with folders inside."""
_OWN_CHECKSUM = "record_sha256"
"""Key of the checksum of a record's own contents, its last entry. Records before it have none."""
_LONGEST_NAME = 255
"""Bytes of a file name that all systems take."""
Overwrite = Literal["same scan", "any scan", "edited"]
"""What may be replaced: unchanged files of this scan; of any scan; whatever there is, which is then
kept as NAME.bak."""
LabelsState = Literal["as segmented", "corrected", "edited", "gone"]
"""A label map: the network's; a person's that was measured; changed since it was measured."""


@contextmanager
def staged_results(
    folder: Path,
    name: str,
    scan_sha256: str,
    overwrite: Overwrite,
    about: Callable[[], Mapping[str, Any]],
) -> Iterator[Path]:
    """Yield a hidden folder for the results of a scan; move them out with a record of them.

    Args:
        folder: Where the results go.
        name: NAME of the results.
        scan_sha256: Of the scan.
        overwrite: What may be replaced.
        about: Called last; the other entries of the record.

    Raises:
        InputError: As of `check_replaceable`, before and after the block.
        OSError: If the folder cannot be written.
    """
    recover(folder, name)
    check_replaceable(folder, name, overwrite, scan_sha256)
    last = RECORD.format(name=name)
    with staging_folder(folder, name, last=last) as stage:
        yield stage
        files = _make_checksums(stage)
        write_json(stage / last, seal({**about(), "scan_sha256": scan_sha256, "files": files}))
        check_replaceable(folder, name, overwrite, scan_sha256, files)  # edited in the meantime?
        _make_place(folder, name, files)


@contextmanager
def staged_measurement(
    folder: Path,
    name: str,
    about: Callable[[Mapping[str, str]], Mapping[str, Any]],
    replaces: str = "",
) -> Iterator[Path]:
    """Yield a hidden folder for what is measured of a person's labels; move it out with a record.

    The record never vouches for these labels: it still has the checksum of the network's, if there
    were any, so that nothing replaces them. What is in the way and was edited is kept as
    .bak; so are a person's earlier labels if others are written.

    Args:
        folder: Where the results are, or go.
        name: NAME of the results.
        about: Called last with the checksum of each file that was written; the other entries of
            the record.
        replaces: Checksum of labels that are replaced without a .bak: an earlier copy of the same.

    Raises:
        OSError: If the folder cannot be written.
    """
    recover(folder, name)
    last, labels = RECORD.format(name=name), LABELS.format(name=name)
    with staging_folder(folder, name, last=last) as stage:
        yield stage
        record = read_record(folder, name)
        written, known = _make_checksums(stage), checksums(record)
        kept = {form.format(name=name) for form in _KEPT}
        files = {n: s for n, s in written.items() if n != labels}
        files |= {n: known[n] for n in (kept & known.keys()) - files.keys()}
        write_json(stage / last, seal({**about(written), "files": files}))
        for path in foreign_files(folder, name, record):
            copied = path.name == labels and _checksum(path) == replaces
            if path.name not in kept - written.keys() and not copied:
                back_up(path)
        for old in known.keys() - files.keys() - {labels}:
            (folder / old).unlink(missing_ok=True)


def corrected_labels(record: Mapping[str, Any] | None) -> str:
    """Return the checksum of a person's labels that were measured last; empty if there are none."""
    about = (record or {}).get("corrected")
    stated = about.get("labels_sha256") if isinstance(about, dict) else None
    return stated if isinstance(stated, str) else ""


def is_synthesized(record: Mapping[str, Any]) -> bool:
    """Return whether the network was given an image made from water and fat."""
    about = record.get("fat_fraction")
    return isinstance(about, dict) and bool(about.get("synthesized"))


def labels_state(folder: Path, name: str, record: Mapping[str, Any]) -> LabelsState:
    """Return what a person has done to the label map of a record; reads it."""
    labels = LABELS.format(name=name)
    found = _checksum(folder / labels)
    if not found:
        return "gone"
    if found == corrected_labels(record):
        return "corrected"
    return "as segmented" if found == checksums(record).get(labels) else "edited"


def is_touched(folder: Path, name: str) -> bool:
    """Return whether the label map is newer than its record and was edited; seldom reads it."""
    last, labels = (folder / form.format(name=name) for form in (RECORD, LABELS))
    record = read_record(folder, name) or {}
    newer = labels.stat().st_mtime_ns > last.stat().st_mtime_ns
    return newer and labels_state(folder, name, record) == "edited"


def change_record(folder: Path, name: str, **entries: Any) -> None:
    """Change entries of a run record, and seal it again; an absent one is as good as False."""
    record = read_record(folder, name)
    if record and any(record.get(key, False) != value for key, value in entries.items()):
        own = {key: value for key, value in record.items() if key != _OWN_CHECKSUM}
        write_json(folder / RECORD.format(name=name), seal({**own, **entries}))


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the run record of a scan that is done; None if there is none or it is damaged."""
    record = read_json(folder / RECORD.format(name=name))
    return record if record and "scan" in record else None


def recorded_names(folder: Path) -> list[str]:
    """Return the NAME of each run record in a folder, in order; none if there is no folder."""
    ending = RECORD.format(name="")
    return [name.removesuffix(ending) for name in names_ending(folder, ending)]


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the run record of each scan of a folder that is done, by name."""
    return {n: record for n in recorded_names(folder) if (record := read_record(folder, n))}


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the checksum of its contents as its last entry."""
    written = json.loads(json.dumps(record))  # as it will be read
    return {**written, _OWN_CHECKSUM: _contents_sha256(written)}


def is_edited(record: Mapping[str, Any]) -> bool:
    """Return whether the contents of a record were changed; order and line breaks do not count."""
    stated = record.get(_OWN_CHECKSUM)
    return stated is not None and stated != _contents_sha256(record)


def _contents_sha256(record: Mapping[str, Any]) -> str:
    contents = {key: value for key, value in record.items() if key != _OWN_CHECKSUM}
    return sha256(json.dumps(contents, sort_keys=True).encode())


def is_complete(record: Mapping[str, Any], folder: Path, name: str) -> bool:
    """Return whether all files that a record names exist; of older records the labels only."""
    files = checksums(record) or {LABELS.format(name=name): ""}
    return all((folder / file).is_file() for file in files)


def checksums(record: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the SHA-256 of each file that a record vouches for, by name."""
    files = (record or {}).get("files")
    table = files if isinstance(files, dict) else {}
    # A record from elsewhere must not reach files outside the folder.
    return {n: s for n, s in table.items() if isinstance(s, str) and _is_name(n)}


def _is_name(text: str) -> bool:
    """Return whether a text may name a file of results: in their folder, or in its BIDS tree."""
    parts = text.split("/")
    plain = all(Path(p).name == p and len(os.fsencode(p)) <= _LONGEST_NAME for p in parts)
    return plain and ".." not in parts and (len(parts) == 1 or parts[0] == BIDS_TREE)


def _make_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder and below, for a record."""
    return {name: file_sha256(folder / name) for name in list_files(folder)}


def list_files(folder: Path) -> list[str]:
    """Return the files in a folder and below, as records name them."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in found]


def foreign_files(
    folder: Path,
    name: str,
    *records: Mapping[str, Any] | None,
    written: Iterable[str] = (),
) -> list[Path]:
    """Return the files in the places of a scan's results that none of the records vouches for.

    They were edited since, or written by somebody else. So is the record in the folder if it was
    edited; whether it can be read at all is not asked here. The places are those of every kind of
    result, those that the records name, and those `written` now.
    """
    known = {(n, s) for record in records for n, s in checksums(record).items()}
    kinds = [f"{name}_{kind}" for kind in OUTPUT_KINDS[:-1]]
    in_tree = (n for n in (*(n for n, _ in sorted(known)), *written) if "/" in n)
    places = dict.fromkeys([*kinds, *in_tree])
    foreign = [
        folder / n
        for n in places
        if _exists(folder / n) and (n, _checksum(folder / n)) not in known
    ]
    own = folder / RECORD.format(name=name)
    return [*foreign, own] if is_edited(read_json(own) or {}) else foreign


def check_replaceable(
    folder: Path,
    name: str,
    overwrite: Overwrite = "same scan",
    scan_sha256: str = "",
    written: Iterable[str] = (),
) -> None:
    """Check that the results of a scan may be written.

    Args:
        folder: Where.
        name: NAME of the results.
        overwrite: What may be replaced.
        scan_sha256: Of the scan; not compared if empty.
        written: Their names, if they are known.

    Raises:
        InputError: If a file in their place was edited, is not ours, or belongs to another scan.
    """
    if overwrite == "edited":
        return
    record = read_record(folder, name)
    other = (record or {}).get("scan_sha256") or scan_sha256
    if overwrite == "same scan" and scan_sha256 and other != scan_sha256:
        found = f"results of another scan, {(record or {}).get('source') or name}"
        raise InputError(folder / LABELS.format(name=name), found, "a name per scan")
    foreign = foreign_files(folder, name, record, written=written)
    if foreign:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise InputError(
            f"{foreign[0]}{more}",
            "a file that musclejax did not write, or that was edited since",
            "results of this scan as they were written",
            _later(record)
            or f"Take another -o; segment --overwrite-edited keeps the file as {BACKUP}.",
        )


def _later(record: Mapping[str, Any] | None) -> str:
    """Return what to do about a record of a later version; empty if it is of none."""
    by = (record or {}).get("versions")
    return newer_than_this(by.get("musclejax")) if isinstance(by, dict) else ""


def _make_place(folder: Path, name: str, written: Collection[str]) -> None:
    """Put aside what must not be lost, and remove what will not be written again.

    Files that no record vouches for are renamed to .bak. Unchanged files of an earlier
    segmentation that are not among those `written` do not belong to the new labels: removed.
    """
    record = read_record(folder, name)
    last = folder / RECORD.format(name=name)
    if not checksums(record) and _exists(last):
        back_up(last)
    for path in foreign_files(folder, name, record, written=written):
        back_up(path)
    for old in checksums(record).keys() - set(written):
        (folder / old).unlink(missing_ok=True)


def back_up(path: Path) -> Path:
    """Rename a file to the first of .bak, .bak2, .bak3 ... that is free."""
    names = (f"{path.name}{BACKUP}{number if number > 1 else ''}" for number in count(1))
    free = next(new for n in names if not _exists(new := path.with_name(n)))
    return path.rename(free)


def recover(folder: Path, name: str) -> None:
    """Finish what a killed process had begun to move out of its staging folder, or drop it.

    Its files are moved out if they are complete and nobody has changed those in their place.
    """
    last = RECORD.format(name=name)
    for stage in abandoned_stages(folder, name):
        new, old = read_json(stage / last), read_json(stage / REPLACED)
        foreign = foreign_files(folder, name, new, old, read_record(folder, name))
        corrected = {(LABELS.format(name=name), corrected_labels(record)) for record in (new, old)}
        if new and all((path.name, _checksum(path)) in corrected for path in foreign):
            publish(stage, folder, last)
        elif old and not (folder / last).exists():
            (stage / REPLACED).replace(folder / last)


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _checksum(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:  # a folder, a link to nowhere
        return ""
