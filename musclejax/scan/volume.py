"""A scan as an array with its geometry; NIfTI in and out."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from jaxtyping import Float, UInt8
from nibabel.filebasedimages import ImageFileError

from musclejax import anatomy
from musclejax.errors import InputError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
SPACING_RANGE_MM = (0.05, 100.0)
"""Accepted distance between neighbouring voxels. Source: ours; wider than any MR protocol."""
LABEL_EXTENSION = 0
"""NIfTI extension code of the label names: Caret's XML under the code that TotalSegmentator uses;
nibabel cannot read contents under Caret's own code, 30."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan.

    Attributes:
        data: Intensities, in the order of the file.
        affine: Voxel indices -> millimetres in the scanner, RAS+ as in NIfTI.
        name: What output files are named after.
        header: The NIfTI header, if the scan came from NIfTI; its geometry is kept on the way
            out, both sform and qform.
        dicom_files: The DICOM files, if the scan came from DICOM, in the order of the slices.
    """

    data: Float[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]
    name: str = "scan"
    header: nib.Nifti1Header | None = None
    dicom_files: tuple[Path, ...] = ()

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each array axis."""
        i, j, k = nib.affines.voxel_sizes(self.affine)
        return float(i), float(j), float(k)

    @cached_property
    def orientation(self) -> Float[np.ndarray, "3 2"]:
        """For each array axis: the nearest world axis (R, A or S) and its direction."""
        return np.asarray(nib.io_orientation(self.affine), np.float64)

    @property
    def axial_axis(self) -> int:
        """The array axis that runs most nearly along the body."""
        return int(np.flatnonzero(self.orientation[:, 0] == 2)[0])

    @property
    def has_orientation(self) -> bool:
        """Whether the file says where the patient's left is."""
        header = self.header
        return header is None or bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def load(path: str | Path) -> Volume:
    """Load a scan from a NIfTI file, a DICOM file or a folder that holds one DICOM series.

    Raises:
        InputError: If the file is missing, damaged, or not a 3-D scan with a usable geometry.
    """
    path = Path(path)
    if path.name.endswith(NIFTI_SUFFIXES):
        volume = load_nifti(path)
    else:
        from musclejax.scan.dicom import load_dicom

        volume = load_dicom(path)
    check(volume, path)
    return volume


def load_nifti(path: Path) -> Volume:
    """Load a NIfTI file (.nii, .nii.gz; version 1 or 2).

    Raises:
        InputError: If it is missing, damaged, not NIfTI, or not 3-D.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "a NIfTI file or a DICOM folder")
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise ImageFileError(type(image).__name__)
        shape = image.shape[:3] if image.shape[3:] == (1,) * (image.ndim - 3) else image.shape
        if len(shape) != 3:
            raise InputError(
                path,
                f"{len(shape)}-D data of shape {' x '.join(map(str, shape))}",
                "3-D data",
                "Save one volume (one echo, one time point) to a file of its own.",
            )
        if image.get_data_dtype().kind not in "iuf":
            kind = str(image.get_data_dtype())
            raise InputError(path, f"voxels of type {kind}", "one real number per voxel")
        data = np.asarray(image.dataobj, np.float32).reshape(shape)
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        remedy = "Copy or convert the file again."
        raise InputError(
            path, f"no readable NIfTI ({reason})", "a whole NIfTI file", remedy
        ) from None
    return Volume(data, np.asarray(image.affine, np.float64), scan_name(path), image.header)


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
        subject: What to name in the error; the volume's name if not given.

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
    bad = data.size - np.count_nonzero(np.isfinite(data))
    if bad:
        remedy = "Replace NaN and infinite voxels, for example by 0."
        raise InputError(subject, f"{bad} voxels that are NaN or infinite", "finite voxels", remedy)
    if not data.any():
        raise InputError(subject, "only zeros", "a scan with contents")


def save_labels(
    path: Path, labels: UInt8[np.ndarray, "i j k"], volume: Volume, region: anatomy.Region
) -> None:
    """Write a label map on the scan's own grid, with the names of the labels in the header.

    Args:
        path: File to write, .nii.gz.
        labels: Label numbers, in the order of the scan's file.
        volume: The scan; its affine, sform and qform are kept.
        region: The region whose muscles the numbers mean.
    """
    image = _image_like(labels, volume)
    xml = _label_table(region)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(LABEL_EXTENSION, xml))
    nib.save(image, path)


def save_probabilities(
    path: Path, probabilities: UInt8[np.ndarray, "i j k c"], volume: Volume
) -> None:
    """Write class probabilities as 4-D NIfTI: class number on the last axis, steps of 1/255."""
    image = _image_like(probabilities, volume)
    image.header.set_slope_inter(1 / 255, 0)
    nib.save(image, path)


def _image_like(data: np.ndarray, volume: Volume) -> nib.Nifti1Image:
    if volume.header is None:
        image = nib.Nifti1Image(data, volume.affine)
        image.header.set_xyzt_units("mm")
        return image
    header = volume.header.copy()
    header.set_data_dtype(data.dtype)
    header.extensions.clear()
    header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, b"musclejax"
    # Without an affine nibabel keeps sform, qform and their codes as they stand in the header.
    make: Callable[..., nib.Nifti1Image] = (
        nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    )
    return make(data, None, header)


def _label_table(region: anatomy.Region) -> bytes:
    root = ElementTree.Element("CaretExtension")
    information = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    table = ElementTree.SubElement(information, "LabelTable")
    rows = [(0, "background", (0, 0, 0))] + [(m.number, m.name, m.color) for m in region.muscles]
    for number, name, color in rows:
        red, green, blue = (f"{c / 255:.4f}" for c in color)
        alpha = "1" if number else "0"
        label = ElementTree.SubElement(
            table, "Label", Key=str(number), Red=red, Green=green, Blue=blue, Alpha=alpha
        )
        label.text = name
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
