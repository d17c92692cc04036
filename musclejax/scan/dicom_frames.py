"""The headers of a DICOM series -> its frames, or one line on why they are no series.

Single-frame images and the frames of an enhanced multi-frame file become the same `Frame`.
Source: DICOM PS3.3 C.7.6.2 (Image Plane) and C.7.6.16 (Multi-frame Functional Groups).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from musclejax.errors import InputError

ACCEPTED_SERIES = "one series of parallel, evenly spaced slices"
"""Accepted input in every error about a series."""
_UNIT_TOLERANCE = 0.01  # of the slice normal's length; cosines come rounded to 4 digits or more


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of a series: a single-frame file, or one frame of an enhanced file.

    Attributes:
        path: File that holds it.
        index: Frame in the file, from 0.
        headers: The data sets that describe it, the most specific first.
    """

    path: Path
    index: int
    headers: tuple[Dataset, ...]

    def value(self, keyword: str) -> Any:
        """Look an attribute up, as `header_value` does."""
        found = (header_value(header, keyword) for header in self.headers)
        return next((value for value in found if value is not None), None)

    def numbers(self, keyword: str, count: int, default: float | None = None) -> np.ndarray:
        """Look up `count` numbers as float64.

        Raises:
            InputError: They are absent without a `default`, or are no `count` finite numbers.
        """
        value = self.value(keyword)
        known = default if value is None else value
        try:
            numbers = np.atleast_1d(np.array(known, dtype=np.float64))  # None becomes NaN
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            found = f"no {keyword}" if value is None else f"{keyword} {value}"
            raise InputError(self.path, found, f"{count} numbers, as a scanner writes them")
        return numbers

    @cached_property
    def position(self) -> np.ndarray:
        """Center of the first pixel, [3] mm LPS."""
        return self.numbers("ImagePositionPatient", 3)

    @cached_property
    def orientation(self) -> np.ndarray:
        """Unit vectors of increasing column, then of increasing row, [6] LPS."""
        vectors = self.numbers("ImageOrientationPatient", 6)
        if abs(np.linalg.norm(np.cross(vectors[:3], vectors[3:])) - 1) > _UNIT_TOLERANCE:
            found = f"ImageOrientationPatient {vectors.tolist()}"
            raise InputError(self.path, found, "two perpendicular unit vectors")
        return vectors

    @cached_property
    def spacing_mm(self) -> np.ndarray:
        """Distance between rows, then between columns, [2]."""
        return self.numbers("PixelSpacing", 2)

    @property
    def shape(self) -> np.ndarray:
        """Rows, columns."""
        return np.array([self.value("Rows"), self.value("Columns")])

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice, [3] LPS; right-handed with the orientation."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def header_value(header: Dataset, keyword: str) -> Any:
    """Look an attribute up; None where it is absent, empty or not of its own type."""
    try:
        value = header.get(keyword)
    except ValueError:  # letters in a number
        return None
    return None if value == "" else value


def header_integer(header: Dataset, keyword: str, default: int) -> int:
    """Look an integer up; `default` where it is absent, empty or none."""
    try:
        return int(header.get(keyword))
    except (TypeError, ValueError):
        return default


def is_dicom(path: Path) -> bool:
    """Return whether a file carries the DICOM mark; reads 132 bytes, False for a folder."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dataset(file: Path, **options: Any) -> Dataset:
    """Read one file by `pydicom.dcmread`; InputError where it is damaged."""
    try:
        return pydicom.dcmread(file, **options)
    except Exception as error:  # damaged files make pydicom raise a dozen types
        found = f"an unreadable DICOM file ({one_line(error)})"
        raise InputError(file, found, "complete DICOM files", "Export the series again.") from error


def one_line(error: Exception) -> str:
    """Shorten another library's message to fit into ours."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def read_frames(files: Sequence[Path], subject: object) -> list[Frame]:
    """Read the headers of the images of one series; their frames in file order.

    Args:
        files: Any files; those that are no DICOM images, and segmentations, are passed over.
        subject: Named in an error, usually the folder.

    Raises:
        InputError: There are no gray images, or those of several series.
    """
    headers = _image_headers(files, subject)
    _require_one_series(headers, subject)
    _require_gray(headers)
    frames = [frame for file, header in headers.items() for frame in _frames(file, header)]
    if 1 < len(headers) < len(frames):
        found = f"{len(headers)} multi-frame files with {len(frames)} frames"
        raise InputError(subject, found, "one multi-frame file", "Give the file, not the folder.")
    return frames


def _image_headers(files: Sequence[Path], subject: object) -> dict[Path, Dataset]:
    headers = {f: read_dataset(f, stop_before_pixels=True) for f in files if is_dicom(f)}
    images = {f: h for f, h in headers.items() if h.get("Rows") and h.get("Modality") != "SEG"}
    if not images:
        kinds = Counter(header.get("Modality") or "DICOMDIR" for header in headers.values())
        others = "".join(f", {count} {kind}" for kind, count in kinds.items())
        found = f"no DICOM images ({len(files) - len(headers)} other files or folders{others})"
        raise InputError(subject, found, ACCEPTED_SERIES, "Give the folder that holds the images.")
    return images


def _require_one_series(headers: dict[Path, Dataset], subject: object) -> None:
    series: dict[str, list[Dataset]] = {}
    for header in headers.values():
        series.setdefault(str(header.get("SeriesInstanceUID")), []).append(header)
    if len(series) > 1:
        # A scan to segment has many images and is no localizer: such series come first.
        ranked = sorted(series.values(), key=lambda group: (_is_localizer(group), -_images(group)))
        listed = ", ".join(_description(group) for group in ranked[:8])
        more = f" and {len(ranked) - 8} more" if len(ranked) > 8 else ""
        remedy = "Copy the images of one series to a folder of its own."
        raise InputError(subject, f"{len(series)} series ({listed}{more})", ACCEPTED_SERIES, remedy)


def _require_gray(headers: dict[Path, Dataset]) -> None:
    for file, header in headers.items():
        color = header.get("PhotometricInterpretation", "untyped")
        if color != "MONOCHROME2":
            found = f"{color} image with {header.get('SamplesPerPixel')} samples per pixel"
            raise InputError(file, found, "gray images (MONOCHROME2)")


def _is_localizer(series: list[Dataset]) -> bool:
    return "LOCALIZER" in (series[0].get("ImageType") or ())


def _images(series: list[Dataset]) -> int:
    return sum(header_integer(header, "NumberOfFrames", 1) for header in series)


def _description(series: list[Dataset]) -> str:
    first = series[0]
    name = first.get("SeriesDescription") or first.get("ProtocolName") or "no description"
    number = header_value(first, "SeriesNumber")
    return f"'{name}' (series {'?' if number is None else number}): {_images(series)} images"


def _frames(file: Path, header: Dataset) -> list[Frame]:
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    count = header_integer(header, "NumberOfFrames", 1)
    if count != (len(per_frame) or 1):
        found = f"{count} frames, {len(per_frame)} of them described"
        raise InputError(file, found, "single-frame images or enhanced multi-frame MR")
    if not per_frame:
        return [Frame(file, 0, (header,))]
    shared = header.get("SharedFunctionalGroupsSequence") or []
    common = [item for groups in shared for item in _group_items(groups)]
    return [
        Frame(file, index, (*_group_items(groups), *common, header))
        for index, groups in enumerate(per_frame)
    ]


def _group_items(groups: Dataset) -> list[Dataset]:
    # Private groups are left out: some vendors put a second, conflicting header there.
    public = (groups[tag] for tag in groups.keys() if not tag.is_private)  # noqa: SIM118
    return [element.value[0] for element in public if element.VR == "SQ" and element.value]
