"""What the numbers of label maps mean: files for ITK-SNAP, 3D Slicer and programs, by folder."""

import json
from collections.abc import Iterator
from pathlib import Path

from musclejax.anatomy import NUMBERINGS, REGIONS, Numbering, Region
from musclejax.errors import InputError
from musclejax.files import read_json, write_text
from musclejax.scan.numbering import LABEL_FILE, NUMBERING_KEY, labels_of


def save_label_names(
    folder: Path, numbering: Numbering = "muscles", *, change: bool = True
) -> list[Path]:
    """Write `labels.json`, and for each region a file for ITK-SNAP and one for 3D Slicer.

    Args:
        folder: Of label maps.
        numbering: Their numbers.
        change: Replace our files of another numbering.

    Returns:
        Those that exist with other contents; they are left as they are.

    Raises:
        InputError: If the folder has another numbering and must keep it.
    """
    stated = read_json(folder / LABEL_FILE)
    known = numbering if stated is None else stated.get(NUMBERING_KEY, "muscles")
    if not change and known != numbering and known in NUMBERINGS:
        accepted = f"--labels {known}, or another -o"
        remedy = "--overwrite segments its scans again."
        raise InputError(folder, f"label maps with the numbers of {known}", accepted, remedy)
    ours = [texts for n in NUMBERINGS for texts in (_texts(n), _earlier(n))]
    other = []
    for name, text in _texts(numbering).items():
        path = folder / name
        found = path.read_bytes() if path.exists() else None
        if found is None or any(found == texts[name].encode() for texts in ours):
            if found != text.encode():
                write_text(path, text)
        else:
            other.append(path)
    return other


def _texts(numbering: Numbering) -> dict[str, str]:
    """Return the contents of `scan.source.LABEL_NAMES`, by name."""
    texts = {LABEL_FILE: _numbers(numbering)}
    for region in REGIONS.values():
        texts[f"labels_{region.name}.txt"] = itksnap_labels(region, numbering)
        texts[f"labels_{region.name}.ctbl"] = slicer_colors(region, numbering)
    return texts


def _earlier(numbering: Numbering) -> dict[str, str]:
    """Return them as they were before `labels.json` stated the numbering."""
    texts = _texts(numbering)
    line = f'  "{NUMBERING_KEY}": "{numbering}",\n'
    return {**texts, LABEL_FILE: texts[LABEL_FILE].replace(line, "")}


def _numbers(numbering: Numbering) -> str:
    """Return name -> number by region, in nnU-Net's style."""
    regions = {
        region.name: {
            "background": 0,
            **{label.abbreviation: label.number for label in labels_of(region, numbering)},
        }
        for region in REGIONS.values()
    }
    return json.dumps({NUMBERING_KEY: numbering, **regions}, indent=2) + "\n"


def itksnap_labels(region: Region, numbering: Numbering = "muscles") -> str:
    """Return an ITK-SNAP label description file."""
    rows = [
        "# ITK-SnAP Label Description File",
        "# IDX -R- -G- -B- -A- VIS MSH LABEL",
        '    0     0    0    0        0  0  0    "Clear Label"',
    ]
    for label in labels_of(region, numbering):
        red, green, blue = label.color
        title = f"{label.abbreviation.partition('_')[0]} {label.name}"
        rows.append(f'{label.number:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{title}"')
    return "\n".join(rows) + "\n"


def slicer_colors(region: Region, numbering: Numbering = "muscles") -> str:
    """Return a 3D Slicer color table; its names have underscores, as its reader ends at spaces."""
    return "\n".join(["# Color table", "0 background 0 0 0 0", *_rows(region, numbering)]) + "\n"


def _rows(region: Region, numbering: Numbering) -> Iterator[str]:
    for label in labels_of(region, numbering):
        name = label.name.replace(",", "").replace(" ", "_")
        yield f"{label.number} {name} {' '.join(map(str, label.color))} 255"
