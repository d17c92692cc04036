"""The series of a study on disk: whom they show, when, and what kind of image they are.

Headers and names are read, voxels are not. How kinds, subjects, visits and places are decided:
docs/study.md.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from musclejax.errors import InputError, listed, printable
from musclejax.files import read_json
from musclejax.scan.dicom_series import DicomVolume, dicom_volumes
from musclejax.scan.kinds import (
    ECHO_MS_AT_MOST,
    NameKind,
    bids_entities,
    kind_of_bids,
    kind_of_description,
    kind_of_name,
    kind_of_type,
)
from musclejax.scan.nifti import read_grid
from musclejax.scan.series import Kind, Series
from musclejax.scan.study import count_line, is_dicom_scan, search
from musclejax.scan.volume import ITK_SUFFIXES, image_suffix, scan_name

_ANONYMOUS = re.compile(
    r"|anon|anonym(ous|us|i[sz]ed)?|de-?identified|removed|unknown|none|null|n/?a|no_?id"
    r"|patient|subject|[x0_-]+",
    re.IGNORECASE,
)
"""Values of PatientID that name nobody."""
_NO_DATES = ("00000000", "00010101", "19000101")
"""Values of StudyDate that anonymizers write."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Start of the SOP classes of screenshots and reports."""
_ROOMS = (
    *("anat", "data", "derivatives", "dicom", "dicoms", "dcm", "images", "imagestr", "imagests"),
    *("mri", "nifti", "nii", "rawdata", "scans", "sourcedata"),
)
"""Folders that name no person and no visit, in small letters."""
_VISIT = (
    r"baseline|follow[-_ ]?up|(visit|ses|session|time|timepoint|tp|month|week|day|year)[-_ ]?\d+"
    r"|\d+[-_ ]?(months?|weeks?|years?)|\d{4}([-_.]?\d\d){2}"
)
"""Folders of visits, whatever lies above them: `visit1`, `month 6`, `20240105`, `2024-01-05`."""
_OWN_VISIT = _VISIT + r"|pre|post|[vmwdy]\d+|\d+[mwy]"
"""The same below a folder that may be a person's: above, `m01` may be a man."""
_NO_PLACES = (
    *("sub", "ses", "echo", "part", "run", "rec", "mod", "inv", "flip", "mt", "desc", "space"),
    "res",
)
"""BIDS entities that series of one place may differ in."""


class Catalog(NamedTuple):
    """What a study holds.

    Attributes:
        series: By subject, visit and number.
        failures: A line for each folder or image that cannot be read.
        warnings: Lines on what was left out, and on what had to be decided.
    """

    series: tuple[Series, ...]
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Found:
    """A series before its subject and visit are known.

    Attributes:
        series: Without subject, visit and name.
        label: Its part of a name in a study tree.
        folders: Names of the folders between the study and the series.
        stem: Name of the file without the words of its kind.
        patient: PatientID; empty if it names nobody.
        date: StudyDate, likewise.
        study: StudyInstanceUID, and the time of the study before it, for their order.
        bids: Entities of its BIDS name.
        letter: Its kind, if a short word of the name tells it and others must confirm it.
        plain: Whether it is a file without BIDS name and header.
    """

    series: Series
    label: str
    folders: tuple[str, ...]
    stem: str = ""
    patient: str = ""
    date: str = ""
    study: tuple[str, str] = ("", "")
    bids: Mapping[str, str] = field(default_factory=dict)
    letter: Kind | None = None
    plain: bool = False


def list_series(path: Path, root: Path | None = None) -> Catalog:
    """List the series of a study.

    Args:
        path: A folder of any tree, or a file. Of a DICOMDIR, its folder.
        root: Folder of the whole study, below which subjects have their folders; `path` if None.

    Raises:
        InputError: If the path does not exist, cannot be read or holds no scan.
    """
    path = path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
    walked = search(path)
    root = root or (path if path.is_dir() else path.parent)
    listings = [_list_scan(scan, root) for scan in walked.scans]
    found = [item for listing in listings for item in listing.found]
    warnings = list(walked.warnings)
    if len(found) > len(listings):  # in folders with several series, scans count otherwise
        warnings = [line for line in warnings if line != count_line(path, walked.scans)]
    warnings += [line for listing in listings for line in listing.warnings]
    failures = [line for listing in listings for line in listing.failures]
    series, two_of_a_date = _assign(_persons_first(found, scan_name(root)))
    return Catalog(
        tuple(sorted(series, key=_order)),
        (*walked.failures, *failures),
        (*warnings, *two_of_a_date),
    )


class _Listing(NamedTuple):
    """The series of one folder or file, before their subjects and visits are known."""

    found: Sequence[_Found]
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _list_scan(path: Path, root: Path) -> _Listing:
    try:
        if not is_dicom_scan(path):
            return _Listing(list(_of_file(path, root)))
        listing = dicom_volumes(path)
    except (InputError, OSError):
        return _Listing([_unread(path, root)])
    volumes = [_of_dicom(volume, root, len(listing.volumes)) for volume in listing.volumes]
    return _Listing(volumes or [_unread(path, root)], listing.failures, listing.warnings)


def _assign(found: Sequence[_Found]) -> tuple[list[Series], list[str]]:
    """Return each series with its subject, visit and name; and what had to be decided."""
    found = _confirm_letters(found)
    persons = _persons(found)
    found = [item if _in_tree(item, persons) else replace(item, folders=()) for item in found]
    subjects = [_subject(item) for item in found]
    visits, two_of_a_date = _visits(found, subjects)
    named = [
        _named(item, subject, visit, alone=len(found) == 1)
        for item, subject, visit in zip(found, subjects, visits, strict=True)
    ]
    return named, two_of_a_date


def _order(series: Series) -> tuple[Any, ...]:
    number = math.inf if series.number is None else series.number
    return series.subject, series.visit, number, series.echo_ms or 0.0, str(series.path)


def _unread(path: Path, root: Path) -> _Found:
    """Return a path of which nothing is known; `load` will say why."""
    name = scan_name(path)
    return _Found(Series(path, description=name, problem="unreadable"), name, _folders(path, root))


def _folders(path: Path, root: Path) -> tuple[str, ...]:
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        return ()
    return tuple(part for part in parts if part.lower() not in _ROOMS)


def _of_dicom(volume: DicomVolume, root: Path, beside: int) -> _Found:
    description = volume.text("SeriesDescription") or volume.text("ProtocolName")
    own = volume.path if volume.path.is_dir() and not volume.files and beside == 1 else None
    number = volume.text("SeriesNumber")
    patient, date = volume.text("PatientID"), volume.text("StudyDate")
    date = "" if date in _NO_DATES else date
    series = Series(
        path=volume.path,
        description=description or scan_name(volume.path),
        kind=_kind_of_dicom(volume, description, own),
        number=int(number) if re.fullmatch(r"\d{1,9}", number) else None,
        echo_ms=volume.echo_ms,
        files=volume.files,
        index=volume.index,
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        place=volume.text("FrameOfReferenceUID"),
        extent_mm=volume.extent_mm,
        pixel_mm=volume.pixel_mm,
        problem=volume.problem,
    )
    folder = volume.path if volume.path.is_dir() else volume.path.parent
    folders = _folders(folder, root)
    if own and len(folders) > 1:  # the last one is that of the series
        folders = folders[:-1]
    return _Found(
        series=series,
        label=description or (f"series{number}" if number else scan_name(volume.path)),
        folders=folders,
        stem=scan_name(root) or "study",
        patient="" if _ANONYMOUS.fullmatch(patient) else patient,
        date=date,
        study=(volume.text("StudyTime"), volume.text("StudyInstanceUID")),
        bids=bids_entities("_".join(folders)),
    )


def _kind_of_dicom(volume: DicomVolume, description: str, own: Path | None) -> Kind:
    words = volume.frame.value("FrameType") or volume.frame.value("ImageType") or ()
    told = kind_of_type([str(word) for word in words]) if not isinstance(words, str) else None
    if not volume.positions and volume.text("SOPClassUID").startswith(_SECONDARY_CAPTURE):
        return "map"
    told = told or kind_of_description(description)
    told = told or (kind_of_description(own.name) if own else None)
    if told:
        return told
    if "orientations" in volume.problem:
        return "localizer"
    gradient = "GR" in volume.text("ScanningSequence").split("\\")
    early = 0 < (volume.echo_ms or 0) <= ECHO_MS_AT_MOST
    return "echo" if volume.echoes > 1 or (gradient and early) else "other"


def _of_file(path: Path, root: Path) -> Iterator[_Found]:
    """Yield the volumes of a file that is no DICOM."""
    name = scan_name(path)
    about = _sidecar(path)
    number = about.get("SeriesNumber")
    number = number if isinstance(number, int) else None
    description = _text(about, "SeriesDescription") or _text(about, "ProtocolName")
    by_name = kind_of_name(name)
    entities = bids_entities(name)
    kind, letter = _kind_of_file(about, description, name, by_name, bool(entities))
    grid, problem = _grid(path)
    stem = _without_number(by_name.stem if kind != "other" or letter else name, number)
    folders = _folders(path.parent, root)
    patient, date = _text(about, "PatientID"), _text(about, "StudyDate").replace("-", "")
    date = date or _text(about, "AcquisitionDateTime")[:10].replace("-", "")
    date = date if re.fullmatch(r"\d{8}", date) and date not in _NO_DATES else ""
    echoes = _echoes(about) or ([by_name.echo_ms] if by_name.echo_ms else [])
    place = _bids_place(entities) if entities else str(path.parent / stem)
    count = grid.shape[3] if len(grid.shape) == 4 else 1
    if count > 1 and kind == "other" and len(echoes) == count:
        kind = "echo"
    in_path = bids_entities("_".join((*folders, name)))
    for index in range(count):
        yield _Found(
            series=Series(
                path=path,
                description=description or name,
                kind=kind,
                number=number,
                echo_ms=echoes[index] if len(echoes) == count else None,
                index=index if count > 1 else None,
                shape=grid.shape[:3],
                spacing_mm=grid.spacing_mm,
                place=place,
                extent_mm=grid.extent_mm,
                pixel_mm=grid.pixel_mm,
                problem=problem,
            ),
            label=name,
            folders=folders,
            stem=stem or name,
            patient="" if _ANONYMOUS.fullmatch(patient) else patient,
            date=date,
            study=("", _text(about, "StudyInstanceUID")),
            bids=in_path,
            letter=letter,
            plain=not in_path,
        )


def _kind_of_file(
    about: Mapping[str, Any], description: str, name: str, by_name: NameKind, bids: bool
) -> tuple[Kind, Kind | None]:
    """Return the kind of a file, and another if short words in several names confirm it."""
    words = about.get("ImageType")
    told = kind_of_type([str(word) for word in words]) if isinstance(words, list) else None
    told = told or kind_of_description(description) or (kind_of_bids(name) if bids else None)
    if told:
        return told, None
    if by_name.letter:
        known = by_name.kind == "echo" and (_echoes(about) or "EchoNumber" in about)
        return ("echo", None) if known else ("other", by_name.kind)
    return by_name.kind, None


def _sidecar(path: Path) -> Mapping[str, Any]:
    suffix = image_suffix(path)
    return read_json(path.with_name(f"{path.name[: -len(suffix)]}.json")) or {} if suffix else {}


def _text(about: Mapping[str, Any], key: str) -> str:
    value = about.get(key)
    return printable(" ".join(value.split())) if isinstance(value, str) else ""


def _echoes(about: Mapping[str, Any]) -> list[float | None]:
    """Return the echo times of a sidecar in ms; BIDS gives seconds."""
    value = about.get("EchoTime")
    values = value if isinstance(value, list) else [value]
    times = [float(v) for v in values if isinstance(v, (int, float)) and 0 < v < math.inf]
    if len(times) < len(values):
        return []
    return [round(time * 1000 if max(times) < 1 else time, 6) for time in times]


class _Grid(NamedTuple):
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    extent_mm: tuple[float, float] | None = None
    pixel_mm: float | None = None


def _grid(path: Path) -> tuple[_Grid, str]:
    """Return the grid of a file by its header, and why it is not known."""
    if image_suffix(path) in ITK_SUFFIXES:
        return _Grid(), ""
    try:
        shape, affine = read_grid(path)
    except InputError:
        return _Grid(), "unreadable"
    if len(shape) < 3 or not np.isfinite(affine).all():
        return _Grid(shape), ""
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(affine))
    corners = [[*corner, 1] for corner in product(*((-0.5, n - 0.5) for n in shape[:3]))]
    heights = np.array(corners) @ affine[2]
    across = np.delete(spacing, np.argmax(np.abs(affine[2, :3]) / np.maximum(spacing, 1e-6)))
    extent = float(heights.min()), float(heights.max())
    return _Grid(shape, spacing, extent, float(max(across))), ""


def _without_number(stem: str, number: int | None) -> str:
    """Remove the number of the series, which dcm2niix puts at the end of a name."""
    return re.sub(rf"_0*{number}(?=_|$)", "", stem) if number is not None else stem


def _bids_place(entities: Mapping[str, str]) -> str:
    kept = {key: value for key, value in entities.items() if key not in _NO_PLACES}
    if kind_of_name(kept.get("acq", "")).kind != "other":
        del kept["acq"]
    return "_".join(f"{key}-{value}" for key, value in kept.items())


def _confirm_letters(found: Sequence[_Found]) -> list[_Found]:
    """Believe short words of a name (W, F) where files of one name differ in them."""
    kinds: dict[str, set[Kind]] = defaultdict(set)
    for item in found:
        if item.letter or item.series.kind != "other":
            kinds[item.series.place].add(item.letter or item.series.kind)
    sure = [_confirmed(item, len(kinds[item.series.place]) > 1) for item in found]
    plain: dict[str, set[Path]] = defaultdict(set)
    for item in sure:
        if item.plain and item.series.kind == "other":
            plain[item.series.place].add(item.series.path)
    return [_apart(item, len(plain[item.series.place]) > 1) for item in sure]


def _apart(item: _Found, shared: bool) -> _Found:
    """Give files of no known kind a place each: nothing tells which one is better."""
    if not (shared and item.plain and item.series.kind == "other"):
        return item
    return replace(item, series=replace(item.series, place=str(item.series.path)))


def _confirmed(item: _Found, sure: bool) -> _Found:
    if not item.letter:
        return item
    if sure:
        return replace(item, series=replace(item.series, kind=item.letter))
    place = str(item.series.path.parent / item.label)
    return replace(item, series=replace(item.series, place=place), stem=item.label)


def _persons(found: Sequence[_Found]) -> set[str]:
    """Return the folders below the study that are those of a person."""
    own: dict[str, list[_Found]] = defaultdict(list)
    for item in found:
        if item.plain and item.folders:
            own[item.folders[0]].append(item)
    counts = Counter(stem for items in own.values() for stem in {item.stem for item in items})
    return {folder for folder, items in own.items() if _is_person(folder, items, counts)}


def _is_person(folder: str, items: Sequence[_Found], counts: Mapping[str, int]) -> bool:
    """Return whether a folder is that of a person rather than of a group of them.

    Files of a person are one, or differ in the words of their kind; or have the names that those
    of others have, or the person's number; or lie alone in folders of visits.
    """
    stems = {item.stem for item in items}
    if len(stems) == 1 or any(counts[stem] > 1 for stem in stems):
        return True
    if re.search(r"\d", folder) and all(stem.lower().startswith(folder.lower()) for stem in stems):
        return True
    visits = {item.folders[1:2] for item in items}
    return len(visits) == len(stems) and all(_matches(_OWN_VISIT, "".join(v)) for v in visits)


def _persons_first(found: Sequence[_Found], root: str) -> list[_Found]:
    """Put folders of visits at the top of a study behind those of persons.

    The person is the next folder; of files, their name; or the study's, if all have one name.
    """
    stems = {item.stem for item in found if _matches(_VISIT, "".join(item.folders[:1]))}
    return [
        replace(item, folders=(_person_below(item, root, stems), *item.folders[:1]))
        if _matches(_VISIT, "".join(item.folders[:1])) and not item.bids
        else item
        for item in found
    ]


def _person_below(item: _Found, root: str, stems: set[str]) -> str:
    own = item.stem if len(stems) > 1 else root
    return next(iter(item.folders[1:2]), own)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None


def _in_tree(item: _Found, persons: set[str]) -> bool:
    return not item.plain or bool(item.patient) or set(item.folders[:1]) <= persons


def _subject(item: _Found) -> str:
    if item.patient or item.bids.get("sub"):
        return item.patient or item.bids["sub"]
    if item.folders:
        known = kind_of_name(item.folders[0])
        return item.folders[0] if known.letter else known.stem or item.folders[0]
    return item.stem


def _visits(found: Sequence[_Found], subjects: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the visit of each series, and a line for each two studies of one date."""
    labels = [item.bids.get("ses") or item.date or _folder_visit(item) for item in found]
    studies: dict[tuple[str, str], dict[str, tuple[str, str]]] = defaultdict(dict)
    for item, subject, label in zip(found, subjects, labels, strict=True):
        time, uid = item.study
        own = studies[subject, label]
        own[uid] = min(own.get(uid, (time, str(item.series.path))), (time, str(item.series.path)))
    visits: dict[tuple[str, str, str], str] = {}
    warnings = []
    for (subject, label), own in studies.items():
        order = sorted(own, key=lambda uid: own[uid])
        names = [_visit(label, number, len(order)) for number in range(len(order))]
        visits |= {(subject, label, uid): name for uid, name in zip(order, names, strict=True)}
        if len(order) > 1 and label:
            warnings.append(f"{subject}: {len(order)} studies of {label}: visits {listed(names)}")
    keys = zip(subjects, labels, found, strict=True)
    return [visits[subject, label, item.study[1]] for subject, label, item in keys], warnings


def _visit(label: str, number: int, count: int) -> str:
    if count == 1:
        return label
    if not label:
        return str(number + 1)
    if number == 0:
        return label
    return label + (chr(ord("a") + number) if number < 26 else f"-{number + 1}")


def _folder_visit(item: _Found) -> str:
    return item.folders[1] if len(item.folders) > 1 else ""


def _named(item: _Found, subject: str, visit: str, *, alone: bool) -> Series:
    """Return a series with whom it shows and when; and with a name, in a study tree."""
    series = replace(item.series, subject=printable(subject), visit=printable(visit))
    if image_suffix(series.path) and not series.path.is_dir():
        in_tree = bool(item.folders) and not item.bids
        parts = [part for part in (subject, visit) if part and part not in item.label]
    else:
        in_tree = not alone
        parts = [part for part in (subject, visit) if part]
    return replace(series, name=safe_name("_".join((*parts, item.label)))) if in_tree else series


def safe_name(text: str) -> str:
    """Return a text that can stand in the name of a file on every system."""
    kept = re.sub(r"[^\w.+-]+", "-", text)
    kept = re.sub(r"-?_-?", "_", kept).strip("-._")
    return kept[:_LONGEST_NAME] or "scan"


_LONGEST_NAME = 120
"""Longest name of a scan. Source: ours; file systems take 255 bytes, with our endings."""
