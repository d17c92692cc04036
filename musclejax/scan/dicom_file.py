"""One DICOM file -> its data set, and values of it, whatever the file holds.

Damaged files make pydicom raise a dozen types, at reading or only when a value is looked up. Here
they become an `InputError` that names the file, or a value that is absent.
"""

import struct
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian

from musclejax import files
from musclejax.errors import InputError

_START_BYTES = 1 << 16  # holds the file meta information of any scanner
_LARGEST_TAG = 0x00280000  # of the second element of a scan: groups 8 to 20 come before the image
SHORT_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
LONG_VRS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
_INFLATES_TO = 100
"""Largest size of deflated data, in sizes of the file. Source: ours; MR images deflate to a half or
a third, deflate itself ends at 1032."""


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its mark or by its first elements.

    Files without the mark are data sets that were stored as they came over the network. False for
    a folder, a pipe, or a broken link; reads the first kilobyte.

    Raises:
        InputError: The file cannot be opened.

    Source: DICOM PS3.10 section 7.1; files without it: pydicom issue 150.
    """
    if not path.is_file():
        return False
    start = _read_start(path, 1024)
    return start[128:132] == b"DICM" or _begins_data_set(start)


def read_dataset(file: Path, **options: Any) -> Dataset:
    """Read one file by `pydicom.dcmread`.

    Raises:
        InputError: It is damaged, or unpacks to many times its size.
    """
    with reading(file):
        _require_small(file)
        dataset = pydicom.dcmread(file, force=True, **options)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _syntax(dataset)
    return dataset


def reading(subject: object) -> AbstractContextManager[None]:
    """Turn whatever is raised while DICOM is read into one line that names the file or folder."""
    return files.reading(subject, "DICOM", "Export the series again.")


def header_value(header: Dataset, keyword: str) -> Any:
    """Look an attribute up; None where it is absent, empty or not of its own type."""
    try:
        value = header.get(keyword)
    except Exception:  # letters in a number, a wrong length, an unknown type ...
        return None
    return None if isinstance(value, str) and not value else value


def header_integer(header: Dataset, keyword: str, default: int) -> int:
    """Look an integer up; `default` where it is absent, empty or none."""
    try:
        return int(header_value(header, keyword))
    except (TypeError, ValueError, OverflowError):
        return default


def header_words(header: Dataset, keyword: str) -> list[str]:
    """Look the parts of a text up; none where it is absent."""
    return words(header_value(header, keyword))


def words(value: object) -> list[str]:
    """Return the parts of a value as text, each on one line."""
    parts = value if isinstance(value, MultiValue) else [] if value is None else [value]
    return [" ".join(str(part).split()) for part in parts]


def _read_start(path: Path, count: int) -> bytes:
    with reading(path), path.open("rb") as file:
        return file.read(count)


def _begins_data_set(start: bytes) -> bool:
    """Return whether two elements stand at the start, the first of group 8; little endian."""
    first = _element(start, 0)
    if first is None or first[0] >> 16 != 0x0008:
        return False
    second = _element(start, first[1])
    return second is not None and first[0] < second[0] <= _LARGEST_TAG


def _element(start: bytes, offset: int) -> tuple[int, int] | None:
    """Return the tag of the element at an offset, and the offset of the next one."""
    if offset + 12 > len(start):
        return None
    group, element, vr, length = struct.unpack_from("<HH2sH", start, offset)
    tag = group << 16 | element
    if vr in SHORT_VRS:
        return tag, offset + 8 + length
    header, at = (12, 8) if vr in LONG_VRS else (8, 4)  # 4: implicit VR
    return tag, offset + header + int(struct.unpack_from("<I", start, offset + at)[0])


def _syntax(dataset: Dataset) -> pydicom.uid.UID:
    """Return the transfer syntax of a data set that does not say it, as pydicom read it."""
    implicit, little_endian = dataset.original_encoding
    if not little_endian:
        return pydicom.uid.ExplicitVRBigEndian
    return pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian


def _require_small(file: Path) -> None:
    """Check what deflated data unpack to: pydicom unpacks all of a file to read one value."""
    offset = _deflated_from(_read_start(file, _START_BYTES))
    limit = _INFLATES_TO * file.stat().st_size
    if offset and _inflated_size(file, offset, limit) > limit:
        found = f"deflated data of more than {_INFLATES_TO} times the size of the file"
        raise InputError(file, found, "images of a scanner", "Export uncompressed images.")


def _deflated_from(start: bytes) -> int:
    """Return where the deflated data of a file begin; 0 if they are not deflated."""
    offset, deflated = 132, False
    while (element := _element(start, offset)) and element[0] >> 16 == 0x0002:
        syntax = start[offset + 8 : element[1]].rstrip(b"\0 ").decode("ascii", "replace")
        deflated |= element[0] == 0x00020010 and syntax == DeflatedExplicitVRLittleEndian
        offset = element[1]
    return offset if deflated and start[128:132] == b"DICM" else 0


def _inflated_size(file: Path, offset: int, limit: int) -> int:
    """Count what the data from an offset on unpack to; stops above the limit."""
    unpack, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with file.open("rb") as packed:
        packed.seek(offset)
        while size <= limit and not unpack.eof and (rest := packed.read(_START_BYTES)):
            while rest and size <= limit:
                size += len(unpack.decompress(rest, 1 << 20))
                rest = unpack.unconsumed_tail
    return size
