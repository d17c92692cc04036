"""Scans and networks: usable geometry, headers that agree with themselves and with the file."""

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from tests.fuzz.judges.base import Answer, same

_SPACING_MM, _ORIGIN_MM, _VOXEL_SHARE = (0.05, 100.0), 1e5, 0.01
_HEADER_BYTES = 352


def volume(valid: Answer, answer: Answer, content: bytes) -> str:
    """Voxels and geometry must be usable."""
    data, affine = answer["data"], answer["affine"]
    if not np.isfinite(data).all() or not np.isfinite(affine).all():
        return "NaN or infinite"
    sizes = voxel_sizes(affine)
    if not ((sizes >= _SPACING_MM[0]) & (sizes <= _SPACING_MM[1])).all():
        return f"spacing {sizes}"
    if np.abs(affine[:3, 3]).max() > _ORIGIN_MM:
        return "an origin kilometers away"
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < np.cos(np.deg2rad(30)):
        return "axes sheared by more than 30 degrees"
    return ""


def nifti(valid: Answer, answer: Answer, content: bytes) -> str:
    """The header must agree with itself and with the size of the file."""
    if unusable := volume(valid, answer, content):
        return unusable
    header = nib.Nifti1Header(content[:348], check=False)
    if header["vox_offset"] < _HEADER_BYTES and not same(valid["data"], answer["data"]):
        return "header bytes read as voxels"
    size = int(header["vox_offset"]) + answer["data"].size * header.get_data_dtype().itemsize
    if size != len(content):
        return f"{len(content)} bytes, of which {size} are declared"
    return apart(valid, answer)


def apart(valid: Answer, answer: Answer) -> str:
    """One of two forms was changed: the axes must be those of before."""
    moved = np.linalg.inv(valid["affine"]) @ answer["affine"] - np.eye(4)
    far = np.abs(moved[:3, :3] * answer["data"].shape).max()
    return f"sform and qform disagree by {far:.2g} voxels" if far > _VOXEL_SHARE else ""


def frames(valid: Answer, answer: Answer, content: bytes) -> str:
    """The slices of one file must not become fewer or smaller."""
    return volume(valid, answer, content) or _other_shape(valid, answer)


def slices(valid: Answer, answer: Answer, content: bytes) -> str:
    """One damaged file of a series must not remove a slice or move the others."""
    if unusable := volume(valid, answer, content):
        return unusable
    if reason := _other_shape(valid, answer):
        return reason
    return "" if np.allclose(valid["affine"], answer["affine"], atol=1e-3) else "geometry moved"


def _other_shape(valid: Answer, answer: Answer) -> str:
    before, now = valid["data"].shape, answer["data"].shape
    return "" if before == now else f"shape {now}, of {before} in the files"


def keras(valid: Answer, answer: Answer, content: bytes) -> str:
    for path, array in answer["arrays"].items():
        if not np.isfinite(array).all() or (path[-1] == "var" and array.min() < 0):
            return f"{'/'.join(path)} of NaN or negative variance"
    outside = b"/etc/passwd", b"/dev/zero", b"pipe", b"../../x"
    return "read from outside the file" if any(name in content for name in outside) else ""
