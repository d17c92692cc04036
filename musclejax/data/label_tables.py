"""What the numbers of a label map by anybody mean: schemes of other tools, and files of names."""

import csv
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from musclejax import anatomy
from musclejax.data.label_names import HIGHEST, label_pairs
from musclejax.data.muscle_names import Meaning, group_of, known_names, parse_name
from musclejax.data.strict_json import parse_json
from musclejax.errors import InputError, did_you_mean, listed
from musclejax.scan.numbering import labels_of
from musclejax.scan.volume import Volume

TOTALSEGMENTATOR = (
    *("quadriceps_femoris_left", "quadriceps_femoris_right", "thigh_medial_compartment_left"),
    *("thigh_medial_compartment_right", "thigh_posterior_compartment_left"),
    *("thigh_posterior_compartment_right", "sartorius_left", "sartorius_right"),
)
"""Names of numbers 1 to 8 of its task thigh_shoulder_muscles; above are muscles of the shoulder."""
_LARGEST = 2**22
"""Bytes of a file of names that is read. Source: ours; FreeSurfer's table has 0.1 million."""
_BACKGROUND = ("background", "clear label", "clear", "ignore")
_SHOWN = 60
_WHOLE = re.compile(r"-?\d{1,6}(\.0*)?")
_NUMBER = ("labelvalue", "index", "number", "value", "label", "id")
_NAME = ("name", "structure", "muscle", "abbreviation")
"""Titles of the columns of numbers and of names: 3D Slicer's, BIDS', and others."""
_DELIMITED = re.compile(r"[^\s,;]+ *([\t;,])")
_ITKSNAP_CELLS, _SLICER_COLORS = 8, 4
_ACCEPTED = "a label file of ITK-SNAP, 3D Slicer, nnU-Net or BIDS, or rows of number,name"


@dataclass(frozen=True)
class LabelTable:
    """What label numbers mean.

    Attributes:
        source: Scheme or file, for messages and records.
        muscles: Number -> the muscles that it may mean: one, or one of each region.
        others: Number -> name of anything else; a group with its muscles.
        open: Whether any further number is something else, too.
    """

    source: str
    muscles: Mapping[int, tuple[Meaning, ...]]
    others: Mapping[int, str] = field(default_factory=dict)
    open: bool = False


def _own(numbering: anatomy.Numbering) -> LabelTable:
    """Return the numbers that our label maps may have, of both regions."""
    muscles: dict[int, tuple[Meaning, ...]] = {}
    for region in anatomy.REGIONS.values():
        for label in labels_of(region, numbering):
            meaning = Meaning(region.name, label.muscle, label.side)
            muscles[label.number] = (*muscles.get(label.number, ()), meaning)
    return LabelTable("", muscles)


def _named(names: Iterable[tuple[int, str]], source: str, *, open_: bool = False) -> LabelTable:
    """Return a table from the names of numbers."""
    muscles: dict[int, tuple[Meaning, ...]] = {}
    others: dict[int, str] = {}
    for number, name in names:
        # labels.txt of earlier versions has "Thigh: VL Vastus lateralis | Lower leg: SOL Soleus".
        found = tuple(m for part in name.split("|") if (m := parse_name(part)))
        if found:
            muscles[number] = found
        elif number and name.strip().casefold() not in _BACKGROUND:
            group = group_of(name)
            hint = "" if group else did_you_mean(name.casefold(), known_names(), cutoff=0.8)
            others[number] = name + (f", a group ({group})" if group else "")
            others[number] += f" ({hint})" if hint else ""
        else:
            others[number] = ""
    return LabelTable(source, muscles, others, open_)


SCHEMES = {
    "muscles": lambda: _own("muscles"),
    "sides": lambda: _own("sides"),
    "musclemap": lambda: _own("musclemap"),
    "huashan": lambda: _named(anatomy.CROSSWALKS["huashan"].items(), ""),
    "totalsegmentator": lambda: _named(enumerate(TOTALSEGMENTATOR, 1), ""),
}
"""Numbers of tools: those of `anatomy.NUMBERINGS` under the same names, and others."""
_OPEN = ("musclemap", "totalsegmentator")
"""Schemes with many more structures, which are no muscles of ours."""


def find_table(names: str | Path) -> LabelTable:
    """Return the table of a scheme, or of a file.

    Args:
        names: One of `SCHEMES`, or a file: ITK-SNAP label descriptions, a color table of 3D Slicer
            (.ctbl, .txt, .csv), nnU-Net's dataset.json, MuscleMap's model JSON, BIDS `dseg.tsv`,
            or rows of number and name (.csv, .tsv).

    Raises:
        InputError: If it is neither, or the file names no muscle.
    """
    scheme = str(names).lower()
    if scheme in SCHEMES:
        table = SCHEMES[scheme]()
        return LabelTable(scheme, table.muscles, table.others, scheme in _OPEN)
    path = Path(names)
    if not path.is_file():
        hint = did_you_mean(str(names), SCHEMES)
        accepted = f"a file, or {', '.join(SCHEMES)}"
        raise InputError("--names", f"no file {names}", accepted, hint)
    return read_table(path)


def read_table(path: Path) -> LabelTable:
    """Return the table in a file of names; see `find_table`.

    Raises:
        InputError: If it cannot be read, names a number twice, or names no muscle.
    """
    pairs = _read_json(path) if path.suffix.lower() == ".json" else _read_text(path)
    names: dict[int, str] = {}
    for number, name in pairs:
        if names.setdefault(number, name) != name:
            found = f"number {number} for {names[number][:_SHOWN]!r} and for {name[:_SHOWN]!r}"
            raise InputError(path, found, "a name per number")
    table = _named(names.items(), str(path))
    if not table.muscles:
        shown = listed(f"{n} {name[:_SHOWN]}" for n, name in table.others.items() if name)
        found = f"no muscle among its names ({shown})" if shown else "no names"
        raise InputError(path, found, f"{_ACCEPTED}; names such as VL, VL_left, soleus")
    return table


def table_in_header(volume: Volume, source: str) -> LabelTable | None:
    """Return the table in the header of a NIfTI label map, as we and TotalSegmentator write it."""
    header = volume.header
    notes = [note.get_content() for note in header.extensions] if header is not None else []
    for note in notes:
        text = note if isinstance(note, bytes) else str(note).encode()
        if b"LabelTable" not in text or len(text) > _LARGEST:
            continue
        try:
            labels = list(ElementTree.fromstring(text.strip(b"\0")).iter("Label"))
            names = [(int(label.get("Key", "")), label.text or "") for label in labels]
        except (ElementTree.ParseError, ValueError):
            continue
        table = _named(names, f"the names in {source}")
        if table.muscles:
            return table
    return None


def _read_json(path: Path) -> list[tuple[int, str]]:
    index = parse_json(path, 'JSON with "labels": {NAME: NUMBER}')
    labels = index.get("labels", index)
    if isinstance(labels, list):  # MuscleMap: {"anatomy", "side", "value"}
        return [_musclemap_row(row, path) for row in labels]
    renamed = index.get("musclejax_names")
    said = renamed if isinstance(renamed, dict) else {}
    pairs = label_pairs(labels, path) if isinstance(labels, dict) else []
    return [(number, str(said.get(name, name))) for name, number in pairs]


def _musclemap_row(row: Any, path: Path) -> tuple[int, str]:
    if not isinstance(row, dict) or not isinstance(row.get("value"), int):
        raise InputError(path, f"label {str(row)[:_SHOWN]}", '{"anatomy", "side", "value"}')
    return row["value"], f"{row.get('anatomy', '')} {row.get('side', '')}".strip()


def _read_text(path: Path) -> list[tuple[int, str]]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(path, f"no readable text ({error})"[:200], _ACCEPTED) from None
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    delimited = _DELIMITED.match(lines[0]) if lines else None
    if not delimited:
        return [_color_row(_words(line), path) for line in lines]
    rows = [[c.strip() for c in row] for row in csv.reader(lines, delimiter=delimited[1])]
    columns = _columns(rows[0])
    return [_row(row, columns or (0, 1), path) for row in rows[columns is not None :]]


def _columns(titles: list[str]) -> tuple[int, int] | None:
    """Return the columns of number and name by a row of titles; None if it is no such row."""
    words = [title.casefold() for title in titles]
    number, name = (next((words.index(w) for w in n if w in words), -1) for n in (_NUMBER, _NAME))
    return (number, name) if min(number, name) >= 0 else None


def _words(line: str) -> list[str]:
    """Return the words of a line; quotes hold a name together."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _color_row(row: list[str], path: Path) -> tuple[int, str]:
    """Return number and name of a row of ITK-SNAP, where the name comes last, or of 3D Slicer."""
    if len(row) == _ITKSNAP_CELLS and row[1].isdigit():
        return _row(row, (0, _ITKSNAP_CELLS - 1), path)
    name = " ".join(row[1 : -_SLICER_COLORS if len(row) > _SLICER_COLORS + 1 else None])
    return _row([*row[:1], name], (0, 1), path)


def _row(row: list[str], columns: tuple[int, int], path: Path) -> tuple[int, str]:
    """Return number and name of a row."""
    at, named = columns
    if len(row) <= max(at, named) or not _WHOLE.fullmatch(row[at]):
        raise InputError(path, f"row {' '.join(row).strip()[:_SHOWN]!r}", _ACCEPTED)
    number = int(float(row[at]))
    if abs(number) > HIGHEST:
        raise InputError(path, f"number {number}", f"0 to {HIGHEST}")
    return number, row[named].replace("_", " ")
