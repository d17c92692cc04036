"""The tables of a cohort: its scans' tables one below the other, a row per scan, a summary.

They are streamed, scan by scan: 10,000 scans take no more memory than one hundred.
"""

import csv
import hashlib
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from musclejax.anatomy import SIDES
from musclejax.files import (
    file_sha256,
    read_json,
    sha256,
    staging_folder,
    transient_lock,
    write_json,
)
from musclejax.prediction.grades import GOUTALLIER, MERCURI, grade
from musclejax.prediction.measurement import MUSCLE_COLUMNS, SLICE_COLUMNS
from musclejax.reports.run_record import (
    RECORD,
    checksums,
    is_synthesized,
    read_record,
    recorded_names,
)
from musclejax.reports.tables import plain
from musclejax.scan.source import COHORT_TABLES

_SCAN = ("subject", "visit", "scan", "region", "image_kind")
_VERSIONS = ("musclejax", "weights")
SCAN_COLUMNS = [
    *("subject", "visit", "scan", "region", "status", "reviewed", "image_kind", "slices"),
    *("seconds", "flagged", "warnings", "reason", "finished"),
]
SUMMARY_COLUMNS = [
    *_SCAN,
    *("muscle", "name", "kind", "corrected", "flag", "truncated"),
    *("volume_left_ml", "volume_right_ml", "volume_asymmetry_pct"),
    *("fat_fraction_left", "fat_fraction_right", "fat_fraction_asymmetry_pct"),
    *("first_visit", "volume_left_change_pct", "volume_right_change_pct"),
    *("fat_fraction_left_change_pp", "fat_fraction_right_change_pp"),
    *("mercuri_left", "mercuri_right", "goutallier_left", "goutallier_right"),
]
OWN = ".cohort_tables.json"
"""Says which files of these names are ours, and of which scans they are."""
_STAGE, _LOCK = "cohort_tables", ".cohort_tables.lock"
_RECORD_SUFFIX = RECORD.format(name="")
_DAMAGED = "its run record is damaged"
_FIGURES = {"volume": "volume_ml", "fat_fraction": "fat_fraction"}
"""Of the summary -> column of a scan's table."""


class Failure(NamedTuple):
    """A scan that could not be segmented, or measured again."""

    name: str
    reason: str
    subject: str = ""
    visit: str = ""


class ScanKey(NamedTuple):
    """A scan in the order of the tables; `failure` is None if it is done."""

    subject: str
    visit: str
    name: str
    failure: str | None
    region: str = ""
    series: str = ""


def write_cohort_tables(
    folder: Path,
    failures: Iterable[Failure] = (),
    *,
    keep_failed: bool = False,
    wait: bool = True,
) -> list[Path]:
    """Write muscles.csv, slices.csv, scans.csv and summary.csv of the scans in a folder.

    Args:
        folder: Where their run records and tables are.
        failures: Scans that have failed; they have a row in scans.csv.
        keep_failed: Keep the rows of other scans that failed before and have no results.
        wait: Wait while another process writes them; else leave it to that.

    Returns:
        Files of these names that were edited, or that are not ours: they stay. Also the tables of
        scans that were edited, if ours were written: we have what is left of their rows.

    Raises:
        OSError: If the folder cannot be written.
    """
    failed = {failure.name: failure for failure in failures}
    with transient_lock(folder / _LOCK, wait=wait) as ours:
        if not ours:
            return []
        own = read_json(folder / OWN) or {}
        before = _failed_before(folder, own) if keep_failed else {}
        return _write(folder, own, {**before, **failed})


def _failed_before(folder: Path, own: Mapping[str, Any]) -> dict[str, Failure]:
    """Return the scans that failed when the tables were last written and have no results."""
    done = {*recorded_names(folder)}
    return {name: failure for name, failure in _stated_failures(own).items() if name not in done}


def _stated_failures(own: Mapping[str, Any]) -> dict[str, Failure]:
    state = own.get("scans")
    stated = state.get("failed") if isinstance(state, dict) else None
    rows = stated.items() if isinstance(stated, dict) else ()
    whole = len(Failure._fields) - 1
    return {
        name: Failure(name, *map(str, row))
        for name, row in rows
        if isinstance(row, list) and len(row) == whole
    }


def _write(folder: Path, own: Mapping[str, Any], failed: Mapping[str, Failure]) -> list[Path]:
    foreign = [path for name in COHORT_TABLES if not _is_ours(path := folder / name, own)]
    state = _state(folder, failed)
    if own.get("scans") == state and all(
        _is_entry(folder / name, _known(own).get(name, [{}])[-1])
        for name in COHORT_TABLES
        if folder / name not in foreign
    ):
        return foreign
    keys = list_scans(folder, failed)
    names = [name for name in COHORT_TABLES if folder / name not in foreign]
    with staging_folder(folder, _STAGE) as stage:
        written, edited = _write_tables(folder, stage, keys, names)
        # Before they move out: whichever of both a killed process leaves, it is known as ours.
        before = _known(own)
        files = {name: [*before.get(name, [])[-1:], entry] for name, entry in written.items()}
        write_json(folder / OWN, {"scans": state, "files": {**before, **files}})
    return foreign + edited


def _state(folder: Path, failed: Mapping[str, Failure]) -> dict[str, Any]:
    """Return what changes whenever a scan of a folder does."""
    with os.scandir(folder) as entries:
        times = [e.stat().st_mtime_ns for e in entries if e.name.endswith(_RECORD_SUFFIX)]
    return {
        "records": len(times),
        "newest_ns": max(times, default=0),
        "failed": {name: list(failure[1:]) for name, failure in sorted(failed.items())},
    }


def _is_ours(path: Path, own: Mapping[str, Any]) -> bool:
    """Return whether a file may be replaced: there is none, or it is as we wrote it."""
    if not (path.is_symlink() or path.exists()):
        return True
    return any(_is_entry(path, entry) for entry in _known(own).get(path.name, []))


def _is_entry(path: Path, entry: Mapping[str, Any]) -> bool:
    """Return whether a file is the one that was written; it is read only if its time differs."""
    if not path.is_file() or path.is_symlink():
        return False
    about = path.stat()
    if entry.get("size_bytes") != about.st_size:
        return False
    return entry.get("modified_ns") == about.st_mtime_ns or entry.get("sha256") == file_sha256(path)


def _known(own: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return what tells our files from others, by name: as they were last, and the time before."""
    files = own.get("files")
    return {
        name: [entry for entry in entries if isinstance(entry, dict)]
        for name, entries in (files.items() if isinstance(files, dict) else ())
        if isinstance(entries, list)
    }


def read_failures(folder: Path) -> dict[str, Failure]:
    """Return the scans that had failed when the tables of a folder were last written, by name."""
    return _stated_failures(read_json(folder / OWN) or {})


def list_scans(folder: Path, failed: Mapping[str, Failure]) -> list[ScanKey]:
    """Return the scans of a folder that are done or have failed, in the order of the tables."""
    return sorted(_keys(folder, failed), key=_order)


def _order(key: ScanKey) -> tuple[Any, ...]:
    return tuple(part for text in key[:3] for part in (_natural(text), text))


def _keys(folder: Path, failed: Mapping[str, Failure]) -> Iterator[ScanKey]:
    """Yield the scans that are done or have failed, each once."""
    done = set()
    for name in recorded_names(folder):
        record = read_record(folder, name)
        failure = failed.get(name)
        reason = failure.reason if failure else None if record else _DAMAGED
        done.add(name)
        yield ScanKey(*_whom(record or {}, name), name, reason, *_what(record or {}))
    for name in failed.keys() - done:
        failure = failed[name]
        yield ScanKey(failure.subject or name, failure.visit, name, failure.reason)


def _whom(record: Mapping[str, Any], name: str) -> tuple[str, str]:
    return str(record.get("subject") or name), str(record.get("visit") or "")


def _what(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return region and series of a scan; without its visit, which names of BIDS have."""
    series = record.get("series")
    described = series.get("description") if isinstance(series, dict) else ""
    return str(record.get("region") or ""), re.sub(r"ses-[^_]*", "", str(described or ""))


def _natural(text: str) -> tuple[int | str, ...]:
    """Return a key that sorts ses-2 before ses-10."""
    parts = filter(None, re.split(r"(\d+)", text))
    return tuple(x for p in parts for x in ((0, int(p)) if p.isdecimal() else (1, p)))


class _Output:
    """A file that is written and summed up for its checksum; nothing if it has no path."""

    def __init__(self, path: Path | None, header: Sequence[str], stack: ExitStack) -> None:
        self._file = stack.enter_context(path.open("wb")) if path else None
        self._sha256 = hashlib.sha256()
        self.write(_line(header))

    def write(self, text: str) -> None:
        """Append a text."""
        if self._file:
            content = text.encode()
            self._file.write(content)
            self._sha256.update(content)

    def describe(self) -> dict[str, Any]:
        """Return what tells the file from others."""
        assert self._file is not None
        self._file.flush()
        about = os.fstat(self._file.fileno())
        return {
            "size_bytes": about.st_size,
            "modified_ns": about.st_mtime_ns,
            "sha256": self._sha256.hexdigest(),
        }


def _write_tables(
    folder: Path, stage: Path, keys: Sequence[ScanKey], names: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], list[Path]]:
    """Write the tables of these names.

    Returns:
        What tells each file from others; and the scans' tables that were edited.
    """
    columns = {
        "muscles": _columns(folder, keys, "muscles", MUSCLE_COLUMNS),
        "slices": _columns(folder, keys, "slices", SLICE_COLUMNS),
    }
    headers = {
        **{f"{kind}.csv": [*_SCAN, *own, *_VERSIONS] for kind, own in columns.items()},
        "scans.csv": SCAN_COLUMNS,
        "summary.csv": SUMMARY_COLUMNS,
    }
    with ExitStack() as stack:
        out = {
            name: _Output(stage / name if name in names else None, header, stack)
            for name, header in headers.items()
        }
        summary, edited = _Summary(keys), []
        for key in keys:
            record = read_record(folder, key.name) or {}
            out["scans.csv"].write(_line(scan_row(key, record).values()))
            if not record:
                continue
            about = _about(key, record)
            versions = record.get("versions")
            version = versions.get("musclejax", "") if isinstance(versions, dict) else ""
            ends = _line(about.values())[:-1], _line([version, record.get("weights", "")])
            for kind, own in columns.items():
                path = folder / f"{key.name}_{kind}.csv"
                text, same = _read(path, checksums(record).get(path.name))
                if not same and read_record(folder, key.name) == record:  # not by us just now
                    edited.append(path)
                if text:
                    out[f"{kind}.csv"].write(_framed(text, own, *ends, whole=same))
                if kind == "muscles":
                    rows = summary.rows(key, about, csv.DictReader(io.StringIO(text, newline="")))
                    out["summary.csv"].write("".join(map(_line, rows)))
        return {name: out[name].describe() for name in names}, edited


def _columns(folder: Path, keys: Sequence[ScanKey], kind: str, known: Sequence[str]) -> list[str]:
    """Return the columns of all scans: ours, those of further maps, warnings."""
    headers: dict[str, None] = {}
    for key in keys:
        try:
            with (folder / f"{key.name}_{kind}.csv").open(encoding="utf-8-sig") as file:
                headers[file.readline().rstrip("\n")] = None
        except (OSError, ValueError):
            continue
    usable = filter(_is_usable, headers)
    names = (name for header in usable for row in csv.reader([header]) for name in row)
    *first, last = known
    return list(dict.fromkeys([*first, *(name for name in names if name != last), last]))


def _read(path: Path, stated: str | None) -> tuple[str, bool]:
    """Return the text of a scan's table, and whether it has the stated checksum, if any.

    The text is empty if the table is gone or damaged, or has other columns or separators.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError):
        return "", stated is None
    same = stated is None or sha256(content) == stated
    usable = _is_usable(text.partition("\n")[0]) and "\0" not in text
    return text if usable else "", same


def _is_usable(header: str) -> bool:
    """Return whether the first line of a scan's table says which muscle a row is of.

    A crash of the system may leave zeros in place of a file's contents.
    """
    return "\0" not in header and {"muscle", "side"} <= {*next(csv.reader([header]), [])}


def _framed(text: str, columns: Sequence[str], before: str, after: str, *, whole: bool) -> str:
    """Return the rows of a table, cells before and after each, in the order of the columns.

    Args:
        text: The table.
        columns: Of the rows that are returned.
        before: Cells that come before each row.
        after: Cells that come after it.
        whole: Whether the table is as it was written, so that no row lacks a cell.
    """
    header, _, rest = text.partition("\n")
    lines = rest.split("\n")
    if whole and header == ",".join(columns) and not any(line.count('"') % 2 for line in lines):
        return "".join(f"{before},{line},{after}" for line in lines if line)
    rows = csv.DictReader(io.StringIO(text, newline=""))
    cells = ([row.get(name) or "" for name in columns] for row in rows)
    return "".join(f"{before},{_line(row)[:-1]},{after}" for row in cells)


def _line(cells: Iterable[object]) -> str:
    """Return a line of a table, with its line break."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(plain(cell) for cell in cells)
    return text.getvalue()


def _about(key: ScanKey, record: Mapping[str, Any]) -> dict[str, object]:
    return {
        "subject": key.subject,
        "visit": key.visit,
        "scan": key.name,
        "region": record.get("region", ""),
        "image_kind": image_kind(record),
    }


def image_kind(record: Mapping[str, Any]) -> str:
    """Return what kind of image the network was given."""
    if is_synthesized(record):
        return "synthesized"
    series = record.get("series")
    return str(series.get("kind") or "other") if isinstance(series, dict) else "other"


def scan_row(key: ScanKey, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a scan in scans.csv, by column.

    Args:
        key: The scan.
        record: Its run record; empty if there is none.
    """
    status = "corrected" if record.get("corrected") else "done"
    seconds, flagged = record.get("seconds"), record.get("flagged")
    warnings = record.get("warnings")
    row = {
        **(_about(key, record) if record else {**key._asdict(), "scan": key.name}),
        "status": status if key.failure is None else "failed",
        "reviewed": bool(record.get("reviewed")) if record else "",
        "slices": record.get("slices", ""),
        "seconds": seconds.get("total", "") if isinstance(seconds, dict) else "",
        "flagged": len(flagged) if isinstance(flagged, dict) else "",
        "warnings": "; ".join(map(str, warnings)) if isinstance(warnings, list) else "",
        "reason": key.failure or "",
        "finished": record.get("finished", ""),
    }
    return {name: row.get(name, "") for name in SCAN_COLUMNS}


class _Summary:
    """Rows of summary.csv; keeps the first visit, and the places, of one subject."""

    def __init__(self, keys: Iterable[ScanKey]) -> None:
        self._subjects = groupby(keys, key=attrgetter("subject"))
        self._subject: str | None = None
        self._first: dict[str, tuple[str, dict[str, dict[str, dict[str, float]]]]] = {}
        """Region -> first visit with it, and its figures by series and muscle."""
        self._places: Counter[tuple[str, ...]] = Counter()
        """Scans by visit and region, and by visit, region and series."""

    def rows(
        self, key: ScanKey, about: Mapping[str, object], table: Iterable[Mapping[str, str]]
    ) -> Iterator[list[object]]:
        """Yield a row per muscle or group of a scan; scans come in the order of subject, visit."""
        if key.subject != self._subject:
            self._begin(key.subject)
        muscles: dict[str, dict[str, Mapping[str, str]]] = {}
        for row in table:
            muscles.setdefault(row.get("muscle") or "", {})[row.get("side") or ""] = row
        figures = {name: _figures(sides) for name, sides in muscles.items()}
        visit, known = self._first.setdefault(key.region, (key.visit, {}))
        if visit == key.visit:
            known[key.series] = figures
        first = self._same_place(key, visit, known)
        for name, sides in muscles.items():
            values = {**about, **_which(sides), **figures[name], **_compare(figures[name])}
            if visit != key.visit:
                values |= {"first_visit": visit, **_changes(figures[name], first.get(name, {}))}
            yield [_shown(values.get(column, "")) for column in SUMMARY_COLUMNS]

    def _begin(self, subject: str) -> None:
        """Count the scans of the next subject, whom some without results may precede."""
        keys = next(list(own) for name, own in self._subjects if name == subject)
        self._subject, self._first = subject, {}
        self._places = Counter((key.visit, key.region) for key in keys)
        self._places.update((key.visit, key.region, key.series) for key in keys)

    def _same_place(
        self, key: ScanKey, visit: str, known: Mapping[str, dict[str, dict[str, float]]]
    ) -> Mapping[str, Mapping[str, float]]:
        """Return the figures of a scan's place at the first visit; none if it is not known which.

        Several scans of a region at a visit are stations: only those of one series are compared.
        """
        visits = [(which, key.region) for which in (visit, key.visit)]
        if all(self._places[one] == 1 for one in visits):
            return next(iter(known.values()), {})
        if all(self._places[*one, key.series] == 1 for one in visits):
            return known.get(key.series, {})
        return {}


def _which(sides: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    rows = list(sides.values())
    return {
        "muscle": rows[0].get("muscle"),
        "name": rows[0].get("name"),
        "kind": rows[0].get("kind") or "muscle",
        **{
            name: any(row.get(name) == "True" for row in rows)
            for name in ("corrected", "flag", "truncated")
        },
    }


def _figures(sides: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """Return volume and fat fraction by side, as columns of the summary."""
    return {
        _column(figure, side): _number(sides.get(side, {}).get(column))
        for figure, column in _FIGURES.items()
        for side in SIDES
    }


def _column(figure: str, side: str) -> str:
    return f"{figure}_{side}_ml" if figure == "volume" else f"{figure}_{side}"


def _compare(figures: Mapping[str, float]) -> dict[str, object]:
    """Return asymmetries, and grades derived from the fat fractions."""
    found: dict[str, object] = {}
    for figure in _FIGURES:
        left, right = (figures[_column(figure, side)] for side in SIDES)
        both = left > 0 and right > 0  # else one limb is out of view, or the muscle is
        found[f"{figure}_asymmetry_pct"] = 200 * (left - right) / (left + right) if both else ""
    for side in SIDES:
        fat = figures[_column("fat_fraction", side)]
        found[f"mercuri_{side}"] = grade(fat, MERCURI)
        found[f"goutallier_{side}"] = grade(fat, GOUTALLIER)
    return found


def _changes(now: Mapping[str, float], first: Mapping[str, float]) -> dict[str, object]:
    """Return the change since the first visit: of volumes in %, of fat fractions in points."""
    found: dict[str, object] = {}
    for side in SIDES:
        volume, fat = (_column(figure, side) for figure in _FIGURES)
        before = first.get(volume, math.nan)
        ratio = now[volume] / before if before > 0 and now[volume] > 0 else math.nan
        found[f"volume_{side}_change_pct"] = 100 * (ratio - 1)
        points = 100 * (now[fat] - first.get(fat, math.nan))
        found[f"fat_fraction_{side}_change_pp"] = points
    return found


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _shown(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else ""
    return value
