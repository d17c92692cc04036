"""Label numbers on disk <-> muscle numbers and sides in memory; see `anatomy.NUMBERINGS`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from jaxtyping import Num, UInt8, UInt16

from musclejax.anatomy import NUMBERINGS, SIDES, Numbering, Region
from musclejax.errors import InputError, listed
from musclejax.files import read_json
from musclejax.scan.volume import Volume, scan_name

LABEL_FILE = "labels.json"
"""States the numbers of a folder of label maps."""
NUMBERING_KEY = "numbering"
"""Key of the numbering in run records, in `LABEL_FILE` and in sidecars."""
_NOTE = "musclejax numbering"
_NOTED = re.compile(rf"<Name>{_NOTE}</Name>\s*<Value>(\w+)</Value>".encode())
_DARKER = 0.65
"""Brightness of the right muscles where sides have numbers of their own: a swap shows. Ours."""


class Label(NamedTuple):
    """A label number of a map on disk.

    Attributes:
        number: The number.
        abbreviation: As VL, or VL_left.
        name: As "Vastus lateralis", or "Vastus lateralis, left".
        color: Red, green, blue, 0-255.
        muscle: Number of the muscle.
        side: 0 both, else 1 + index into `SIDES`.
    """

    number: int
    abbreviation: str
    name: str
    color: tuple[int, int, int]
    muscle: int
    side: int


def labels_of(region: Region, numbering: Numbering) -> list[Label]:
    """Return the labels of a region, ordered by their numbers; background is none."""
    if numbering == "muscles":
        return [
            Label(m.number, m.abbreviation, m.name, m.color, m.number, 0) for m in region.muscles
        ]
    labels = [
        Label(
            NUMBERINGS[numbering](muscle, index),
            f"{muscle.abbreviation}_{side}",
            f"{muscle.name}, {side}",
            _shade(muscle.color, index),
            muscle.number,
            index + 1,
        )
        for index, side in enumerate(SIDES)
        for muscle in region.muscles
    ]
    return sorted(labels)


def _shade(color: tuple[int, int, int], side: int) -> tuple[int, int, int]:
    red, green, blue = (round(c * _DARKER) if side else c for c in color)
    return red, green, blue


def number_table(region: Region, numbering: Numbering) -> UInt16[np.ndarray, "sides classes"]:
    """Return the number on disk by side (0 none, 1 left, 2 right) and muscle; 0 is background."""
    table = np.zeros((len(SIDES) + 1, region.num_classes), np.uint16)
    for label in labels_of(region, numbering):
        table[label.side or slice(None), label.muscle] = label.number
    return table


def to_written(
    labels: UInt8[np.ndarray, "*shape"],
    sides: UInt8[np.ndarray, "*shape"],
    region: Region,
    numbering: Numbering,
) -> Num[np.ndarray, "*shape"]:
    """Return labels as they are written: uint8, or uint16 if a number exceeds 255.

    Raises:
        InputError: If a labeled voxel has no side where sides have numbers.
    """
    if numbering == "muscles":
        return labels
    table = number_table(region, numbering)
    written = np.empty_like(labels, np.min_scalar_type(table.max()))
    slowest = int(np.argmax(np.abs(labels.strides)))
    for numbers, muscle, side in zip(
        *(np.moveaxis(a, slowest, 0) for a in (written, labels, sides)), strict=True
    ):
        if not side[muscle > 0].all():
            found, remedy = "labeled voxels without a side", "Write the numbers of muscles."
            raise InputError("labels", found, "left or right for each", remedy)
        numbers[...] = table[side, muscle]
    return written


class Read(NamedTuple):
    """A label map as it is in memory.

    Attributes:
        labels: Muscle numbers; 0 background.
        sides: 1 left, 2 right, as the numbers say; 0 of background, and where they do not say.
    """

    labels: UInt8[np.ndarray, "*shape"]
    sides: UInt8[np.ndarray, "*shape"]


def from_written(
    written: Num[np.ndarray, "*shape"],
    region: Region,
    numbering: Numbering,
    subject: object,
    remedy: str = "",
) -> Read:
    """Return the muscles and sides of numbers as they were written: the inverse of `to_written`.

    Raises:
        InputError: If a number is none of the numbering; it is about `subject`, with a `remedy`.
    """
    known = {label.number: label for label in labels_of(region, numbering)}
    present, places = np.unique(written, return_inverse=True)
    wrong = [v for v in present if v not in (0, *known)]
    if wrong:
        found = f"label values {listed(f'{v:g}' for v in wrong)}"
        numbers = sorted(known)
        accepted = f"0 to {numbers[-1]}" if numbering == "muscles" else listed(map(str, numbers))
        muscles = f"the muscles of the {region.name}"
        accepted = f"{accepted}, {muscles}" if numbering == "muscles" else f"{muscles}: {accepted}"
        raise InputError(subject, found, accepted, remedy)
    rows = [known.get(int(v)) for v in present]
    muscles_of = np.array([row.muscle if row else 0 for row in rows], np.uint8)
    sides_of = np.array([row.side if row else 0 for row in rows], np.uint8)
    shape = written.shape
    return Read(muscles_of[places].reshape(shape), sides_of[places].reshape(shape))


def find_numbering(path: Path, stored: Volume, region: Region) -> Numbering:
    """Return the numbering of a label map on disk.

    What the file's header says counts first, as it travels with the file; then the run record
    beside it, `labels.json` beside it (editors drop what they do not know from headers), and last
    the numbers themselves: the first numbering that knows them all, "muscles" if none does.

    Args:
        path: The label map.
        stored: Its contents.
        region: The region of its muscles.
    """
    record = read_json(path.with_name(f"{scan_name(path).removesuffix('_labels')}_run.json"))
    if found := _known(_notes(stored)) or numbering_of(path.parent, record or {}):
        return found
    present = set(np.unique(stored.data).tolist()) - {0}
    fitting = (n for n in NUMBERINGS if present <= {label.number for label in labels_of(region, n)})
    return next(fitting, "muscles")


def numbering_of(folder: Path, record: Mapping[str, Any]) -> Numbering | None:
    """Return the numbering that a run record states, else `LABEL_FILE`; None if neither does.

    Args:
        folder: Of the label maps.
        record: Of one of them; empty if it has none.
    """
    tables = record, read_json(folder / LABEL_FILE) or {}
    return _known(table.get(NUMBERING_KEY) for table in tables)


def _known(statements: Iterable[object]) -> Numbering | None:
    """Return the first of some statements that is a numbering."""
    return next((n for stated in statements for n in NUMBERINGS if n == stated), None)


def _notes(stored: Volume) -> Iterator[str]:
    """Yield what the header of a label map states about its numbers; unchecked."""
    extensions = stored.header.extensions if stored.header is not None else ()
    for extension in extensions:
        yield _noted(extension)


def add_note(information: ElementTree.Element, numbering: Numbering) -> None:
    """State the numbering in the XML of a label map's header."""
    note = ElementTree.SubElement(ElementTree.SubElement(information, "MetaData"), "MD")
    ElementTree.SubElement(note, "Name").text = _NOTE
    ElementTree.SubElement(note, "Value").text = numbering


def _noted(extension: nib.nifti1.Nifti1Extension) -> str:
    """Return what `add_note` wrote; empty if it is not there."""
    text = extension.get_content()
    found = _NOTED.search(text) if isinstance(text, bytes) else None
    return found[1].decode() if found else ""
