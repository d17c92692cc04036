"""NRRD and MetaImage in, by SimpleITK of the extra `formats`.

Only files that hold their own voxels: a header that names another file could name any file of the
machine.
"""

import importlib.util
import math
import os
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musclejax.errors import InputError
from musclejax.files import reading
from musclejax.scan.header import check_size, shear_warnings
from musclejax.scan.volume import Volume, behind_warning, check_affine, image_suffix, scan_name

INSTALL = "`pip install 'musclejax[formats]'` adds SimpleITK, which reads it."
_HEADER_BYTES = 2**16
_NRRD_GEOMETRY = (("space", "space dimension"), ("space directions", "spacings"), ("space origin",))
_META_GEOMETRY = (
    *(("Offset", "Position", "Origin"), ("ElementSpacing", "ElementSize")),
    ("TransformMatrix", "Rotation", "Orientation"),
)
"""Fields that place the voxels, each with its other names."""
_LONGEST_FIELD = 1000
"""Characters of a field of NRRD: ITK 5.4 dies of a line of 5000. Source: ours, tests.fuzz."""
_NO_SKIP = ("", "0", "-1")
_TEXTS = ("ascii", "text", "txt", "hex")
"""Encodings of NRRD without a fixed size."""
_LARGEST = 16
"""Bytes of the largest voxel type."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class _Fields(NamedTuple):
    """What a text header says of its voxels.

    Attributes:
        sizes: Number of voxels along each axis.
        place: File that holds them; "" or "LOCAL" for this one.
        packing: "gzip" and the like, or "True".
        start: First byte of the voxels.
        lacking: Fields of the geometry that are not there; ITK then assumes a value.
        skip: Bytes or lines to skip; "", "0" and "-1" skip nothing that matters.
    """

    sizes: str
    place: str
    packing: str
    start: int
    skip: str
    lacking: tuple[str, ...]


def can_read_itk() -> bool:
    """Return whether SimpleITK is installed."""
    return importlib.util.find_spec("SimpleITK") is not None


def load_itk(path: Path) -> Volume:
    """Load a .nrrd or .mha file.

    Raises:
        InputError: If it is missing, damaged, not 3-D, keeps its voxels elsewhere, or SimpleITK is
            not installed.
    """
    suffix = image_suffix(path)
    with reading(path, suffix):
        if not path.is_file():
            raise InputError(path, "no such file", "a NIfTI file or a DICOM folder")
        if not can_read_itk():
            raise InputError(path, f"a {suffix} file", "a .nii.gz file", INSTALL)
        held, lacking = _check_header(path)
        import SimpleITK

        image = SimpleITK.ReadImage(os.fspath(path))
        _check_rank(image, path)
        with warnings.catch_warnings():  # before 2.5.7 it sets shapes as NumPy 2.5 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            data = SimpleITK.GetArrayViewFromImage(image)
        if data.dtype.kind not in "iuf":
            raise InputError(path, f"voxels of type {data.dtype}", "one real number per voxel")
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        affine = _LPS_TO_RAS @ affine
        voxels = np.array(data, np.float32).T
        rest = held - data.nbytes
    remarks = tuple(shear_warnings(affine, voxels.shape))
    if rest > 0:
        remarks += (behind_warning(rest),)
    if lacking:
        names = ", ".join(lacking)
        remarks += (f"the header has no {names}: ITK assumes a value; check left and right",)
    volume = Volume(voxels, affine, scan_name(path), warnings=remarks)
    check_affine(volume, path)
    return volume


def _check_rank(image: Any, path: Path) -> None:
    rank, parts = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if rank != 3 or parts != 1:
        shape = " x ".join(map(str, image.GetSize()))
        found = f"{rank}-D data of shape {shape} with {parts} numbers per voxel"
        remedy = "Save one volume (one echo, one time point) to a file of its own."
        raise InputError(path, found, "3-D data with one", remedy)


def _check_header(path: Path) -> tuple[int, tuple[str, ...]]:
    """Compare the declared size with the file's, and refuse voxels that lie in another place.

    SimpleITK reads packed voxels past their checksums: these are compared here.

    Returns:
        The bytes, unpacked, that follow the header, 0 if the voxels are text; and the fields of
        the geometry that are not there.
    """
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES).decode("latin-1")
        fields = _nrrd_fields(text) if text.startswith("NRRD") else _meta_fields(text)
        if fields.place.upper() not in ("", "LOCAL"):
            raise InputError(path, "voxels in another file", "a file that holds its own voxels")
        sizes = [int(n) for n in fields.sizes.split()]
        if not sizes or min(sizes) < 1:
            raise ValueError(f"a shape of {fields.sizes or 'no axis'}")
        if fields.skip not in _NO_SKIP:
            raise InputError(path, "voxels that do not follow the header", "voxels that do")
        if fields.packing in ("bzip2", "bz2"):
            raise InputError(path, "voxels packed by bzip2", "raw or gzip")
        packed = fields.packing in ("gzip", "gz", "true", "1")
        # One byte per voxel is the least.
        check_size(path, math.prod(sizes), math.prod(sizes), packed)
        file.seek(fields.start)
        if packed:
            return _check_packed(file, _LARGEST * math.prod(sizes)), fields.lacking
    size = 0 if fields.packing in _TEXTS else path.stat().st_size - fields.start
    return size, fields.lacking


def _check_packed(file: BufferedIOBase, most: int) -> int:
    """Unpack a stream to its end, where its checksum stands, and drop it; return its size."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib
    count = 0
    while not stream.eof:
        block = stream.unconsumed_tail or file.read(_HEADER_BYTES)
        unpacked = stream.decompress(block, _HEADER_BYTES)
        if not block and not unpacked:
            raise ValueError("packed voxels that end early")
        count += len(unpacked)
        if count > most:
            raise ValueError("more voxels than the header declares")
    return count


def _nrrd_fields(text: str) -> _Fields:
    end = re.search(r"\r?\n\r?\n", text)
    head = text[: end.start()] if end else text
    if any(len(line) > _LONGEST_FIELD for line in head.splitlines() if ":=" not in line):
        raise ValueError("a line that is too long")
    found = {k.lower().strip(): v.strip() for k, v in re.findall(r"(?m)^([^#:\n]+):(.*)$", head)}
    place = found.get("data file", found.get("datafile", ""))
    start = end.end() if end else len(text)
    skips = (found.get(f"{unit}{gap}skip", "") for unit in ("byte", "line") for gap in (" ", ""))
    skip = next((text for text in skips if text not in _NO_SKIP), "")
    packing, lacking = found.get("encoding", "").lower(), _lacking(found, _NRRD_GEOMETRY)
    return _Fields(found.get("sizes", ""), place, packing, start, skip, lacking)


def _meta_fields(text: str) -> _Fields:
    found: dict[str, str] = {}
    start = 0
    for line in re.findall(r"[^\n]*\n", text):
        key, mark, value = line.partition("=")
        if not mark:
            raise ValueError("no header of MetaImage")
        found[key.strip().lower()] = value.strip()
        start += len(line)
        if key.strip().lower() == "elementdatafile":
            break
    if "elementdatafile" not in found:
        raise ValueError("no header of MetaImage")
    place, packing = found["elementdatafile"], found.get("compresseddata", "").lower()
    skip, lacking = found.get("headersize", ""), _lacking(found, _META_GEOMETRY)
    return _Fields(found.get("dimsize", ""), place, packing, start, skip, lacking)


def _lacking(found: Mapping[str, str], names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(same[0] for same in names if not any(name.lower() in found for name in same))
