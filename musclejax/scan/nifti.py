"""NIfTI in and out: scans, label maps with their names, probabilities."""

import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from jaxtyping import UInt8
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.scan.volume import Volume, scan_name

LABEL_EXTENSION = 0
"""NIfTI extension code of the label names: Caret's XML under the code that TotalSegmentator uses;
nibabel cannot read contents under Caret's own code, 30."""


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
        return from_image(image, path, scan_name(path))
    except InputError:
        raise
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        found, remedy = f"no readable NIfTI ({reason})", "Copy or convert the file again."
        raise InputError(path, found, "a whole NIfTI file", remedy) from None


def from_image(image: SpatialImage, subject: object, name: str) -> Volume:
    """Make a volume of a nibabel image; its header is kept if it is a NIfTI header.

    Args:
        image: 3-D, or with further axes of length 1.
        subject: Named in an error.
        name: Name of the scan.

    Raises:
        InputError: If it is not 3-D, has no affine, or its voxels are no real numbers.
    """
    shape = image.shape[:3] if image.shape[3:] == (1,) * (image.ndim - 3) else image.shape
    if len(shape) != 3:
        raise InputError(
            subject,
            f"{len(shape)}-D data of shape {' x '.join(map(str, shape))}",
            "3-D data",
            "Save one volume (one echo, one time point) to a file of its own.",
        )
    if image.get_data_dtype().kind not in "iuf":
        kind = str(image.get_data_dtype())
        raise InputError(subject, f"voxels of type {kind}", "one real number per voxel")
    if image.affine is None:
        raise InputError(subject, "no affine", "an affine from voxels to millimeters")
    data = np.asarray(image.dataobj, np.float32).reshape(shape)
    header = image.header if isinstance(image.header, nib.Nifti1Header) else None
    return Volume(data, np.asarray(image.affine, np.float64), name, header)


def save_labels(
    path: Path, labels: UInt8[np.ndarray, "i j k"], volume: Volume, region: anatomy.Region
) -> None:
    """Write a label map on the scan's own grid, with the names of the labels in the header.

    Args:
        path: File to write, .nii.gz.
        labels: Label numbers, in the order of the scan's file.
        volume: The scan; its affine, sform and qform are kept.
        region: The region of the muscles.
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
