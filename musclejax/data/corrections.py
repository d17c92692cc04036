"""Corrected label maps as a dataset: which slices a person vouches for, and how they are stored."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from musclejax import __version__, anatomy
from musclejax.data.case_table import read_case_table
from musclejax.data.dataset import TABLE
from musclejax.data.label_map import to_scan_order, whole_numbers
from musclejax.data.write import write_cases, write_index
from musclejax.errors import InputError
from musclejax.files import file_sha256, read_json, staging_folder, write_json
from musclejax.scan.nifti import load_nifti, save_labels, save_scan
from musclejax.scan.numbering import find_numbering, from_written
from musclejax.scan.volume import Volume

MANIFEST = "corrections.json"
"""In the dataset: the checksum of every file of ours, and the slices of each case."""
WORDS = ("changed", "reviewed", "all")
"""Values of `--slices` beside NAME=SLICES."""
RIGHT, UNUSABLE = "right", "unusable"
"""Marks of a review that count here."""
_INDEX = "dataset.json"


class Choice(NamedTuple):
    """Which slices become labels, as `--slices` says it.

    Attributes:
        words: Of `WORDS`.
        named: Slices by scan, numbered as in its tables, from 0.
    """

    words: frozenset[str]
    named: Mapping[str, frozenset[int]]


def read_choice(texts: Sequence[str]) -> Choice:
    """Return the meaning of `--slices`: changed and reviewed slices if nothing is given.

    Raises:
        InputError: If a text is neither a word nor NAME=3-8,12.
    """
    words: set[str] = set()
    named: dict[str, frozenset[int]] = {}
    for text in texts:
        name, equals, numbers = text.rpartition("=")
        if not equals and text not in WORDS:
            raise InputError.choice("--slices", text, (*WORDS, "NAME=3-8,12"))
        if equals:
            named[name] = named.get(name, frozenset()) | _numbers(numbers, text)
        else:
            words.add(text)
    return Choice(frozenset(words if texts else WORDS[:2]), named)


def _numbers(text: str, whole: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if last < first:
            raise InputError("--slices", whole, "NAME=3-8,12 with slices from 0, the lowest first")
        found |= {*range(first, last + 1)}
    return frozenset(found)


class Chosen(NamedTuple):
    """The slices of a scan that carry labels.

    Attributes:
        changed: By a person.
        others: Confirmed in a review, or named.
    """

    changed: tuple[int, ...]
    others: tuple[int, ...]

    @property
    def slices(self) -> tuple[int, ...]:
        """All of them, in order."""
        return tuple(sorted({*self.changed, *self.others}))


def choose_slices(
    choice: Choice,
    name: str,
    count: int,
    changed: Iterable[int],
    marks: Mapping[int | None, str],
) -> Chosen:
    """Return the slices of a scan that carry labels.

    A mark of a slice takes precedence over that of its scan. "unusable" slices have no labels,
    whoever changed them; "to correct" says nothing, as it may be done by now.

    Args:
        choice: What was requested.
        name: Of the scan.
        count: Its slices.
        changed: Those that a person changed.
        marks: Slice, or None for the whole scan -> mark of a review.

    Raises:
        InputError: If a slice is named that the scan does not have.
    """
    every, named = range(count), choice.named.get(name, frozenset())
    if named - {*every}:
        found = f"slice {min(named - {*every})} of {name}"
        raise InputError("--slices", found, f"0 to {count - 1}, as in {name}_slices.csv")
    mark = {z: marks.get(z, marks.get(None, "")) for z in every}
    right = {z for z in every if mark[z] == RIGHT}
    usable = {z for z in every if mark[z] != UNUSABLE}
    own = {*changed}
    whole = {*every} if "all" in choice.words and (own or right) else set()
    taken = whole | (own if "changed" in choice.words else set())
    confirmed = whole | (right if "reviewed" in choice.words else set())
    taken, confirmed = (taken & usable) & own, (confirmed & usable) | named
    return Chosen(tuple(sorted(taken)), tuple(sorted(confirmed - taken)))


def changed_slices(
    labels: UInt8[np.ndarray, "i j k"], original: UInt8[np.ndarray, "i j k"], axis: int
) -> tuple[int, ...]:
    """Return the slices in which two label maps differ.

    Args:
        labels: As a person left them.
        original: As they were before.
        axis: Of the slices.
    """
    others = tuple(n for n in range(3) if n != axis)
    return tuple(int(z) for z in np.flatnonzero((labels != original).any(others)))


def read_muscles(path: Path, scan: Volume, region: anatomy.Region) -> UInt8[np.ndarray, "i j k"]:
    """Read a label map as `segment` writes it, in any numbering, and as viewers save it.

    Returns:
        Muscle numbers in the order of the scan's array.

    Raises:
        InputError: If it lies on another grid, or a value is not a muscle's of the region.
    """
    stored = load_nifti(path)
    numbering = find_numbering(path, stored, region)
    values = whole_numbers(to_scan_order(stored, scan, path), path)
    return from_written(values, region, numbering, path, "Give them a muscle's, or 0.").labels


@dataclass(frozen=True, eq=False)
class CorrectedScan:
    """A scan with labels in some slices.

    Attributes:
        name: Name of the case.
        row: Its row of `cases.csv`, with the region.
        volume: The scan.
        labels: Muscle numbers in the order of the scan's array.
        chosen: The slices that carry labels.
    """

    name: str
    row: Mapping[str, str]
    volume: Volume
    labels: UInt8[np.ndarray, "i j k"]
    chosen: Chosen

    @property
    def region(self) -> anatomy.Region:
        """Region of its muscles."""
        return anatomy.REGIONS[self.row["region"]]


class CorrectionsDataset:
    """A dataset of one region that is made of corrected scans, or brought up to date.

    Files that are not ours, or were edited since, are never replaced; rows of `cases.csv` that
    exist stay as they are.

    Args:
        folder: Its folder, made if needed.
        title: Name of the dataset.

    Raises:
        InputError: If it holds another dataset.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder, self._title = folder, title
        known = read_json(folder / MANIFEST) or {}
        if not known and (folder / _INDEX).exists():
            found = f"a dataset without {MANIFEST}"
            raise InputError(folder, found, "a new folder, or one of dataset make", "Another -o.")
        self._files: dict[str, str] = dict(known.get("files", {}))
        self._slices: dict[str, Any] = dict(known.get("slices", {}))

    def add(self, scan: CorrectedScan) -> None:
        """Write image and labels of a scan; nothing is written if they are there already.

        Raises:
            InputError: If a file in their place is not ours.
            OSError: If the folder cannot be written.
        """
        name = scan.name
        own = np.zeros(scan.volume.num_slices, bool)
        own[list(scan.chosen.slices)] = True
        shape = [-1 if n == scan.volume.axial_axis else 1 for n in range(3)]
        ignore = np.uint8(scan.region.num_classes)
        labels = np.where(own.reshape(shape), scan.labels, ignore).astype(np.uint8)
        self._put(f"imagesTr/{name}_0000.nii.gz", lambda path: save_scan(path, scan.volume))
        self._put(
            f"labelsTr/{name}.nii.gz",
            lambda path: save_labels(path, labels, scan.volume, scan.region),
        )
        changed, others = map(list, scan.chosen)
        self._slices[name] = {"row": dict(scan.row), "changed": changed, "others": others}
        self._write_manifest()

    def finish(self, kept: Iterable[str]) -> None:
        """Remove the cases that are chosen no more, and write `cases.csv` and `dataset.json`.

        Args:
            kept: Names of the cases that stay.
        """
        for name in sorted(self._slices.keys() - {*kept}):
            self._remove(name)
        if not self._slices:
            return
        table = self.folder / TABLE
        rows = read_case_table(table) if table.is_file() else {}
        known = {name: {"case": name, **self._slices[name]["row"]} for name in sorted(self._slices)}
        write_cases(self.folder, [{**row, **rows.get(name, {})} for name, row in known.items()])
        (region,) = {row["region"] for row in known.values()}
        self._put(
            _INDEX, lambda path: write_index(path.parent, region, len(known), None, self._title)
        )
        self._write_manifest()

    def _put(self, name: str, save: Callable[[Path], object]) -> None:
        """Write a file of ours, unless it is there."""
        path = self.folder / name
        with staging_folder(path.parent, path.name) as stage:
            new = stage / path.name
            save(new)
            self._check_ours(name, file_sha256(new))
            self._files[name] = file_sha256(new)

    def _check_ours(self, name: str, new: str = "") -> None:
        path = self.folder / name
        known = {new, self._files.get(name)}
        if path.is_symlink() or (path.exists() and file_sha256(path) not in known):
            found = "a file that dataset make did not write, or that was edited since"
            raise InputError(path, found, "files as they were written", "Another -o, or remove it.")

    def _remove(self, name: str) -> None:
        files = f"labelsTr/{name}.nii.gz", f"imagesTr/{name}_0000.nii.gz"
        for file in files:
            self._check_ours(file)
        for file in files:
            (self.folder / file).unlink(missing_ok=True)
            self._files.pop(file, None)
        del self._slices[name]
        self._write_manifest()

    def _write_manifest(self) -> None:
        contents = {"musclejax": __version__, "files": self._files, "slices": self._slices}
        write_json(self.folder / MANIFEST, contents)
