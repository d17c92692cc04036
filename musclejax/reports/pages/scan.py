"""The page of one scan: a viewer, a picture of every slice, its tables, and what a person says."""

import base64
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from musclejax.anatomy import REGIONS, SIDES, Region
from musclejax.errors import InputError, printable
from musclejax.prediction.estimate import LOW
from musclejax.prediction.result import Segmentation
from musclejax.reports.pages.render import STATIC, write_page
from musclejax.reports.pages.scan_image import RIGHT, Packed, Shown, pack, read_shown
from musclejax.reports.pages.scan_tables import (
    DOUBTFUL_CM2,
    NOTHING,
    SliceFacts,
    how_made,
    look_first,
    read_tables,
    scan_facts,
    show_tables,
    slice_facts,
    volumes_ml,
)
from musclejax.reports.pages.viewer_commands import Opened, commands
from musclejax.reports.pictures.slices import Frame, draw_slices, frame_of, to_webp
from musclejax.reports.review import MARKS, Remark, read_remarks
from musclejax.reports.run_record import LABELS, RECORD, read_record
from musclejax.scan.source import PAGES, absolute, recorded_path
from musclejax.scan.volume import Volume

PAGE = f"{{name}}_{PAGES[0]}"
LARGEST = 15_000_000
"""Bytes of a page. Source: ours; it is sent by mail, and opens in a second."""
_TEXTS = 1_500_000
"""Bytes of a page beside pictures and volume; tables of 200 slices take a million."""
_PICTURES = 6_000_000
"""Bytes of all pictures; they are made smaller until they fit."""
_ENCODERS = 2
"""Pictures that are encoded at once, beside the one that is drawn."""


def write_scan_page(
    folder: Path, name: str, volume: Volume | None = None, *, result: Segmentation | None = None
) -> Path:
    """Write NAME_report.html from the results of a scan.

    What is gone, or too large, is left out, and a line says so.

    Args:
        folder: Of the results.
        name: NAME of the results.
        volume: The scan; None if it is read from where the record says.
        result: What was just saved there, which spares reading scan and labels.

    Returns:
        The page.

    Raises:
        InputError: If there is no record, or a file of the page's name that is not ours.
        OSError: If the folder cannot be written.
    """
    record = read_record(folder, name)
    if record is None:
        path = folder / RECORD.format(name=name)
        raise InputError(path, "no readable record", "a record as segment writes it")
    if result is None:
        shown, lines = read_shown(folder, name, record, volume)
    else:
        shown, lines = Shown.of(result), []
    page = folder / PAGE.format(name=name)
    write_page(page, "scan.html", **_values(folder, name, record, shown, lines))
    return page


def _values(
    folder: Path, name: str, record: Mapping[str, Any], shown: Shown | None, lines: list[str]
) -> dict[str, Any]:
    """Return what the template shows."""
    tables, gone = read_tables(folder, name)
    remarks, unread = _read_remarks(folder, name)
    facts = slice_facts(tables.get("slices"))
    view = _show(shown, record, facts)
    warnings = record.get("warnings")
    volumes = volumes_ml(tables.get("muscles"))
    return {
        "title": printable(name),
        "facts": scan_facts(record),
        "warnings": [w for w in map(str, warnings or ()) if not w.startswith(LOW)],
        "first": list(look_first(record)),
        "lines": [*lines, *view.lines, *gone, *unread],
        "slices": view.slices,
        "doubtful_cm2": f"{DOUBTFUL_CM2:g}",
        "packed": view.packed,
        "library": _library() if view.packed else "",
        "muscles": _muscles(record, volumes),
        "marks": MARKS,
        "data": {
            "name": name,
            "checksum": str(record.get("scan_sha256", "")),
            "marks": MARKS,
            "review": remarks,
            "right": RIGHT,
            **view.data,
        },
        "tables": show_tables(tables, name),
        "made": how_made(record),
        "commands": _commands(folder, name, record),
        "links": _links(name),
        "is_corrected": bool(record.get("corrected")),
    }


class Slice(NamedTuple):
    """A slice as the page shows it.

    Attributes:
        number: Its index in the file.
        level: As in "level 0.42"; empty if it is not known.
        remarks: To be read before looking.
        doubtful: Whether one of them is a muscle to look at.
        picture: WebP, base64.
    """

    number: int
    level: str
    remarks: list[str]
    doubtful: bool
    picture: str


class View(NamedTuple):
    """What the page shows of voxels.

    Attributes:
        slices: From feet to head.
        packed: Scan and labels, if they fit into the page.
        data: What the viewer knows beside them.
        lines: What is left out.
    """

    slices: list[Slice]
    packed: Packed | None
    data: dict[str, Any]
    lines: list[str]


def _show(shown: Shown | None, record: Mapping[str, Any], facts: Mapping[int, SliceFacts]) -> View:
    if shown is None:
        return View([], None, {}, [])
    frame = frame_of(shown.volume, shown.labels)
    pictures = _draw(shown, REGIONS[str(record["region"])], frame)
    slices = [
        Slice(z, _level(known), known.remarks, bool(known.low), picture)
        for z, picture in zip(_slice_numbers(shown.volume), pictures, strict=True)
        for known in (facts.get(z, NOTHING),)
    ]
    packed, lines = _pack_fitting(shown, frame, sum(map(len, pictures)))
    data = _viewer_data(shown.volume, frame, packed, facts) if packed else {}
    return View(slices, packed, data, lines)


def _pack_fitting(shown: Shown, frame: Frame, others: int) -> tuple[Packed | None, list[str]]:
    """Return a scan that fits into the page, and a line if it is only a part, or left out.

    Args:
        shown: The scan.
        frame: Around the body.
        others: Bytes of the pictures.
    """
    lines: list[str] = []
    for box, less in (
        (None, "the viewer shows the part around the body"),
        (frame.box, "no viewer"),
    ):
        packed = pack(shown, box)
        size = others + sum(map(len, (packed.image, packed.labels, _library()))) + _TEXTS
        if size <= LARGEST:
            return packed, lines
        line = f"with {'' if box else 'all of '}it the page would have {size / 1e6:.0f} MB"
        lines = [f"{less}: {line}, more than {LARGEST / 1e6:.0f}"]
    return None, [f"{lines[0]}; pictures show every slice"]


def _slice_numbers(volume: Volume) -> list[int]:
    """Return the indices of slices in the file, from feet to head."""
    return [int(volume.lps.file_index(z)) for z in range(volume.num_slices)]


def _draw(shown: Shown, region: Region, frame: Frame) -> list[str]:
    """Return the pictures of all slices, base64; smaller ones if they would be too many bytes."""
    scale = 1.0
    while True:
        sized = frame if scale == 1 else frame.fit(max(64, round(frame.size[0] * scale)))
        drawn = draw_slices(shown.volume, shown.labels, region, sized)
        with ThreadPoolExecutor(_ENCODERS) as pool:  # Pillow encodes without Python's lock
            pictures = [base64.b64encode(data).decode() for data in pool.map(to_webp, drawn)]
        total = sum(map(len, pictures))
        if total <= _PICTURES or sized.size[0] <= 64:
            return pictures
        scale *= 0.9 * math.sqrt(_PICTURES / total)


def _level(facts: SliceFacts) -> str:
    levels = list(facts.level.values())
    return f"level {np.mean(levels):.2f}" if levels else ""


@cache
def _library() -> str:
    """Return the viewer's library, gzip and base64."""
    return base64.b64encode((STATIC / "niivue.umd.js.gz").read_bytes()).decode()


def _viewer_data(
    volume: Volume, frame: Frame, packed: Packed, facts: Mapping[int, SliceFacts]
) -> dict[str, Any]:
    """Return what the viewer knows beside the voxels."""
    middle, size_mm = _framed(volume, frame)
    return {
        "to_mm": volume.affine.tolist(),
        "to_voxel": np.linalg.inv(volume.affine).tolist(),
        "axis": volume.axial_axis,
        "step": packed.step,
        "first": packed.first,
        "slices": _slice_numbers(volume),
        "middle": middle,
        "size_mm": size_mm,
        "levels": {z: {s: round(v, 2) for s, v in f.level.items()} for z, f in facts.items()},
        "areas": {z: f.area_cm2 for z, f in facts.items() if f.area_cm2},
    }


def _framed(volume: Volume, frame: Frame) -> tuple[list[float], list[float]]:
    """Return voxel and size, in millimeters, of the part of the axial plane that shows anything."""
    view = volume.lps
    parts = [part.indices(n) for part, n in zip(frame.box, view.data.shape[:2], strict=True)]
    middle = [(start + stop - 1) / 2 for start, stop, _ in parts]
    place = np.linalg.solve(volume.affine, view.affine @ [*middle, view.data.shape[2] // 2, 1])
    sizes = (stop - start for start, stop, _ in parts)
    return place[:3].tolist(), [n * mm for n, mm in zip(sizes, view.spacing_mm, strict=False)]


def _muscles(
    record: Mapping[str, Any], volumes: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return the muscles of the list beside the viewer."""
    region = REGIONS.get(str(record.get("region")))
    return [
        {
            "number": muscle.number,
            "short": muscle.abbreviation,
            "name": muscle.name,
            "color": list(muscle.color),
            "ml": [_ml(volumes.get(muscle.abbreviation, {}).get(side)) for side in SIDES],
        }
        for muscle in (region.muscles if region else ())
    ]


def _ml(volume: float | None) -> str:
    return "" if volume is None or math.isnan(volume) else f"{volume:.0f}"


def _read_remarks(folder: Path, name: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return mark and comment by slice, "" being the whole scan; and a line if none can be read."""
    try:
        remarks = [remark for remark in read_remarks(folder, name) if remark.scan == name]
    except InputError as error:
        return {}, [f"marks and comments are not shown: {error}"]
    return dict(_by_slice(remarks)), []


def _by_slice(remarks: Sequence[Remark]) -> Iterator[tuple[str, dict[str, str]]]:
    for place in dict.fromkeys(remark.slice for remark in remarks):
        own = [remark for remark in remarks if remark.slice == place]
        marked = next((remark for remark in own if remark.mark), own[0])
        comment = "; ".join(dict.fromkeys(remark.comment for remark in own if remark.comment))
        about = {"mark": marked.mark, "comment": comment, "file": marked.file}
        yield "" if place is None else str(place), about


def _commands(folder: Path, name: str, record: Mapping[str, Any]) -> list[Opened]:
    labels = folder / LABELS.format(name=name)
    region = str(record.get("region"))
    if region not in REGIONS or not labels.is_file():
        return []
    scan = absolute(recorded_path(record, name))
    return list(commands(scan, absolute(labels), region, absolute(folder)))


def _links(name: str) -> dict[str, str]:
    """Return the address of the page of all scans; it leads on to the scans before and after.

    Which these are is not known yet while scans are segmented.
    """
    page, own = PAGES[0], quote(os.fsencode(name), safe="")
    return {"all": page, "before": f"{page}#before={own}", "after": f"{page}#after={own}"}
