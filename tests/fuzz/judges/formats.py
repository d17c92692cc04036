"""Pairs, FreeSurfer, NRRD, MetaImage, fat-fraction maps: the file as another reader sees it."""

import gzip
import math
import re
import struct
import zlib

import nibabel as nib
import numpy as np

from tests.fuzz.judges.base import Answer, same
from tests.fuzz.judges.scans import apart, volume

_MGH_BYTES, _MGH_HEADER = {0: 1, 1: 4, 3: 4, 4: 2}, 284
_TYPES = {
    **{"short": "i2", "int16": "i2", "signed short": "i2", "MET_SHORT": "i2"},
    **{"uchar": "u1", "ushort": "u2", "float": "f4", "double": "f8", "int": "i4"},
    **{"long long": "i8", "MET_UCHAR": "u1", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_GEOMETRY = (
    *("space directions", "space origin", "space"),
    *("offset", "transformmatrix", "elementspacing"),
)


def pair_header(valid: Answer, answer: Answer, content: bytes) -> str:
    """The header must agree with itself and with the voxels, which are as they were."""
    if unusable := volume(valid, answer, content):
        return unusable
    header = nib.Nifti1Header(content[:348], check=False)
    size = int(header["vox_offset"]) + answer["data"].size * header.get_data_dtype().itemsize
    whole = valid["data"].size * 2
    if size != whole:
        return f"{whole} bytes, of which {size} are declared"
    return apart(valid, answer)


def pair_voxels(valid: Answer, answer: Answer, content: bytes) -> str:
    """Voxels may be anything; there must be as many as the header declares."""
    size = valid["data"].size * 2
    return "" if len(content) == size else f"{len(content)} bytes, of which {size} are declared"


def freesurfer(valid: Answer, answer: Answer, content: bytes) -> str:
    """The checksum of gzip must fit, and the declared size the file."""
    try:
        inner = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        return f"no whole gzip file: {error}"
    if unusable := volume(valid, answer, content):
        return unusable
    *dims, kind = struct.unpack(">5i", inner[4:24])
    size = _MGH_HEADER + math.prod(dims) * _MGH_BYTES[kind]
    return f"{len(inner)} bytes of {size}" if len(inner) < size else ""


def itk(valid: Answer, answer: Answer, content: bytes) -> str:
    """The declared voxels must be all that follows the header, and those of the answer."""
    if unusable := volume(valid, answer, content):
        return unusable
    nrrd = content.startswith(b"NRRD")
    end = re.search(rb"\r?\n\r?\n" if nrrd else rb"(?i)ElementDataFile[^\n]*\n", content)
    if end is None:
        return "no end of the header"
    text = content[: end.end()].decode("latin-1")
    mark = ":" if nrrd else "="
    pairs = (line.partition(mark) for line in text.splitlines())
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    data = content[end.end() :]
    packing = fields.get("encoding" if nrrd else "compresseddata", "").lower()
    if packing in ("gzip", "gz", "true", "1"):
        try:
            data = zlib.decompress(data, 47)
        except zlib.error as error:
            return f"no whole stream: {error}"
    kind = fields.get("type" if nrrd else "elementtype", "")
    size = answer["data"].size * np.dtype(_TYPES.get(kind, "i2")).itemsize
    if packing not in ("ascii", "text", "txt", "hex") and len(data) != size:
        return f"{len(data)} bytes of voxels, of which {size} are declared"
    lost = [n for n in _GEOMETRY if n in _names(valid, nrrd) and n not in fields]
    if lost and not same(valid["affine"], answer["affine"]):
        return f"no {lost[0]}, and another place of the voxels"
    return ""


def _names(valid: Answer, nrrd: bool) -> tuple[str, ...]:
    return _GEOMETRY[:3] if nrrd else _GEOMETRY[3:]


def fat(valid: Answer, answer: Answer, content: bytes) -> str:
    """The unit must not change, nor the fat of the muscles by more than noise explains."""
    if answer["unit"] != valid["unit"]:
        return f"taken for {answer['unit']}"
    before, now = valid["muscle"], answer["muscle"]
    if not 0.5 * before <= now <= 2 * before:
        return f"fat of the muscles {now:.3g}, not {before:.3g}"
    return "" if answer["coverage"] > 0.98 else f"coverage {answer['coverage']:.2f}"
