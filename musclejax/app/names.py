"""Names of scans in an output folder: one scan per name, told apart by parent folders if needed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from musclejax.app.work import Scan
from musclejax.errors import InputError
from musclejax.reports.run_record import read_records
from musclejax.scan.series import Series
from musclejax.scan.source import absolute, is_at, is_source
from musclejax.scan.volume import scan_name


def name_scans(series: Sequence[Series], folder: Path) -> tuple[list[Scan], list[InputError]]:
    """Name scans for their results in a folder.

    A scan keeps the name under which the folder has it already. Another one is named by subject,
    visit and series, if it comes from a study tree, else as its file. Where that name is taken, or
    two scans would have it, number and echo of the series follow, or parent folders come before it.

    Args:
        series: The scans, each once.
        folder: The folder for results; it need not exist.

    Returns:
        The scans with their names, and an error for each scan that has none of its own.
    """
    taken = read_records(folder)
    known = {one: name for one in series if (name := _known_name(one, taken))}
    free = {one: _free_names(one, taken) for one in series}
    names = {one: known.get(one) or next(free[one], "") for one in series}
    while contested := _contested(names, known, taken):
        for one in contested:
            known.pop(one, None)
            names[one] = next(free[one], "")
    errors = [_no_name(one.path) for one, name in names.items() if not name]
    files = Counter(scan_name(one.path) for one in series)
    scans = [
        Scan(one.path, name, one, map_names=_map_names(name, one, files))
        for one, name in names.items()
        if name
    ]
    return scans, errors


def is_of(record: Mapping[str, Any], path: Path, series: Series | None = None) -> bool:
    """Return whether a run record is that of a scan as it is now."""
    if "source_files" not in record:  # as earlier versions wrote it
        return is_at(record, path, series)
    about = record["source_files"]
    return isinstance(about, dict) and is_source(path, about, series)


def about_series(name: str, series: Series | None) -> dict[str, Any]:
    """Return whom and what a scan shows, for its run record."""
    if series is None:
        return {"subject": name, "visit": "", "series": {"description": name, "kind": "other"}}
    return {
        "subject": series.subject or name,
        "visit": series.visit,
        "series": {
            "description": series.description,
            "kind": series.kind,
            "number": series.number,
            "echo_ms": series.echo_ms,
        },
    }


def _map_names(name: str, series: Series, files: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names that a map may have: also that of the file, if no other scan has it."""
    own = scan_name(series.path)
    return (name, own) if own != name and files[own] == 1 else (name,)


def _possible_names(series: Series) -> Iterator[str]:
    """Yield the names of a scan: in its study, of its file, with more and more parent folders."""
    part = _part(series)
    if series.name:
        yield series.name
        number = "" if series.number is None else f"_{series.number}"
        echo = "" if series.echo_ms is None else f"_te{series.echo_ms:g}"
        yield from filter(None, (number and series.name + number, echo and series.name + echo))
        yield f"{series.name}{number}{echo}_{series.kind.replace(' ', '-')}"
        if part:
            yield f"{series.name}_{part}"
    name = scan_name(series.path)
    if not series.files:
        yield name
    if part:
        name = f"{name}_{part}"
        yield name
    for parent in absolute(series.path).parents:
        if parent.name:
            name = f"{parent.name}_{name}"
            yield name


def _part(series: Series) -> str:
    """Return what tells a series from others of its folder or file."""
    if series.index is not None:
        return str(series.index + 1)
    return scan_name(series.files[0]) if series.files else ""


def _known_name(series: Series, taken: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name under which the folder has a scan; empty if it has not."""
    recorded = [name for name in _possible_names(series) if name in taken]
    exact = (name for name in recorded if is_at(taken[name], series.path, series))
    moved = (name for name in recorded if is_of(taken[name], series.path, series))
    return next(exact, "") or next(moved, "")


def _free_names(series: Series, taken: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    return (name for name in dict.fromkeys(_possible_names(series)) if name not in taken)


def _contested(
    names: Mapping[Series, str],
    known: Mapping[Series, str],
    taken: Mapping[str, Mapping[str, Any]],
) -> list[Series]:
    """Return the scans that must give up their names: all with one name, but the recorded one."""
    counts = Counter(names.values())
    twice = {name for name, count in counts.items() if name and count > 1}
    keepers = {name: _keeper(name, names, known, taken) for name in twice}
    return [one for one, name in names.items() if name in twice and one != keepers[name]]


def _keeper(
    name: str,
    names: Mapping[Series, str],
    known: Mapping[Series, str],
    taken: Mapping[str, Mapping[str, Any]],
) -> Series | None:
    settled = [one for one, own in names.items() if own == name and one in known]
    exact: Iterable[Series] = (one for one in settled if is_at(taken[name], one.path, one))
    return next(iter(exact), settled[0] if settled else None)


def _no_name(path: Path) -> InputError:
    found = "another scan of the same name in the same folder"
    return InputError(path, found, "a name per scan", "Rename one of them, or remove its copy.")
