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
from pydicom.dataset import Dataset
from pydicom.uid import UID, MediaStorageDirectoryStorage

from musclejax.errors import InputError
from musclejax.scan.dicom_file import (
    header_integer,
    header_value,
    header_words,
    is_dicom,
    read_dataset,
    reading,
)
from musclejax.scan.volume import MAX_ORIGIN_MM

ACCEPTED_SERIES = "one series of parallel, evenly spaced slices"
"""Accepted input in every error about a series."""
_UNIT_TOLERANCE = 0.01  # of the slice normal's length; cosines come rounded to 4 digits or more
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # label maps too
_OTHERS = ("DOC", "KO", "OT", "PR", "REG", "RWV", "SEG", "SR")  # modalities without pixels
_LISTED = 8  # series or folders in one line

_TILES = {"MOSAIC": "a Siemens mosaic", "VFRAME": "a United Imaging grid"}
"""Words of ImageType by which a file is a stack drawn as tiles of one picture.

Source: dcm2niix issues 225 (United Imaging) and 553 (Siemens XA30).
"""
_MOSAIC_COUNT = (0x0019, 0x100A)  # Siemens, private; some exports strip MOSAIC from ImageType


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
        position = self.numbers("ImagePositionPatient", 3)
        if np.abs(position).max() > MAX_ORIGIN_MM:
            found = f"ImagePositionPatient {position.tolist()}"
            raise InputError(self.path, found, "millimeters inside a scanner")
        return position

    @cached_property
    def orientation(self) -> np.ndarray:
        """Unit vectors of increasing column, then of increasing row, [6] LPS."""
        cosines = self.numbers("ImageOrientationPatient", 6)
        rows = np.clip(cosines, -2, 2).reshape(2, 3)  # what is no cosine must not overflow
        lengths = np.linalg.norm([*rows, np.cross(*rows)], axis=1)
        if np.abs(lengths - 1).max() > _UNIT_TOLERANCE:
            found = f"ImageOrientationPatient {cosines.tolist()}"
            raise InputError(self.path, found, "two perpendicular unit vectors")
        return (rows / lengths[:2, None]).ravel()

    @cached_property
    def spacing_mm(self) -> np.ndarray:
        """Distance between rows, then between columns, [2]."""
        spacing = self.numbers("PixelSpacing", 2)
        if spacing.min() <= 0:
            found = f"PixelSpacing {spacing.tolist()}"
            raise InputError(self.path, found, "two positive numbers of millimeters")
        return spacing

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        rows, columns = (int(self.numbers(key, 1)[0]) for key in ("Rows", "Columns"))
        if min(rows, columns) < 1:
            raise InputError(self.path, f"{rows} x {columns} pixels", "one pixel or more")
        return rows, columns

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice, [3] LPS; right-handed with the orientation."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def read_frames(files: Sequence[Path], subject: object) -> list[Frame]:
    """Read the headers of the images of one series; their frames in file order.

    Args:
        files: Any files; those that are no DICOM images, and segmentations, are passed over.
        subject: Named in an error, usually the folder.

    Raises:
        InputError: There are no gray images, or those of several series.
    """
    headers = _image_headers(files, subject)
    for file, header in headers.items():
        _require_no_tiles(file, header)
    _require_one_series(headers, subject)
    _require_one_patient(headers, subject)
    for file, header in headers.items():
        _require_gray(file, header)
    frames = [frame for file, header in headers.items() for frame in frames_of(file, header)]
    if 1 < len(headers) < len(frames):
        found = f"{len(headers)} multi-frame files with {len(frames)} frames"
        raise InputError(subject, found, "one multi-frame file", "Give the file, not the folder.")
    return frames


def is_image(header: Dataset) -> bool:
    """Return whether a data set is an image to segment: it has pixels and is no segmentation."""
    segmentation = header_value(header, "Modality") == "SEG"
    segmentation |= str(header_value(header, "SOPClassUID")) in _SEGMENTATIONS
    return header_integer(header, "Rows", 0) > 0 and not segmentation


def series_of(header: Dataset) -> str:
    """Return what images of one series have in common."""
    return str(header_value(header, "SeriesInstanceUID"))


def _image_headers(files: Sequence[Path], subject: object) -> dict[Path, Dataset]:
    headers = {f: read_dataset(f, stop_before_pixels=True) for f in files if is_dicom(f)}
    images = {f: h for f, h in headers.items() if is_image(h)}
    for file in headers.keys() - images.keys():
        require_complete(file, headers[file])
    if not images:
        others = Counter(_kind(header) for header in headers.values())
        listed = "".join(f", {count} {kind}" for kind, count in others.items())
        found = f"no DICOM images ({len(files) - len(headers)} other files or folders{listed})"
        remedy = "Give the folder that holds the images."
        folders = [folder for header in headers.values() for folder in _listed_folders(header)]
        raise InputError(subject, found, ACCEPTED_SERIES, " ".join([remedy, *folders[:1]]))
    return images


def _kind(header: Dataset) -> str:
    return str(header_value(header, "Modality") or "DICOMDIR")


def require_complete(file: Path, header: Dataset) -> None:
    """Check that a file without pixels is not an image that was cut off in its header.

    Raises:
        InputError: If it is one.
    """
    stored_as = getattr(header, "file_meta", Dataset()).get("MediaStorageSOPClassUID")
    if stored_as == MediaStorageDirectoryStorage or file.name.upper() == "DICOMDIR":
        return
    kind, stored = (UID(str(u or "")) for u in (header_value(header, "SOPClassUID"), stored_as))
    if not kind.is_valid:
        remedy = "Export the series again, or remove the file."
        raise InputError(file, "DICOM without a SOP class", "complete DICOM files", remedy)
    image = kind.name.endswith("Image Storage") or stored.name.endswith("Image Storage")
    image &= header_value(header, "Modality") not in _OTHERS
    if image and header_integer(header, "Rows", 0) <= 0:
        found = f"an {kind.name.removesuffix(' Storage')} without Rows"
        raise InputError(file, found, "complete DICOM files", "Export the series again.")


def _listed_folders(header: Dataset) -> list[str]:
    """Say where the images of a DICOMDIR lie; nothing for other data sets."""
    records = header_value(header, "DirectoryRecordSequence") or ()
    with reading("DICOMDIR"):
        paths = [header_words(record, "ReferencedFileID")[:-1] for record in records]
    folders = Counter("/".join(parts) for parts in paths if parts)
    listed = [f"{folder} ({count} files)" for folder, count in folders.most_common(_LISTED)]
    return [f"The DICOMDIR lists {', '.join(listed)}."] if listed else []


def _require_one_series(headers: dict[Path, Dataset], subject: object) -> None:
    series: dict[str, list[Dataset]] = {}
    for header in headers.values():
        series.setdefault(series_of(header), []).append(header)
    if len(series) > 1:
        # A scan to segment has many images and is no localizer: such series come first.
        ranked = sorted(series.values(), key=lambda group: (_is_localizer(group), -_images(group)))
        listed = ", ".join(_description(group) for group in ranked[:_LISTED])
        more = f" and {len(ranked) - _LISTED} more" if len(ranked) > _LISTED else ""
        remedy = "Copy the images of one series to a folder of its own."
        raise InputError(subject, f"{len(series)} series ({listed}{more})", ACCEPTED_SERIES, remedy)


def _require_one_patient(headers: dict[Path, Dataset], subject: object) -> None:
    """Check that no anonymizer has given the images of two people one series."""
    first: dict[str, Path] = {}
    for file, header in headers.items():
        if value := header_value(header, "PatientID"):
            first.setdefault(str(value), file)
    if len(first) > 1:
        names = " and ".join(file.name for file in list(first.values())[:2])
        found = f"{len(first)} values of PatientID in one series ({names})"
        raise InputError(subject, found, "one scan of one person", "Separate the images.")


def _require_gray(file: Path, header: Dataset) -> None:
    color = header_value(header, "PhotometricInterpretation") or "untyped"
    samples = header_integer(header, "SamplesPerPixel", 1)
    if color != "MONOCHROME2" or samples != 1:
        found = f"{color} image with {samples} samples per pixel"
        raise InputError(file, found, "gray images (MONOCHROME2)")


def _require_no_tiles(file: Path, header: Dataset) -> None:
    if header_integer(header, "NumberOfFrames", 1) > 1:
        return  # Siemens XA30 writes the slices one by one and leaves MOSAIC behind
    kinds = [kind for word, kind in _TILES.items() if word in header_words(header, "ImageType")]
    if kinds or _MOSAIC_COUNT in header:
        kind = (kinds or [_TILES["MOSAIC"]])[0]
        found = f"{kind}: all slices as tiles of one picture"
        raise InputError(file, found, "one image per slice", "Convert it with dcm2niix to NIfTI.")


def _is_localizer(series: list[Dataset]) -> bool:
    return "LOCALIZER" in header_words(series[0], "ImageType")


def _images(series: list[Dataset]) -> int:
    return sum(header_integer(header, "NumberOfFrames", 1) for header in series)


def _description(series: list[Dataset]) -> str:
    first = series[0]
    names = header_words(first, "SeriesDescription") or header_words(first, "ProtocolName")
    number = header_value(first, "SeriesNumber")
    name = " ".join(names) or "no description"
    return f"'{name}' (series {'?' if number is None else number}): {_images(series)} images"


def frames_of(file: Path, header: Dataset) -> list[Frame]:
    """Return the frames of one file.

    Raises:
        InputError: If its frames are not described one by one.
    """
    per_frame = header_value(header, "PerFrameFunctionalGroupsSequence") or []
    count = max(1, header_integer(header, "NumberOfFrames", 1))
    if count != (len(per_frame) or 1):
        found = f"{count} frames, {len(per_frame)} of them described"
        raise InputError(file, found, "single-frame images or enhanced multi-frame MR")
    if not per_frame:
        return [Frame(file, 0, (header,))]
    with reading(file):
        shared = header_value(header, "SharedFunctionalGroupsSequence") or []
        common = [item for groups in shared for item in _group_items(groups)]
        return [
            Frame(file, index, (*_group_items(groups), *common, header))
            for index, groups in enumerate(per_frame)
        ]


def _group_items(groups: Dataset) -> list[Dataset]:
    # Private groups are left out: some vendors put a second, conflicting header there.
    public = (groups[tag] for tag in groups.keys() if not tag.is_private)  # noqa: SIM118
    return [element.value[0] for element in public if element.VR == "SQ" and element.value]
