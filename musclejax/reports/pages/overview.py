"""What the records of a cohort add up to, and which of its scans need a look first."""

import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from musclejax.data.corrections import RIGHT, UNUSABLE
from musclejax.errors import count_of, listed, printable
from musclejax.prediction.estimate import LOW, show_flagged
from musclejax.prediction.options import DEFAULTS
from musclejax.prediction.quality import OUTSIDE
from musclejax.reports.cohort import Flagged, read_flagged
from musclejax.reports.cohort_tables import ScanKey, scan_row
from musclejax.reports.review import TO_CORRECT, Review
from musclejax.reports.run_record import read_record

FIRST = 20
"""Scans that are named at most."""
_USUAL = {**asdict(DEFAULTS), "labels": "muscles", "naming": "plain"}
"""Settings that need no mention; others do unless they are empty."""


class ScanResult(NamedTuple):
    """What is known of a scan without its tables.

    Attributes:
        key: The scan.
        record: Its run record; empty if there is none.
        row: Its row of scans.csv, by column.
        flagged: Muscles with a low estimated DSC.
        warnings: Those of the record, but for the one that repeats `flagged`.
        mark: What a person says of the whole scan; empty if nothing.
        slices: Those that are marked to be corrected.
    """

    key: ScanKey
    record: Mapping[str, Any]
    row: Mapping[str, Any]
    flagged: Flagged
    warnings: tuple[str, ...]
    mark: str
    slices: tuple[int, ...]

    def without(self, warnings: Collection[str]) -> "ScanResult":
        """Return the same without some warnings."""
        return self._replace(warnings=tuple(t for t in self.warnings if t not in warnings))


def read_results(folder: Path, keys: Iterable[ScanKey], review: Review) -> Iterator[ScanResult]:
    """Yield what is known of each scan, in the order of the keys; records are read one by one."""
    for key in keys:
        record = read_record(folder, key.name) or {}
        stated = record.get("warnings")
        warnings = map(str, stated) if isinstance(stated, list) else ()
        marks = review.get(key.name, {})
        slices = sorted(z for z, mark in marks.items() if z is not None and mark == TO_CORRECT)
        confirmed = RIGHT if record.get("reviewed") else ""
        yield ScanResult(
            key,
            record,
            scan_row(key, record),
            read_flagged(record),
            tuple(text for text in warnings if not text.startswith(LOW)),
            marks.get(None, confirmed),
            tuple(slices),
        )


class Need(NamedTuple):
    """Why a scan should be looked at; the smallest comes first.

    Attributes:
        rank: 0 failed, 1 to be corrected, 2 perhaps out of distribution, 3 flagged, 4 other
            warnings only.
        flags: Minus the number of flagged muscles.
        lowest: Their lowest estimated DSC.
        name: Of the scan.
        text: The reason in words, without warnings.
        warnings: Of the scan.
    """

    rank: int
    flags: int
    lowest: float
    name: str
    text: str
    warnings: tuple[str, ...]


@dataclass
class Overview:
    """Counts over the scans of a cohort."""

    scans: int = 0
    subjects: int = 0
    visits: int = 0
    returning: int = 0
    """Subjects with several visits."""
    named: bool = False
    """Whether a subject has another name than its scan."""
    regions: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    weights: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    settings: Counter[tuple[str, str]] = field(default_factory=Counter)
    finished: tuple[str, str] = ("", "")
    flagged: int = 0
    shared: tuple[str, ...] | None = None
    """Warnings that all scans have; None without scans."""
    with_fat: list[tuple[str, str]] = field(default_factory=list)
    """Name and region of scans with a fat fraction."""
    needs: list[Need] = field(default_factory=list)
    checksums: list[tuple[str, str | None]] = field(default_factory=list)
    """Name and checksum of each scan, in order; None of one that failed."""

    @property
    def done(self) -> int:
        """Number of scans with results."""
        return self.scans - self.statuses["failed"]

    @property
    def reviewed(self) -> int:
        """Number of scans with a mark."""
        return sum(n for mark, n in self.marks.items() if mark)

    @property
    def first_needs(self) -> list[Need]:
        """Scans to look at first, without warnings that all have."""
        return heapq.nsmallest(FIRST, self._needs())

    @property
    def num_needs(self) -> int:
        """Number of scans that need a look."""
        return sum(1 for _ in self._needs())

    @property
    def shared_warnings(self) -> tuple[str, ...]:
        """Warnings that all of several scans have."""
        return self.shared or () if self.done > 1 else ()

    def _needs(self) -> Iterator[Need]:
        common = {*self.shared_warnings}
        for need in self.needs:
            own = tuple(text for text in need.warnings if text not in common)
            if need.text or own:
                yield need._replace(warnings=own)


def survey(results: Iterable[ScanResult]) -> Overview:
    """Return what scans add up to; they come in the order of subject and visit."""
    found = Overview()
    before, own = ("", ""), 0
    for result in results:
        key, row = result.key, result.row
        failed = key.failure is not None
        checksum = None if failed else str(result.record.get("scan_sha256", ""))
        found.scans += 1
        found.checksums.append((key.name, checksum))
        found.subjects += key.subject != before[0] or found.scans == 1
        found.named |= key.subject != key.name
        is_visit = bool(key.visit) and key[:2] != before
        own = is_visit + (own if key.subject == before[0] else 0)
        found.visits += is_visit
        found.returning += is_visit and own == 2
        before = key[:2]
        found.statuses[row["status"]] += 1
        found.marks["" if failed else result.mark] += 1
        found.flagged += bool(result.flagged)
        if need := _need(result):
            found.needs.append(need)
        if result.record:
            _add_record(found, result)
    return found


def _add_record(found: Overview, result: ScanResult) -> None:
    record, row = result.record, result.row
    found.regions[str(row["region"])] += 1
    found.kinds[str(row["image_kind"])] += 1
    found.weights[str(record.get("weights", "")), str(record.get("weights_hash", ""))] += 1
    found.versions[_version(record)] += 1
    found.engines[f"{record.get('engine', '')} {record.get('precision', '')}".strip()] += 1
    found.settings.update(_unusual(record.get("settings")))
    times = [t for t in (*found.finished, str(row["finished"])) if t]
    found.finished = (min(times, default=""), max(times, default=""))
    if found.shared is None:
        found.shared = result.warnings
    found.shared = tuple(text for text in found.shared if text in result.warnings)
    if record.get("fat_fraction"):
        found.with_fat.append((result.key.name, str(row["region"])))


def _version(record: Mapping[str, Any]) -> str:
    versions = record.get("versions")
    return str(versions.get("musclejax", "")) if isinstance(versions, dict) else ""


def _unusual(settings: object) -> Iterator[tuple[str, str]]:
    """Yield the settings of a record that are not the usual ones, as texts."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if value != _USUAL[name] if name in _USUAL else value:
            yield str(name), value if isinstance(value, str) else json.dumps(value)


def _need(result: ScanResult) -> Need | None:
    """Return why a person should look at a scan; None if nothing is known, or a person did."""
    flagged, name = result.flagged, result.key.name
    order = (-len(flagged), min(flagged.values(), default=1.0), name)
    low = f"{LOW}: {show_flagged(flagged)}" if flagged else ""
    if result.key.failure is not None:
        return Need(0, 0, 1.0, name, f"failed: {result.key.failure}", ())
    if result.mark in (RIGHT, UNUSABLE):
        return None
    if result.mark:
        return Need(1, *order, f"marked {result.mark}", result.warnings)
    if slices := result.slices:
        which = f"slice{'s' * (len(slices) > 1)} {listed(map(str, slices))}"
        return Need(1, *order, f"{which} marked {TO_CORRECT}", result.warnings)
    if low or result.warnings:
        outside = any(text.startswith(OUTSIDE) for text in result.warnings)
        return Need(2 if outside else 3 if low else 4, *order, low, result.warnings)
    return None


def counted(counts: Mapping[Any, int]) -> str:
    """Return names and their numbers in words, the most frequent first; one name alone."""
    named = {name: n for name, n in counts.items() if name}
    if len(named) == 1 and sum(counts.values()) == sum(named.values()):
        return printable(str(next(iter(named))))
    order = sorted(named.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{printable(str(name))} ({n})" for name, n in order)


def show_settings(overview: Overview, most: int = 12) -> str:
    """Return the settings that are not the usual ones, with the number of their scans."""
    done = sum(overview.versions.values())
    lines = [
        f"{name} {value}" + (f" ({count_of(n, 'scan')})" if n < done else "")
        for (name, value), n in sorted(overview.settings.items())
    ]
    more = [f"{len(lines) - most} more"] if len(lines) > most else []
    return printable(", ".join([*lines[:most], *more])) or "the usual ones"
