"""A scan as an array with its geometry, and the same scan in one canonical order of axes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from musclejax.errors import InputError
from musclejax.scan.intensity import body_mask

NIFTI_SUFFIXES = (".nii.gz", ".nii")
SPACING_RANGE_MM = (0.05, 100.0)
"""Accepted distance between neighboring voxels. Source: ours; wider than any MR protocol."""

Index = TypeVar("Index", int, np.integer, np.ndarray)


def inverse_orientation(orientation: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "3 2"]:
    """Return the nibabel orientation that undoes `orientation`."""
    inverse = np.empty_like(orientation)
    inverse[orientation[:, 0].astype(int)] = np.column_stack([range(3), orientation[:, 1]])
    return inverse


def reorient(
    array: Shaped[np.ndarray, "i j k *channels"], orientation: Float[np.ndarray, "3 2"]
) -> Shaped[np.ndarray, "x y z *channels"]:
    """Return an array with its first three axes permuted and flipped; contiguous.

    Contiguous, so that sums run in one order and all 48 orientations of a scan agree to the last
    bit.
    """
    return np.ascontiguousarray(nib.apply_orientation(array, orientation))


@dataclass(frozen=True, eq=False)
class LpsView:
    """A scan whose axes run to the patient's left, to the back and to the head.

    Attributes:
        data: Intensities; contiguous.
        affine: Indices of `data` -> millimeters in the scanner, RAS+.
        spacing_mm: Distance between neighboring voxels along x, y and z.
        orientation: nibabel orientation that takes arrays of the file to this order.
    """

    data: Float[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]
    spacing_mm: tuple[float, float, float]
    orientation: Float[np.ndarray, "3 2"]

    @cached_property
    def body(self) -> Bool[np.ndarray, "x y z"]:
        """The voxels that show the body rather than air; see `intensity.body_mask`."""
        return body_mask(self.data)

    def from_file(
        self, array: Shaped[np.ndarray, "i j k *channels"]
    ) -> Shaped[np.ndarray, "x y z *channels"]:
        """Bring an array of the file's order to this one."""
        return reorient(array, self.orientation)

    def to_file(
        self, array: Shaped[np.ndarray, "x y z *channels"]
    ) -> Shaped[np.ndarray, "i j k *channels"]:
        """Bring an array of this order back to the file's."""
        return reorient(array, inverse_orientation(self.orientation))

    def file_index(self, z: Index) -> Index:
        """Return the index in the file of slice z, which counts from the feet."""
        (upward,) = self.orientation[self.orientation[:, 0] == 2, 1] > 0
        return z if upward else self.data.shape[2] - 1 - z


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """One scan.

    Attributes:
        data: Intensities, in the order of the file.
        affine: Voxel indices -> millimeters in the scanner, RAS+ as in NIfTI.
        name: Start of the names of output files.
        header: The NIfTI header, if the scan came from NIfTI; its geometry is kept on the way
            out, both sform and qform.
        dicom_files: The DICOM files, if the scan came from DICOM, in the order of the slices.
    """

    data: Float[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    name: str = "scan"
    header: nib.Nifti1Header | None = None
    dicom_files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        """Return one line: name, shape and spacing."""
        shape = " x ".join(map(str, self.data.shape))
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing_mm)
        return f"<Volume {self.name}: {shape} voxels of {spacing} mm>"

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighboring voxels along each array axis."""
        i, j, k = nib.affines.voxel_sizes(self.affine)
        return float(i), float(j), float(k)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def orientation(self) -> Float[np.ndarray, "3 2"]:
        """For each array axis: the nearest world axis (R, A or S) and its direction."""
        return np.asarray(nib.io_orientation(self.affine), np.float64)

    @cached_property
    def lps(self) -> LpsView:
        """The scan with its axes to the left, to the back and to the head; made once."""
        axes = nib.orientations.axcodes2ornt("LPS")
        orientation = np.asarray(
            nib.orientations.ornt_transform(self.orientation, axes), np.float64
        )
        x, y, z = inverse_orientation(orientation)[:, 0].astype(int)
        return LpsView(
            data=reorient(self.data, orientation),
            affine=self.affine @ nib.orientations.inv_ornt_aff(orientation, self.data.shape),
            spacing_mm=(self.spacing_mm[x], self.spacing_mm[y], self.spacing_mm[z]),
            orientation=orientation,
        )

    @property
    def axial_axis(self) -> int:
        """The array axis that runs most nearly along the body."""
        return int(np.flatnonzero(self.orientation[:, 0] == 2)[0])

    @property
    def num_slices(self) -> int:
        """Number of axial slices."""
        return int(self.data.shape[self.axial_axis])

    @property
    def has_orientation(self) -> bool:
        """Whether the file stores an orientation, and with it the patient's left."""
        header = self.header
        return header is None or bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def scan_name(path: Path) -> str:
    """Return the name of a scan: its file or folder name without suffix."""
    for suffix in NIFTI_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem if path.is_file() else path.resolve().name


def check(volume: Volume, subject: object = None) -> None:
    """Check that a volume can be segmented.

    Args:
        volume: The scan.
        subject: Named in the error; the volume's name if not given.

    Raises:
        InputError: If its geometry or its voxels are unusable.
    """
    subject = subject or volume.name
    data, affine = volume.data, volume.affine
    if data.ndim != 3 or min(data.shape) < 1:
        shape = " x ".join(map(str, data.shape))
        raise InputError(subject, f"{data.ndim}-D data of shape {shape}", "3-D data")
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise InputError(
            subject,
            "a singular affine",
            "an affine with three independent axes",
            "Convert the scan from DICOM again.",
        )
    low, high = SPACING_RANGE_MM
    if not all(low <= s <= high for s in volume.spacing_mm):
        spacing = " x ".join(f"{s:.4g}" for s in volume.spacing_mm)
        raise InputError(subject, f"voxel spacing {spacing} mm", f"{low} to {high} mm on each axis")
    _check_voxels(data, subject)


def _check_voxels(data: Num[np.ndarray, "i j k"], subject: object) -> None:
    bad = data.size - np.count_nonzero(np.isfinite(data))
    if bad:
        remedy = "Replace NaN and infinite voxels, for example by 0."
        raise InputError(subject, f"{bad} voxels that are NaN or infinite", "finite voxels", remedy)
    if not data.any():
        raise InputError(subject, "only zeros", "a scan with contents")
