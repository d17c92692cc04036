"""A scan as an array with its geometry, and the same scan in one canonical order of axes."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple, TypeVar

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from musclejax.errors import InputError
from musclejax.scan.intensity import level, percentile_of
from musclejax.scan.series import Series
from musclejax.scan.slices import planes

NIFTI_SUFFIXES = (".nii.gz", ".nii")
NIBABEL_SUFFIXES = (
    *(*NIFTI_SUFFIXES, ".hdr.gz", ".img.gz", ".hdr", ".img"),
    *(".mgz", ".mgh.gz", ".mgh"),
)
"""Files that nibabel reads: NIfTI, pairs of NIfTI or Analyze, FreeSurfer."""
ITK_SUFFIXES = (".nrrd", ".mha")
"""Files that SimpleITK reads, which the extra `formats` installs."""
IMAGE_SUFFIXES = (*NIBABEL_SUFFIXES, *ITK_SUFFIXES)

SPACING_RANGE_MM = (0.05, 100.0)
"""Accepted distance between neighboring voxels. Source: ours; wider than any MR protocol."""
MAX_PIXEL_MM = 10.0
"""Accepted distance between voxels of an axial slice. Source: ours; a muscle has 20 mm."""
MAX_SHEAR_DEGREES = 30.0
"""Accepted angle by which axes miss their right angles. Source: ours; gantries tilt by 30."""
MAX_ORIGIN_MM = 1e5
"""Accepted distance of the first voxel. Source: ours; beyond it the float32 of a header cannot hold
a hundredth of a voxel."""

Index = TypeVar("Index", int, np.integer, np.ndarray)


def inverse_orientation(orientation: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "3 2"]:
    """Return the nibabel orientation that undoes `orientation`."""
    inverse = np.empty_like(orientation)
    inverse[orientation[:, 0].astype(int)] = np.column_stack([range(3), orientation[:, 1]])
    return inverse


def reorient(
    array: Shaped[np.ndarray, "i j k *channels"], orientation: Float[np.ndarray, "3 2"]
) -> Shaped[np.ndarray, "x y z *channels"]:
    """Return an array with its first three axes permuted and flipped; a view."""
    return np.asarray(nib.apply_orientation(array, orientation))


class Projections(NamedTuple):
    """Number of voxels that show the body, along each axis of a canonical view."""

    x: Int[np.ndarray, "y z"]
    y: Int[np.ndarray, "x z"]
    z: Int[np.ndarray, "x y"]


@dataclass(frozen=True, eq=False)
class LpsView:
    """A scan whose axes run to the patient's left, to the back and to the head.

    Attributes:
        data: Intensities, air at 0 (see `intensity.level`); most often a view of the file's array.
        affine: Indices of `data` -> millimeters in the scanner, RAS+.
        spacing_mm: Distance between neighboring voxels along x, y and z.
        orientation: nibabel orientation that takes arrays of the file to this order.
        body_threshold: Intensity from which a voxel shows the body; see `intensity`.
        warnings: What `intensity.level` did.
    """

    data: Float[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]
    spacing_mm: tuple[float, float, float]
    orientation: Float[np.ndarray, "3 2"]
    body_threshold: float
    warnings: tuple[str, ...] = ()

    @cached_property
    def body(self) -> Bool[np.ndarray, "x y z"]:
        """The voxels that show the body rather than air."""
        return np.asarray(self.data >= self.body_threshold)

    @cached_property
    def projections(self) -> Projections:
        """The body seen along each axis; found slice by slice."""
        columns, rows, slices = self.data.shape
        x, y = np.zeros((rows, slices), int), np.zeros((columns, slices), int)
        z = np.zeros((columns, rows), int)
        for place, plane in enumerate(planes(self.data)):
            body = plane >= self.body_threshold
            x[:, place], y[:, place] = body.sum(0), body.sum(1)
            z += body
        return Projections(x, y, z)

    def body_percentile(self, percent: float) -> float:
        """Return a percentile of the body's intensities; 0 without a body."""
        bright = (plane[plane >= self.body_threshold] for plane in planes(self.data))
        return percentile_of(bright, percent, most=int(self.projections.z.sum()))

    def from_file(
        self, array: Shaped[np.ndarray, "i j k *channels"]
    ) -> Shaped[np.ndarray, "x y z *channels"]:
        """Bring an array of the file's order to this one; a view."""
        return reorient(array, self.orientation)

    def to_file(
        self, array: Shaped[np.ndarray, "x y z *channels"]
    ) -> Shaped[np.ndarray, "i j k *channels"]:
        """Bring an array of this order back to the file's; a view."""
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
        warnings: What reading the scan had to decide; a line each.
        series: The series that it was listed as, if it comes from a study.
    """

    data: Float[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    name: str = "scan"
    header: nib.Nifti1Header | None = None
    dicom_files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    series: Series | None = None

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

    @property
    def pixel_mm2(self) -> float:
        """Area of one voxel in an axial slice; of a sheared one, that of its parallelogram.

        Times the distance of the slices along their normal it is `voxel_mm3`.
        """
        first, second = (s for axis, s in enumerate(self.spacing_mm) if axis != self.axial_axis)
        a, b = (self.affine[:3, axis] for axis in range(3) if axis != self.axial_axis)
        cosine = float(a @ b) / (first * second)
        return first * second * math.sqrt(max(0.0, 1 - cosine**2))

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
        leveled = level(_in_slices(reorient(self.data, orientation)))
        return LpsView(
            data=leveled.data,
            affine=self.affine @ nib.orientations.inv_ornt_aff(orientation, self.data.shape),
            spacing_mm=(self.spacing_mm[x], self.spacing_mm[y], self.spacing_mm[z]),
            orientation=orientation,
            body_threshold=leveled.body_threshold,
            warnings=leveled.warnings,
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


def empty_in_slices(
    shape: Sequence[int], affine: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "i j k"]:
    """Return an array for the voxels of a scan, axial slices one after the other in memory."""
    with np.errstate(all="ignore"):  # an affine that is refused later
        k = int(np.argmax(np.abs(affine[2, :3] / nib.affines.voxel_sizes(affine))))
    others = [axis for axis in (2, 1, 0) if axis != k]
    data = np.empty([shape[axis] for axis in (k, *others)], np.float32)
    return data.transpose(np.argsort([k, *others]))


def _in_slices(array: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "x y z"]:
    """Return an array whose slices follow one another in memory: itself if they do."""
    strides = [abs(step) for step in array.strides]
    return array if strides[2] == max(strides) else np.ascontiguousarray(array.T).T


def grids_differ_voxels(
    shape: Sequence[int],
    affine: Float[np.ndarray, "4 4"],
    other_shape: Sequence[int],
    other_affine: Float[np.ndarray, "4 4"],
) -> float:
    """Return how far two grids are apart: the farthest corner voxel, in voxels of the other grid.

    Infinite if the shapes differ, or if an affine is singular or not finite.

    Source: ours. Corners rather than entries of the affine: a tiny turn moves the far end of a
    stack by much, and a hundredth of a millimeter is nothing.
    """
    if tuple(shape) != tuple(other_shape):
        return math.inf
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))])
    with np.errstate(all="ignore"):
        try:
            moved = np.linalg.solve(other_affine, affine @ corners.T)
        except np.linalg.LinAlgError:
            return math.inf
        apart = float(np.abs(moved - corners.T).max())
        if np.linalg.det(affine[:3, :3]) == 0:
            return math.inf
    return apart if math.isfinite(apart) else math.inf


def shear_degrees(affine: Float[np.ndarray, "4 4"]) -> float:
    """Return by how much an axis leans out of the normal of the other two; 90 if it lies in them.

    The largest of the three angles; 90 too if the affine is singular or not finite.
    """
    with np.errstate(all="ignore"):
        axes = affine[:3, :3] / nib.affines.voxel_sizes(affine)
        try:
            lengths = np.linalg.norm(np.linalg.inv(axes), axis=1)
        except np.linalg.LinAlgError:
            return 90.0
        degrees = float(np.degrees(np.arccos(np.minimum(1, 1 / lengths))).max())
    return degrees if math.isfinite(degrees) else 90.0


def scan_name(path: Path) -> str:
    """Return the name of a scan: its file or folder name without suffix.

    A link has its own name. Bytes that are not UTF-8 are read as Latin-1, so that every result can
    be named, drawn and stored.
    """
    name = path.name if path.name not in ("", "..") else path.resolve().name
    suffix = image_suffix(path)
    if suffix:
        name = name[: -len(suffix)]
    elif path.is_file() and not path.suffix[1:].isdigit():  # 1.2.840.1 and 1.2.840.2 are two
        name = path.stem
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("latin-1")
    return name


def image_suffix(path: Path) -> str:
    """Return the suffix in any case of a volume that is no DICOM; "" if it has none."""
    name = path.name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s) and name != s), "")


def behind_warning(size: int) -> str:
    """Return the warning of a file that holds more than its header declares."""
    return f"{size} bytes behind the voxels: check that the scan shows what it should"


def check(volume: Volume, subject: object = None) -> None:
    """Check that a volume can be segmented.

    Args:
        volume: The scan.
        subject: Named in the error; the volume's name if not given.

    Raises:
        InputError: If its geometry or its voxels are unusable.
    """
    subject = subject or volume.name
    data = volume.data
    if data.ndim != 3 or min(data.shape) < 1:
        shape = " x ".join(map(str, data.shape))
        raise InputError(subject, f"{data.ndim}-D data of shape {shape}", "3-D data")
    check_affine(volume, subject)
    _check_voxels(data, subject)


def check_affine(volume: Volume, subject: object) -> None:
    """Check that a geometry means a place in a scanner.

    Raises:
        InputError: If it does not.
    """
    affine, again = volume.affine, "Convert the scan from DICOM again."
    finite = np.isfinite(affine).all()
    if not finite or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        accepted = "an affine with three independent axes"
        raise InputError(subject, "a singular affine", accepted, again)
    _check_spacing(volume, subject)
    shear = shear_degrees(affine)
    if not shear <= MAX_SHEAR_DEGREES:
        found = f"axes {shear:.3g} degrees off their right angles"
        raise InputError(subject, found, f"at most {MAX_SHEAR_DEGREES:g} degrees", again)
    farthest = np.abs(affine[:3, 3]).max()
    if not farthest <= MAX_ORIGIN_MM:
        found = f"an origin {farthest:.3g} mm from the scanner's center"
        raise InputError(subject, found, f"at most {MAX_ORIGIN_MM:g} mm", again)


def _check_spacing(volume: Volume, subject: object) -> None:
    low, high = SPACING_RANGE_MM
    accepted = f"{low} to {high:g} mm on each axis"
    ok = all(low <= s <= high for s in volume.spacing_mm)
    if ok:
        in_plane = [s for axis, s in enumerate(volume.spacing_mm) if axis != volume.axial_axis]
        ok = max(in_plane) <= MAX_PIXEL_MM
        accepted = f"at most {MAX_PIXEL_MM:g} mm within axial slices"
    if not ok:
        spacing = " x ".join(f"{s:.4g}" for s in volume.spacing_mm)
        remedy = "Correct the spacing and its unit in the header."
        raise InputError(subject, f"voxel spacing {spacing} mm", accepted, remedy)


def _check_voxels(data: Num[np.ndarray, "i j k"], subject: object) -> None:
    bad = data.size - sum(np.count_nonzero(np.isfinite(part)) for part in data.T)
    if bad:
        remedy = "Replace NaN and infinite voxels, for example by 0."
        raise InputError(subject, f"{bad} voxels that are NaN or infinite", "finite voxels", remedy)
    if not data.any():
        raise InputError(subject, "only zeros", "a scan with contents")
