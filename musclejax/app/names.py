"""Names of scans in an output folder: one scan per name, told apart by parent folders if needed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from musclejax.app.work import Scan
from musclejax.errors import InputError
from musclejax.reports.run_record import RECORD, read_record
from musclejax.scan.source import absolute, is_source
from musclejax.scan.volume import scan_name

_RECORD_SUFFIX = RECORD.format(name="")


def name_scans(paths: Sequence[Path], folder: Path) -> tuple[list[Scan], list[InputError]]:
    """Name scans for their results in a folder.

    A scan keeps the name under which the folder has it already. Another one is named as its file;
    where that name is taken, or two scans would have it, the parent folders come before it.

    Args:
        paths: The scans, each once.
        folder: The folder for results; it need not exist.

    Returns:
        The scans with their names, and an error for each scan that has none of its own.
    """
    taken = {name: record for name in _recorded(folder) if (record := read_record(folder, name))}
    known = {path: name for path in paths if (name := _known_name(path, taken))}
    free = {path: _free_names(path, taken) for path in paths}
    names = {path: known.get(path) or next(free[path], "") for path in paths}
    while contested := _contested(names, known, taken):
        for path in contested:
            known.pop(path, None)
            names[path] = next(free[path], "")
    errors = [_no_name(path) for path, name in names.items() if not name]
    return [Scan(path, name) for path, name in names.items() if name], errors


def is_of(record: Mapping[str, Any], path: Path) -> bool:
    """Return whether a run record is that of a scan as it is now."""
    if "source_files" not in record:  # as earlier versions wrote it
        return is_at(record, path)
    about = record["source_files"]
    return isinstance(about, dict) and is_source(path, about)


def is_at(record: Mapping[str, Any], path: Path) -> bool:
    """Return whether a run record is that of a scan in this place."""
    about = record.get("source_files")
    place = about.get("path") if isinstance(about, dict) else record.get("source")
    return isinstance(place, str) and absolute(Path(place)) == absolute(path)


def _recorded(folder: Path) -> set[str]:
    paths = folder.glob(f"*{_RECORD_SUFFIX}") if folder.is_dir() else ()
    return {path.name.removesuffix(_RECORD_SUFFIX) for path in paths}


def _possible_names(path: Path) -> Iterator[str]:
    """Yield the name of a scan, then with more and more of its parent folders."""
    name = scan_name(path)
    yield name
    for parent in absolute(path).parents:
        if parent.name:
            name = f"{parent.name}_{name}"
            yield name


def _known_name(path: Path, taken: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name under which the folder has a scan; empty if it has not."""
    recorded = [name for name in _possible_names(path) if name in taken]
    exact = (name for name in recorded if is_at(taken[name], path))
    moved = (name for name in recorded if is_of(taken[name], path))
    return next(exact, "") or next(moved, "")


def _free_names(path: Path, taken: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    return (name for name in _possible_names(path) if name not in taken)


def _contested(
    names: Mapping[Path, str], known: Mapping[Path, str], taken: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Return the scans that must give up their names: all with one name, but the recorded one."""
    counts = Counter(names.values())
    twice = {name for name, count in counts.items() if name and count > 1}
    keepers = {name: _keeper(name, names, known, taken) for name in twice}
    return [path for path, name in names.items() if name in twice and path != keepers[name]]


def _keeper(
    name: str,
    names: Mapping[Path, str],
    known: Mapping[Path, str],
    taken: Mapping[str, Mapping[str, Any]],
) -> Path | None:
    settled = [path for path, own in names.items() if own == name and path in known]
    exact: Iterable[Path] = (path for path in settled if is_at(taken[name], path))
    return next(iter(exact), settled[0] if settled else None)


def _no_name(path: Path) -> InputError:
    found = "another scan of the same name in the same folder"
    return InputError(path, found, "a name per scan", "Rename one of them, or remove its copy.")
