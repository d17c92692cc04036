"""Changes of DICOM files: elements, transfer syntaxes, nesting, bombs."""

import io
from random import Random

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from tests.fuzz.changes.binary import Change
from tests.fuzz.changes.packed import BOMB_MIB, deflate_bomb

_TEXTS = (
    "",
    "0",
    "-1",
    "1",
    "2",
    "1e30",
    "nan",
    "inf",
    "abc",
    "1\\2",
    "0\\0\\0",
    "\xff\xfe",
    "9" * 40,
)
_SHORTS = (0, 1, 2, 7, 8, 12, 15, 16, 32, 64, 255, 4096, 65535)
_SYNTAXES = (
    *(ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless),
    *(JPEG2000, JPEGLosslessSV1, UID("1.2.840.10008.1.2.4.100"), UID("1.2.3"), UID("")),
)


def _saved(dataset: Dataset) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=False)
    return out.getvalue()


def dicom_element(content: bytes, rng: Random) -> bytes:
    """Remove an element anywhere, or give it an odd value."""
    dataset = holder = pydicom.dcmread(io.BytesIO(content))
    while (inner := [e for e in holder if e.VR == "SQ" and e.value]) and rng.random() < 0.6:
        holder = rng.choice(rng.choice(inner).value)
    element = rng.choice(list(holder))
    tag, vr = element.tag, element.VR
    if rng.random() < 0.2:
        del holder[tag]
    elif vr == "US":
        raw = rng.choice(_SHORTS).to_bytes(2, "little") * rng.choice([1, 1, 1, 2])
        holder[tag] = RawDataElement(tag, "US", len(raw), raw, 0, False, True)
    elif vr == "SQ":
        element.value = rng.choice([[], list(element.value) * 2, list(element.value)[:-1]])
    elif vr in ("OW", "OB"):
        element.value = rng.choice([b"", element.value[::2], element.value * 2, element.value[:-1]])
    else:
        raw = rng.choice(_TEXTS).encode("latin-1")
        holder[tag] = RawDataElement(tag, vr, len(raw), raw, 0, False, True)
    return _saved(dataset)


def dicom_syntax(content: bytes, rng: Random) -> bytes:
    """Name another transfer syntax than the one that the file has."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    name, at = str(rng.choice(_SYNTAXES)), str(dataset.file_meta.TransferSyntaxUID).encode()
    return content.replace(at, name.encode().ljust(len(at), b"\0")[: len(at)], 1)


def dicom_nested(content: bytes, rng: Random) -> bytes:
    """Append sequences inside sequences, none of which ends."""
    depth = rng.choice([50, 3000, 100_000])
    begin = b"\xe1\x7f\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return content + begin * depth


def dicom_bomb(content: bytes, rng: Random) -> bytes:
    """Deflate the data set, and zeros without end in a private element behind it."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    private = b"\xe1\x7f\x10\x10OB\0\0" + (BOMB_MIB << 20).to_bytes(4, "little")
    return _meta(_saved(dataset)) + deflate_bomb(content[len(_meta(content)) :] + private)


def _meta(content: bytes) -> bytes:
    """Return preamble, mark and file meta information, whose length stands in its first element."""
    return content[: 144 + int.from_bytes(content[140:144], "little")]


DICOM: tuple[Change, ...] = (*[dicom_element] * 8, dicom_syntax, dicom_nested)
