"""NIfTI in and out: scans, label maps with their names, probabilities."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO, IOBase
from pathlib import Path
from typing import Any, NamedTuple, cast
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from jaxtyping import Float, UInt8
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import SpatialImage

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.files import open_unpacked, read_to_end, reading
from musclejax.scan.header import (
    GEOMETRY_FIELDS,
    SCANNER,
    Geometry,
    check_size,
    header_geometry,
    read_stored_header,
    shear_warnings,
)
from musclejax.scan.numbering import add_note, labels_of, to_written
from musclejax.scan.volume import (
    NIFTI_SUFFIXES,
    Volume,
    behind_warning,
    check_affine,
    empty_in_slices,
    image_suffix,
    scan_name,
)

LABEL_EXTENSION = 0
"""NIfTI extension code of the label names: Caret's XML under the code that TotalSegmentator uses;
nibabel cannot read contents under Caret's own code, 30."""


class StoredGrid(NamedTuple):
    """The grid of a file by its header alone.

    Attributes:
        shape: Voxels along the three axes, then the number of volumes if there are several.
        affine: Voxel indices -> millimeters, as nibabel reads it.
    """

    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]


def read_grid(path: Path) -> StoredGrid:
    """Read the grid of a file that nibabel reads; no voxel is read.

    Raises:
        InputError: If it is missing, damaged or of another format.
    """
    files = pair_of(path)
    with reading(path, "scan"), _quiet():
        _check_files(files.values())
        with open_unpacked(files.get("header", files["image"])) as stream:
            stored = read_stored_header(stream)
        if stored.header is None:
            image = cast(SpatialImage, nib.load(path))
            return StoredGrid(_squeezed(image.shape), np.asarray(image.affine, np.float64))
        affine = np.asarray(stored.header.get_best_affine(), np.float64)
        return StoredGrid(_squeezed(stored.header.get_data_shape()), affine)


def _squeezed(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return three axes, and the number of volumes if there are several."""
    axes, count = tuple(map(int, shape[:3])), math.prod(map(int, shape[3:]))
    return axes if count == 1 else (*axes, count)


def load_nifti(path: Path, index: int | None = None) -> Volume:
    """Load a file that nibabel reads: NIfTI, a pair of files, FreeSurfer; packed by gzip or not.

    Sizes are compared with the file before any voxel is read, and a packed file is read to its
    end, where its checksum stands. ITK's rules decide the geometry; see `scan.header`.

    Args:
        path: The file; one of a pair.
        index: Which volume of a file with several.

    Raises:
        InputError: If it is missing, damaged, of another format, or not 3-D.
    """
    files = pair_of(path)
    kind = "NIfTI" if image_suffix(path) in NIFTI_SUFFIXES else "scan"
    with reading(path, kind), ExitStack() as stack:
        _check_files(files.values())
        stack.enter_context(_quiet())
        streams = {role: stack.enter_context(open_unpacked(file)) for role, file in files.items()}
        stored = read_stored_header(streams.get("header", streams["image"]))
        check_size(files["image"], stored.voxels, stored.size)
        for stream in streams.values():
            stream.seek(0)
        holders = {role: FileHolder(fileobj=cast(IOBase, s)) for role, s in streams.items()}
        if stored.image_class is nib.Spm2AnalyzeImage:
            holders["mat"] = FileHolder(fileobj=BytesIO())  # as ITK, which knows no .mat
        image = stored.image_class.from_file_map(holders)
        volume = from_image(image, path, scan_name(path), stored.header, index)
        streams["image"].seek(stored.size)  # a plain file may have been mapped, not read
        rest = {role: read_to_end(stream, files[role]) for role, stream in streams.items()}
    check_affine(volume, path)
    if not rest["image"] or stored.header is None:  # FreeSurfer has its footer there
        return volume
    return replace(volume, warnings=(*volume.warnings, behind_warning(rest["image"])))


def pair_of(path: Path) -> dict[str, Path]:
    """Return the files of a scan as nibabel names them: "image", and "header" for a pair."""
    suffix = image_suffix(path)
    if not suffix.startswith((".hdr", ".img")):
        return {"image": path}
    stem, end = path.name[: -len(suffix)], path.name[-len(suffix) :]
    upper = end[1:4].isupper()
    files = {}
    for role, word in (("header", "hdr"), ("image", "img")):
        other = path.with_name(f"{stem}.{word.upper() if upper else word}{end[4:]}")
        files[role] = path if suffix.startswith(f".{word}") else other
    return files


def _check_files(files: Iterable[Path]) -> None:
    for file in files:
        if file.is_dir():
            raise InputError(file, "a folder", "a file")
        if not file.is_file():
            found = "no regular file" if file.exists() else "no such file"
            raise InputError(file, found, "a NIfTI file or a DICOM folder")


def from_image(
    image: SpatialImage,
    subject: object,
    name: str,
    stored: nib.analyze.AnalyzeHeader | None = None,
    index: int | None = None,
) -> Volume:
    """Make a volume of a nibabel image; its header is kept if it is a NIfTI header.

    Args:
        image: 3-D, or with further axes of length 1.
        subject: Named in an error.
        name: Name of the scan.
        stored: The header as it stands in the file; the image's own if None.
        index: Which volume of several, the first of further axes running fastest.

    Raises:
        InputError: If it is not 3-D, has no affine, or its voxels are no real numbers.
    """
    shape = _squeezed(image.shape)
    if index is not None and len(shape) == 4 and index < shape[3]:
        shape = shape[:3]
    elif len(shape) == 4:
        shape = tuple(map(int, image.shape))
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
    known = np.asarray(image.affine, np.float64)
    header = _nifti_header(image, stored)
    if header is None:
        geometry = Geometry(known, tuple(shear_warnings(known, shape)))
    else:
        geometry = header_geometry(header, shape, known, subject)
    at = np.unravel_index(index or 0, image.shape[3:], order="F")
    data = _read_voxels(image, at, geometry.affine)
    return Volume(data, geometry.affine, name, header, warnings=geometry.warnings)


def _read_voxels(
    image: SpatialImage, at: tuple[np.intp, ...], affine: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "i j k"]:
    """Read a volume part by part, into an array whose axial slices follow one another in memory.

    Args:
        image: 3-D, or with further axes.
        at: Indices on these.
        affine: Voxel indices -> millimeters.
    """
    data = empty_in_slices([int(n) for n in image.shape[:3]], affine)
    for k in range(data.shape[2]):
        data[..., k] = image.dataobj[..., k, *at]
    return data


def _nifti_header(
    image: SpatialImage, stored: nib.analyze.AnalyzeHeader | None
) -> nib.Nifti1Header | None:
    """Return the NIfTI header of an image, its geometry as it stands in the file.

    Analyze, which stores no orientation, becomes a NIfTI header without one.
    """
    if not isinstance(image.header, nib.analyze.AnalyzeHeader):
        return None
    stored = stored or image.header
    if isinstance(image.header, nib.Nifti1Header):
        is_2 = isinstance(image.header, nib.Nifti2Header)
        make = nib.Nifti2Header if is_2 else nib.Nifti1Header  # of a single file, not of a pair
        header = make(
            image.header.binaryblock,
            image.header.endianness,
            check=False,
            extensions=image.header.extensions,
        )
        for field in GEOMETRY_FIELDS:
            header[field] = stored[field]
        return header
    header = nib.Nifti1Header()
    header.set_data_shape(image.shape)
    header["pixdim"][1:4] = stored["pixdim"][1:4]
    return header


def save_labels(
    path: Path,
    labels: UInt8[np.ndarray, "i j k"],
    volume: Volume,
    region: anatomy.Region,
    numbering: anatomy.Numbering = "muscles",
    sides: UInt8[np.ndarray, "i j k"] | None = None,
) -> None:
    """Write a label map on the scan's own grid, with the names of the labels in the header.

    Args:
        path: File to write, .nii.gz.
        labels: Muscle numbers, in the order of the scan's file.
        volume: The scan; the fields of its header that place it are kept as they are.
        region: The region of the muscles.
        numbering: The numbers in the file.
        sides: 1 left, 2 right; needed where sides have numbers of their own.

    Raises:
        InputError: If a labeled voxel has no side, but needs one.
    """
    known = np.broadcast_to(np.uint8(0), labels.shape) if sides is None else sides
    with _quiet():
        image = _image_like(to_written(labels, known, region, numbering), volume)
        xml = _label_table(region, numbering)
        image.header.extensions.append(nib.nifti1.Nifti1Extension(LABEL_EXTENSION, xml))
        nib.save(image, path)


def save_scan(path: Path, volume: Volume) -> None:
    """Write a scan as NIfTI with the voxels and the geometry that it was read with.

    Whole numbers become integers of 16 bits where they fit.
    """
    data = volume.data
    if (np.abs(data) <= np.iinfo(np.int16).max).all() and (data == np.rint(data)).all():
        data = data.astype(np.int16)
    with _quiet():
        nib.save(_image_like(data, volume), path)


def save_probabilities(
    path: Path, probabilities: UInt8[np.ndarray, "i j k c"], volume: Volume
) -> None:
    """Write class probabilities as 4-D NIfTI: class number on the last axis, steps of 1/255."""
    with _quiet():
        image = _image_like(probabilities, volume)
        image.header.set_slope_inter(1 / 255, 0)
        nib.save(image, path)


def save_map(path: Path, values: Float[np.ndarray, "i j k"], volume: Volume) -> None:
    """Write a map on the scan's own grid as float32; NaN where unknown."""
    with _quiet():
        image = _image_like(values.astype(np.float32), volume)
        image.header.set_slope_inter(1, 0)  # the scan's own would be applied to the values
        nib.save(image, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence nibabel on what it mends in a header; what matters is a warning of the volume."""
    logger = nib.imageglobals.logger
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _image_like(data: np.ndarray, volume: Volume) -> nib.Nifti1Image:
    if volume.header is None:
        image = nib.Nifti1Image(data, volume.affine)
        image.header.set_xyzt_units("mm")
        # Both: ITK takes the qform where rounded positions have sheared the affine.
        image.set_sform(volume.affine, SCANNER)
        image.set_qform(volume.affine, SCANNER)
        return image
    header = volume.header.copy()
    header.set_data_dtype(data.dtype)
    header.extensions.clear()
    header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, b"musclejax"
    header["pixdim"] = np.abs(header["pixdim"])
    # Without an affine nibabel keeps sform, qform and their codes as they stand in the header.
    make: Callable[..., nib.Nifti1Image] = (
        nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    )
    image = make(data, None, header)
    # It mends some fields, though: every viewer shall show the labels as it shows the scan.
    for field in GEOMETRY_FIELDS:
        image.header[field] = volume.header[field]
    return image


def _label_table(region: anatomy.Region, numbering: anatomy.Numbering) -> bytes:
    root = ElementTree.Element("CaretExtension")
    information = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    table = ElementTree.SubElement(information, "LabelTable")
    add_note(information, numbering)
    rows = [(label.number, label.name, label.color) for label in labels_of(region, numbering)]
    for number, name, color in [(0, "background", (0, 0, 0)), *rows]:
        red, green, blue = (f"{c / 255:.4f}" for c in color)
        alpha = "1" if number else "0"
        label = ElementTree.SubElement(
            table, "Label", Key=str(number), Red=red, Green=green, Blue=blue, Alpha=alpha
        )
        label.text = name
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
