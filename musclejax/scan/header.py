"""The geometry that a NIfTI header means, where its fields disagree too.

ITK decides: ITK-SNAP and 3D Slicer, in which labels are looked at, read NIfTI by it. Spacing comes
from pixdim, in the header's units; directions and origin come from the sform or the qform.
Source: ITK 5.4, `NiftiImageIO::SetImageIOOrientationFromNIfTI`; nifti1.h for the fields.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Literal, NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float
from nibabel.spatialimages import SpatialImage

from musclejax.errors import InputError
from musclejax.files import check_declared_size
from musclejax.scan.volume import grids_differ_voxels, shear_degrees

MAX_VOXELS = 2**29
"""The largest scan that is read. Source: ours; 1024 x 1024 x 512 voxels, 2 GB as float32."""
NOTABLE_VOXELS = 0.01
"""Forms that move no voxel by more against one another agree. Source: ours."""
_ROUNDED_QUATERNION = 1e-6
"""Nor do forms differ whose quaternions are this close: float32 holds no more, which moves voxels
of a tilted scan by up to 0.7 voxels (2,000 made headers). Source: ours."""
GEOMETRY_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""The fields that place the voxels in the scanner."""

_NIFTI_1, _NIFTI_2, _MGH = 348, 540, 284
"""Bytes of the headers."""
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_IMAGES = {
    b"n+1\0": nib.Nifti1Image,
    b"ni1\0": nib.Nifti1Pair,
    b"n+2\0": nib.Nifti2Image,
    b"ni2\0": nib.Nifti2Pair,
}
"""Magic words -> nibabel's class."""
_MGH_BYTES = {0: 1, 1: 4, 3: 4, 4: 2, 10: 2}
"""FreeSurfer's data types -> bytes of a voxel."""
_UNITS = {1: ("meters", 1000.0), 3: ("microns", 0.001)}
"""Low three bits of `xyzt_units` -> name, millimeters; ITK takes all others for millimeters."""
_ORTHONORMAL = 1e-4
"""ITK's tolerance for axes at right angles."""
SCANNER = 1
"""Code of a form in the coordinates of the scanner."""
_ROUNDED_VOXELS = 0.01
"""Where nibabel's affine moves no voxel by more against ITK's, it is taken. Source: ours."""
_SAME = 1e-3
"""Wider than the 1e-4 at which ITK takes numbers of two forms for the same."""
_AS_ITK = "as in ITK-SNAP and 3D Slicer"

Affine = Float[np.ndarray, "4 4"]


class StoredHeader(NamedTuple):
    """A header as it stands in a file, before nibabel mends it.

    Attributes:
        image_class: nibabel's class for the file.
        voxels: Their number that the header declares.
        size: Bytes, unpacked, of the file with the voxels.
        header: Its fields; None for FreeSurfer.
    """

    image_class: type[SpatialImage]
    voxels: int
    size: int
    header: nib.analyze.AnalyzeHeader | None


class Geometry(NamedTuple):
    """Voxel indices -> millimeters, RAS+; what had to be decided for it, a line each."""

    affine: Affine
    warnings: tuple[str, ...]


def header_geometry(
    header: nib.Nifti1Header, shape: tuple[int, ...], known: Affine, subject: object
) -> Geometry:
    """Decide the geometry of a scan; warn of what moves it noticeably.

    Args:
        header: As it stands in the file; nibabel makes pixdim positive when it reads one.
        shape: Number of voxels along the three axes.
        known: What nibabel reads; returned to the last bit where ITK reads the same.
        subject: Named in the error.

    Raises:
        InputError: If pixdim is zero or not finite, or if ITK may take either of two forms.
    """
    pixdim = np.asarray(header["pixdim"][1:4], np.float64)
    if not (np.isfinite(pixdim) & (pixdim != 0)).all():
        found, remedy = f"pixdim {_times(pixdim)}", "Convert the scan from DICOM again."
        raise InputError(subject, found, "a spacing for each axis", remedy)
    unit, unit_mm = _UNITS.get(int(header["xyzt_units"]) & 7, ("millimeters", 1.0))
    sform, qform = _sform(header), _qform(header, pixdim)
    if sform is not None and qform is not None and header["sform_code"] != SCANNER:
        _check_turned(sform, qform, shape, subject)
    name, form = _choose(sform, qform, int(header["sform_code"]))
    if form is None:
        affine = np.diag([*(pixdim * unit_mm * (-1, -1, 1)), 1])
    else:
        affine = _rescaled(form, pixdim) * np.array([[unit_mm]] * 3 + [[1]])
        if _differ(affine, known, shape) <= _ROUNDED_VOXELS:
            affine = known
    warnings = [
        *_form_warnings(sform, qform, name, shape),
        *([] if form is None else _spacing_warnings(form, name, np.abs(pixdim), shape)),
        *_pixdim_warnings(pixdim, unit, unit_mm),
        *shear_warnings(affine, shape),
    ]
    return Geometry(affine, tuple(warnings))


def read_stored_header(file: BufferedIOBase) -> StoredHeader:
    """Read the header of NIfTI 1 or 2, Analyze or FreeSurfer; by contents, not by the name.

    Raises:
        ValueError: If it is none of these, or its sizes mean nothing.
    """
    block = file.read(_NIFTI_2)
    lengths = {int.from_bytes(block[:4], order, signed=True) for order in _ORDERS}
    if len(block) >= _NIFTI_1 and _NIFTI_1 in lengths:
        return _stored_nifti(block[:_NIFTI_1], block[344:348], nib.Nifti1Header)
    if len(block) == _NIFTI_2 and _NIFTI_2 in lengths:
        return _stored_nifti(block, block[4:8], nib.Nifti2Header)
    if len(block) >= _MGH and block[:4] == b"\0\0\0\1":
        *dims, kind = struct.unpack(">5i", block[4:24])
        if kind not in _MGH_BYTES:
            raise ValueError(f"data type {kind}")
        voxels = _count(dims)
        return StoredHeader(nib.MGHImage, voxels, _MGH + voxels * _MGH_BYTES[kind], None)
    raise ValueError("no header of NIfTI" if block else "an empty file")


def _stored_nifti(block: bytes, magic: bytes, kind: type[nib.Nifti1Header]) -> StoredHeader:
    image_class = _IMAGES.get(magic, nib.Spm2AnalyzeImage)
    analyze = image_class is nib.Spm2AnalyzeImage
    header = (nib.spm2analyze.Spm2AnalyzeHeader if analyze else kind)(block, check=False)
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise ValueError(f"{rank} dimensions")
    offset = float(header["vox_offset"])
    least = len(block) if image_class in (nib.Nifti1Image, nib.Nifti2Image) else 0
    if not (least <= offset and offset.is_integer()):
        raise ValueError(f"voxels that begin at byte {offset:g}, inside the header")
    voxels = _count(header["dim"][1 : rank + 1].tolist())
    size = int(offset) + voxels * header.get_data_dtype().itemsize
    return StoredHeader(image_class, voxels, size, header)


def check_size(path: Path, voxels: int, size: int, packed: bool | None = None) -> None:
    """Check a declared size before any voxel is read.

    Args:
        path: The file with the voxels.
        voxels: Their number.
        size: Bytes of the file, unpacked.
        packed: As of `check_declared_size`.

    Raises:
        InputError: If there are too many, or the file cannot hold them.
    """
    if voxels > MAX_VOXELS:
        found = f"a header that declares {voxels:.3g} voxels"
        raise InputError(path, found, f"at most {MAX_VOXELS:.3g}", "Cut the scan.")
    check_declared_size(path, size, packed)


def _count(dims: Sequence[int]) -> int:
    if min(dims) < 1:
        raise ValueError(f"a shape of {' x '.join(map(str, dims))}")
    return math.prod(dims)


def shear_warnings(affine: Affine, shape: tuple[int, ...]) -> Iterator[str]:
    """Yield a line if axes that are not at right angles move a voxel noticeably."""
    spacing = nib.affines.voxel_sizes(affine)
    if not (np.isfinite(affine).all() and spacing.all()):
        return
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    straight = affine.copy()
    straight[:3, :3] = left @ right * spacing
    if _differ(affine, straight, shape) > NOTABLE_VOXELS:
        yield (
            f"the axes are {shear_degrees(affine):.2g} degrees off their right angles: areas and "
            "volumes follow the sheared voxels, and ITK-SNAP and 3D Slicer may refuse the scan"
        )


def _choose(
    sform: Affine | None, qform: Affine | None, sform_code: int
) -> tuple[str, Affine | None]:
    """Return the form that ITK takes, and its name.

    ITK takes an sform of another code as well where it nearly equals the qform, which no voxel
    notices; and it refuses a sheared sform without qform, which is taken here.
    """
    if sform is not None and (qform is None or (sform_code == SCANNER and _is_orthogonal(sform))):
        return "sform", sform
    return "qform", qform


def _check_turned(sform: Affine, qform: Affine, shape: tuple[int, ...], subject: object) -> None:
    """Refuse forms that turn axes of one grid around: ITK, which compares them, may take either."""
    with np.errstate(all="ignore"):
        first, second = (form[:3, :3] @ form[:3, :3].T for form in (sform, qform))
        near = np.allclose(first, second, rtol=_SAME, atol=_SAME)
        near &= np.allclose(sform[:3, 3], qform[:3, 3], atol=_SAME)
    apart = near and _differ(sform, qform, shape) > NOTABLE_VOXELS
    if apart and not _is_rounded(sform, qform):
        remedy = "Clear the code of the wrong one: viewers may show either."
        found = "an sform that turns axes of the qform around"
        raise InputError(subject, found, "forms that agree", remedy)


def _is_orthogonal(form: Affine) -> bool:
    spacing = nib.affines.voxel_sizes(form)
    if not (np.isfinite(form).all() and spacing.all()):
        return False
    axes = form[:3, :3] / spacing
    return bool(np.abs(axes @ axes.T - np.eye(3)).max() <= _ORTHONORMAL)


def _sform(header: nib.Nifti1Header) -> Affine | None:
    if header["sform_code"] <= 0:
        return None
    rows = [header["srow_x"], header["srow_y"], header["srow_z"], (0, 0, 0, 1)]
    return np.array(rows, np.float64)


def _qform(header: nib.Nifti1Header, pixdim: Float[np.ndarray, "3"]) -> Affine | None:
    """Return the affine of the quaternion; nibabel refuses one that is longer than 1."""
    if header["qform_code"] <= 0:
        return None
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], np.float64)
    square = float(vector @ vector)
    if square > 1:
        vector, square = vector / np.sqrt(square), 1.0
    quaternion = [np.sqrt(1 - square), *vector]
    form = np.eye(4)
    form[:3, :3] = nib.quaternions.quat2mat(quaternion) * np.abs(pixdim)
    if header["pixdim"][0] < 0:
        form[:3, 2] *= -1
    form[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return form


def _rescaled(form: Affine, spacing: Float[np.ndarray, "3"]) -> Affine:
    scaled = form.copy()
    with np.errstate(all="ignore"):  # a form without meaning is refused by `check_affine`
        scaled[:3, :3] *= spacing / nib.affines.voxel_sizes(form)
    return scaled


def _form_warnings(
    sform: Affine | None, qform: Affine | None, name: str, shape: tuple[int, ...]
) -> Iterator[str]:
    if sform is None or qform is None:
        return
    apart = _differ(sform, qform, shape)
    if apart > NOTABLE_VOXELS and not _is_rounded(sform, qform):
        by = f"differ by {apart:.3g} voxels" if np.isfinite(apart) else "differ, and one is void"
        yield f"sform and qform {by}: the {name} counts, {_AS_ITK}"


def _is_rounded(sform: Affine, qform: Affine) -> bool:
    """Return whether a quaternion, rounded to float32, is all that two forms differ by."""
    if not (_is_orthogonal(sform) and _is_orthogonal(qform)):
        return False
    spacing = nib.affines.voxel_sizes(sform)
    close = np.abs(sform[:3, 3] - qform[:3, 3]).max() <= NOTABLE_VOXELS * spacing.min()
    one, other = (_quaternion(form) for form in (sform, qform))
    # Of half a turn, the quaternion and its negative are nearly the same.
    apart = min(np.abs(one - other).max(), np.abs(one + other).max())
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    return bool(close and apart <= _ROUNDED_QUATERNION and not mirrored)


def _quaternion(form: Affine) -> Float[np.ndarray, "3"]:
    """Return b, c and d of a form at right angles, as a header stores them."""
    axes = form[:3, :3] / nib.affines.voxel_sizes(form)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return np.asarray(nib.quaternions.mat2quat(axes)[1:], np.float64)


def _spacing_warnings(
    form: Affine, name: str, spacing: Float[np.ndarray, "3"], shape: tuple[int, ...]
) -> Iterator[str]:
    stated = nib.affines.voxel_sizes(form)
    if not _differ(form, _rescaled(form, spacing), shape) <= NOTABLE_VOXELS:
        yield (
            f"pixdim says {_times(spacing)}, the {name} {_times(stated)}: pixdim counts, "
            f"{_AS_ITK}; all areas and volumes depend on it"
        )


def _pixdim_warnings(pixdim: Float[np.ndarray, "3"], unit: str, unit_mm: float) -> Iterator[str]:
    if (pixdim < 0).any():
        yield (
            f"pixdim {_times(pixdim)} is negative: that axis is turned around, {_AS_ITK}; check "
            "left and right"
        )
    if unit_mm != 1:
        size = _times(np.abs(pixdim) * unit_mm)
        yield f"the header is in {unit}: voxels of {size} mm, {_AS_ITK}"


def _differ(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    return grids_differ_voxels(shape, first, shape, second)


def _times(numbers: Float[np.ndarray, "3"]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
