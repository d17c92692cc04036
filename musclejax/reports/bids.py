"""Label maps as a BIDS derivative: names, tables of labels, sidecars.

Source: BIDS 1.10, "Common data types and metadata" of derivatives, and "Imaging data types".
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

import musclejax
from musclejax.anatomy import Numbering, Region
from musclejax.errors import InputError
from musclejax.files import read_json, reading, sha256, transient_lock, write_json, write_text
from musclejax.prediction.result import Segmentation
from musclejax.reports.run_record import BIDS_TREE
from musclejax.scan.numbering import NUMBERING_KEY, labels_of
from musclejax.scan.volume import Volume, scan_name

Naming = Literal["plain", "bids"]
BIDS_VERSION = "1.10.0"
_DATA = "dseg.nii.gz"
_NAME = re.compile(r"sub-([A-Za-z0-9]+)((?:_[a-z]+-[A-Za-z0-9]+)*)(?:_([A-Za-z0-9]+))?")
_ORDER = (
    *("ses", "acq", "ce", "rec", "dir", "run", "mod", "echo", "flip", "inv", "mt", "part"),
    *("recording", "space", "chunk", "seg", "res", "den", "label", "desc"),
)
_PEOPLE = "participants.tsv"
_PEOPLE_COLUMNS = ("participant_id", "source_name")
_SCAN = "Scan"
"""Key of a sidecar: NAME of the results that it belongs to."""
_SOFT_TISSUE = 5
"""Muscle in the lookup of BIDS, column `mapping`."""


class BidsName(NamedTuple):
    """What a file name of BIDS says.

    Attributes:
        subject: Label of the person.
        person: The same as the scan has it, with whatever characters.
        entities: Further ones by key.
    """

    subject: str
    person: str
    entities: dict[str, str]


def name_of(volume: Volume, region: str) -> BidsName:
    """Return how BIDS names the labels of a scan.

    The names of BIDS sources keep their entities, their suffix becomes `desc`. Of other series
    subject, visit, description, kind and echo are taken, and of any other scan its own name.
    """
    series = volume.series
    source = volume.name if series is None else scan_name(series.path)
    if known := _NAME.fullmatch(source):
        pairs = (pair.split("-") for pair in known[2].split("_")[1:])
        entities = dict(pair for pair in pairs)
        described = {"desc": entities.get("desc", "") + (known[3] or "")}
        return BidsName(known[1], known[1], {**entities, **described, "seg": region})
    if series is None:
        return BidsName(_plain(volume.name), volume.name, {"seg": region})
    kind = "" if series.kind in ("other", "echo") else _plain(series.kind)
    told = series.description != series.subject  # a plain file has its name for both
    entities = {
        "ses": _plain(series.visit) if series.visit else "",
        "acq": _plain(series.description) if series.description and told else "",
        "echo": "" if series.index is None else str(series.index + 1),
        "seg": region,
        "desc": kind,
    }
    person = series.subject or volume.name
    return BidsName(_plain(person), person, entities)


def _plain(text: str) -> str:
    """Return the letters and digits of a text, the only ones in BIDS; a checksum without any."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or f"x{sha256(text.encode())[:8]}"


def reserve(folder: Path, volume: Volume, region: str) -> str:
    """Return where the labels of a scan go, without `dseg.nii.gz`; write what all scans share.

    A person keeps the label of `participants.tsv`. Two persons, or two scans, whose names differ
    only in characters that BIDS lacks are told apart by a number.

    Args:
        folder: Of the results.
        volume: The scan.
        region: "thigh" or "leg".
    """
    tree, name = folder / BIDS_TREE, name_of(volume, region)
    tree.mkdir(parents=True, exist_ok=True)
    with transient_lock(tree / ".lock", wait=True):
        if not (tree / "dataset_description.json").exists():
            write_json(tree / "dataset_description.json", _description())
        subject = _subject(tree / _PEOPLE, name)
    return next(
        stem
        for entities in _numbered(name.entities)
        if _is_free(folder, stem := _stem(subject, entities), volume.name)
    )


def _subject(table: Path, name: BidsName) -> str:
    """Return the label of a person; add it to the table of participants if it is new.

    Rows and columns that a person has added stay.

    Raises:
        InputError: If there is another table.
    """
    lines = _read_lines(table) or ["\t".join(_PEOPLE_COLUMNS)]
    header, person = lines[0].split("\t"), re.sub(r"\s", " ", name.person)
    if not {*_PEOPLE_COLUMNS} <= {*header}:
        raise InputError(table, f"columns {', '.join(header)}", ", ".join(_PEOPLE_COLUMNS))
    rows = [dict(zip(header, line.split("\t"), strict=False)) for line in lines[1:]]
    ids, names = ([row.get(column, "") for row in rows] for column in _PEOPLE_COLUMNS)
    taken = [text.removeprefix("sub-") for text in ids]
    if person in names:
        return taken[names.index(person)]
    labels = (f"{name.subject}{'' if n == 1 else f'x{n}'}" for n in count(1))
    label = next(label for label in labels if label not in taken)
    own = dict(zip(_PEOPLE_COLUMNS, (f"sub-{label}", person), strict=True))
    new = "\t".join(own.get(column, "n/a") for column in header)
    write_text(table, "\n".join([*lines, new]) + "\n")
    return label


def _read_lines(table: Path) -> list[str]:
    if not table.is_file():
        return []
    with reading(table, "table", "Save it as text in UTF-8, tabs between its columns."):
        return [line for line in table.read_text(encoding="utf-8-sig").splitlines() if line]


def _numbered(entities: dict[str, str]) -> Iterator[dict[str, str]]:
    yield entities
    for number in count(2):
        yield {**entities, "desc": f"{entities.get('desc', '')}{number}"}


def _stem(subject: str, entities: dict[str, str]) -> str:
    given = [f"{key}-{entities[key]}" for key in _ORDER if entities.get(key)]
    session = [text for text in given if text.startswith("ses-")]
    return "/".join(
        [BIDS_TREE, f"sub-{subject}", *session, "anat", "_".join([f"sub-{subject}", *given, ""])]
    )


def _is_free(folder: Path, stem: str, scan: str) -> bool:
    """Return whether nobody has a name yet, or this scan has it."""
    sidecar = folder / f"{stem}dseg.json"
    if sidecar.exists():
        return (read_json(sidecar) or {}).get(_SCAN) == scan
    return not (folder / f"{stem}{_DATA}").exists()


def stem_of(files: Iterable[str], region: str) -> str:
    """Return where the labels of a region are among files of a record, as `reserve`; else empty."""
    maps = (n for n in files if n.startswith(f"{BIDS_TREE}/") and n.endswith(_DATA))
    found = (name for name in maps if f"_seg-{region}_" in name)
    return next(found, "").removesuffix(_DATA)


def write(stage: Path, labels: Path, stem: str, result: Segmentation, numbering: Numbering) -> None:
    """Write the label map of a scan under its name in BIDS, with its table and sidecar.

    Args:
        stage: Folder of the results.
        labels: The label map.
        stem: As of `reserve`.
        result: The scan.
        numbering: The numbers of the label map.
    """
    data = stage / f"{stem}{_DATA}"
    data.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(labels, data)
    (stage / f"{stem}dseg.tsv").write_text(
        _label_table(result.anatomy, numbering), encoding="utf-8"
    )
    sidecar = json.dumps(_sidecar(result, numbering), indent=2) + "\n"
    (stage / f"{stem}dseg.json").write_text(sidecar, encoding="utf-8")


def _label_table(region: Region, numbering: Numbering) -> str:
    rows = [(0, "Background", "BG", "#000000", 0)]
    for label in labels_of(region, numbering):
        color = "#{:02x}{:02x}{:02x}".format(*label.color)
        rows.append((label.number, label.name, label.abbreviation, color, _SOFT_TISSUE))
    columns = ["index", "name", "abbreviation", "color", "mapping"]
    return pd.DataFrame(rows, columns=columns).to_csv(sep="\t", index=False, lineterminator="\n")


def _sidecar(result: Segmentation, numbering: Numbering) -> dict[str, object]:
    return {
        "Description": f"Muscles of the {result.anatomy.title.lower()}",
        "SpatialReference": "orig",
        "Manual": result.correction is not None,
        _SCAN: result.volume.name,
        "Region": result.region,
        NUMBERING_KEY: numbering,
        "Weights": result.weights,
        "Version": musclejax.__version__,
        "Warnings": list(result.warnings),
    }


def _description() -> dict[str, object]:
    return {
        "Name": "Muscles of thighs and lower legs",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "musclejax", "Version": musclejax.__version__}],
    }
