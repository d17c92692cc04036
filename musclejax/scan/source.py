"""The files of a scan, and how they are known again: path, size, time of change, checksum."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musclejax.anatomy import REGIONS
from musclejax.files import file_sha256
from musclejax.scan.nifti import pair_of
from musclejax.scan.numbering import LABEL_FILE
from musclejax.scan.series import Series

ORIGINAL = "labels_original.nii.gz"
"""NAME_KIND of the label map as it was made: what people correct beside it is compared with it."""
OUTPUT_KINDS = (
    *("labels.nii.gz", ORIGINAL, "probabilities.nii.gz", "muscles.csv", "slices.csv"),
    *("sections.csv", "fat_fraction.nii.gz", "qc.png", "seg.dcm", "sr.dcm", "run.json"),
)
"""NAME_KIND: the files that `segment` writes."""


class Source(NamedTuple):
    """The files of a scan as they were when it was read.

    Attributes:
        path: Of the file or folder, absolute; links are not followed.
        files: Their number.
        size_bytes: Of all.
        modified_ns: When the newest was changed.
        sha256: Of their contents, whatever their names.
    """

    path: str
    files: int
    size_bytes: int
    modified_ns: int
    sha256: str


def read_source(path: Path, series: Series | None = None) -> Source:
    """Return what tells a scan from others; reads every file.

    Args:
        path: The scan.
        series: What it is of a folder or file that holds others too.

    Raises:
        OSError: If a file cannot be read.
    """
    files = _files_of(path, series)
    return Source(*_outside(path, files, series), _checksum(files, series))


def is_source(path: Path, known: Mapping[str, Any], series: Series | None = None) -> bool:
    """Return whether a scan is the one that a record names, wherever it lies.

    Files are read only if their path or time of change differs and their size does not.

    Args:
        path: The scan.
        known: The fields of its `Source`, from a record.
        series: What it is of a folder or file that holds others too.
    """
    try:
        files = _files_of(path, series)
        own = _outside(path, files, series)
        fields = Source._fields[: len(own)]
        if own == tuple(known.get(name) for name in fields):
            return True
        same_size = own[1:3] == (known.get("files"), known.get("size_bytes"))
        return same_size and _checksum(files, series) == known.get("sha256")
    except OSError:
        return False


def place_of(path: Path, series: Series | None = None) -> str:
    """Return where a scan lies: its path from the root, or the first of its files in a folder.

    Of a file that holds several volumes, "FILE[2]".
    """
    first = series.files[0] if series and series.files else path
    index = "" if series is None or series.index is None else f"[{series.index}]"
    return f"{absolute(first)}{index}"


def is_at(record: Mapping[str, Any], path: Path, series: Series | None = None) -> bool:
    """Return whether a run record is that of a scan in this place."""
    about = record.get("source_files")
    place = about.get("path") if isinstance(about, dict) else record.get("source")
    return isinstance(place, str) and str(absolute(Path(place))) == place_of(path, series)


def recorded_path(record: Mapping[str, Any], name: str) -> Path:
    """Return the file or folder of a scan, from the root if its run record has it so."""
    source, about = Path(str(record.get("source") or name)), record.get("source_files")
    stated = about.get("path") if isinstance(about, dict) else None
    if not isinstance(stated, str):
        return source
    place = Path(re.sub(r"\[\d+\]$", "", stated))  # one volume of a file with several
    return place if place.name == source.name else place.parent  # of one series in a folder


def absolute(path: Path) -> Path:
    """Return a path from the root, without `..`, its links not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (`resolve` follows links)


def is_output(name: str) -> bool:
    """Return whether a file has a name of those that `segment` writes, or of reviews of them."""
    base, earlier = name.partition(".bak")[0], "labels.txt"
    of_folder = base in (*LABEL_NAMES, *COHORT_TABLES, *PAGES, earlier)
    return of_folder or base.endswith(tuple(f"_{kind}" for kind in (*OUTPUT_KINDS, *PAGES)))


LABEL_NAMES = (
    LABEL_FILE,
    *(f"labels_{region}.{kind}" for region in REGIONS for kind in ("txt", "ctbl")),
)
"""Files that `segment` writes once per folder."""
COHORT_TABLES = ("muscles.csv", "slices.csv", "scans.csv", "summary.csv")
"""Tables of all scans of a folder."""
PAGES = ("report.html", "review.csv")
"""Of all scans of a folder, and with NAME_ before it of one: what people open, and what they say of
it. Made anew at any time, or theirs: no record vouches for them."""


def _files_of(path: Path, series: Series | None) -> list[Path]:
    if series and series.files:
        return sorted(series.files)
    if path.is_dir():
        inside = (p for p in path.iterdir() if not p.name.startswith(".") and p.is_file())
        return sorted(p for p in inside if not is_output(p.name))
    return sorted({path, *(partner for partner in pair_of(path).values() if partner.is_file())})


def _outside(path: Path, files: Sequence[Path], series: Series | None) -> tuple[str, int, int, int]:
    """Return the fields of a source that need no reading."""
    states = [file.stat() for file in files]
    newest = max((state.st_mtime_ns for state in states), default=0)
    return place_of(path, series), len(files), sum(state.st_size for state in states), newest


def _checksum(files: Sequence[Path], series: Series | None) -> str:
    each = sorted(file_sha256(file) for file in files)
    if series and series.index is not None:
        each.append(f"[{series.index}]")
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
