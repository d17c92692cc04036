"""A DICOM series or enhanced multi-frame file -> Volume; needs pydicom only.

Pixels compressed otherwise than by RLE need the decoders of the `dicom` extra.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from musclejax.errors import InputError, one_line
from musclejax.scan.dicom_file import (
    header_integer,
    is_dicom,
    read_dataset,
    reading,
)
from musclejax.scan.dicom_frames import Frame, is_image, series_of
from musclejax.scan.dicom_order import plane_of, sorted_frames
from musclejax.scan.volume import Volume, scan_name

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM axes point left and back, ours right and front
_PADDING = 64  # ours: bytes that programs add behind pixels
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_STEP_RATIO = 1.25  # ours: no rounding explains more; a missing slice makes it 2
_TILT_DEG = 30  # ours: limbs lie askew by less
_SEARCHED = ("SOPClassUID", "Modality", "SeriesInstanceUID", "Rows", "NumberOfFrames")
_UNPACKS_TO = 200
"""Largest size of compressed pixels, in sizes of the file. Source: ours; RLE ends at 64, and a
picture of one gray needs no segmentation."""
_ALWAYS_ACCEPTED_BYTES = 1 << 26  # ours: no memory to worry about
_BESIDE_SCANS = (".txt", ".json", ".csv", ".xml", ".pdf", ".png", ".jpg", ".nii", ".gz")


def load_dicom(path: Path, only: Sequence[Path] = (), index: int | None = None) -> Volume:
    """Read one series: a folder of single-frame files, or one enhanced multi-frame file.

    Args:
        path: The folder or file.
        only: Files of the folder to read; all if none.
        index: Which volume of a multi-frame file; see `dicom_order.split_frames`.

    File names, extensions and InstanceNumber play no part: slices are ordered by their position
    along the slice normal. Files that are no DICOM images, and segmentations, are passed over;
    subfolders are not entered. `data` is [column, row, slice], rescaled by each slice's own
    RescaleSlope and RescaleIntercept; the slice step comes from the positions, not from
    SliceThickness, but for a single slice.

    Raises:
        InputError: The files are not exactly one readable volume; the line states the reason
            (several series, echoes or orientations, missing slices, color, compression ...).

    Source: DICOM PS3.3 C.7.6.2.1.1 (pixel to position) and C.11.1.1 (rescale); tolerances ours.
    """
    if not path.is_dir() and not is_dicom(path):
        found = "a file that is neither NIfTI nor DICOM" if path.exists() else "no such file"
        raise InputError(path, found, "a .nii.gz or .nii file, or a DICOM folder or file")
    with quiet(), reading(path):
        files = sorted(only or path.iterdir()) if path.is_dir() else [path]
        frames = sorted_frames(files, path, index)
        if files == [path]:
            _require_whole_series(frames)
        _require_memory(frames)
        data = _rescaled_slices(frames)
        affine = series_affine(frames)
        dicom_files = tuple(dict.fromkeys(frame.path for frame in frames))
        remarks = (
            _plane_warning(frames),
            _thickness_warning(frames),
            _step_warning(frames),
            _reference_warning(frames),
            _left_out_warning(files, dicom_files),
        )
    return Volume(
        data=data,
        affine=affine,
        name=scan_name(path),
        dicom_files=dicom_files,
        warnings=tuple(filter(None, remarks)),
    )


class FolderImages(NamedTuple):
    """DICOM images that lie in a folder itself.

    Attributes:
        files: The images, in the order of their names; no segmentations or reports. Of a series
            the first ones only, up to what shows that it is one.
        is_series: Whether some of them are a scan: two of one series, or one of several frames. A
            single slice is one where it lies alone, and a stray where it lies beside other scans.
    """

    files: tuple[Path, ...]
    is_series: bool


def folder_images(folder: Path) -> FolderImages:
    """Look for DICOM images in a folder; damaged files count, so that loading names them."""
    files: list[Path] = []
    counts: Counter[str] = Counter()
    with quiet():
        for file in sorted(folder.iterdir()):
            if found := _series_images(file):
                files.append(file)
                counts[found[0]] += found[1]
                if counts[found[0]] > 1:
                    return FolderImages(tuple(files), True)
    return FolderImages(tuple(files), False)


def stray_warning(folder: Path, images: FolderImages) -> str:
    """Return the line about images that are left out because they are no series; or nothing."""
    if images.is_series or not images.files:
        return ""
    names = ", ".join(file.name for file in images.files[:2])
    more = f" and {len(images.files) - 2} more" if len(images.files) > 2 else ""
    return f"{folder}: left out, single DICOM images beside other scans: {names}{more}"


def _series_images(file: Path) -> tuple[str, int] | None:
    """Return the series of an image and how many frames it has; None for other files."""
    try:
        if not is_dicom(file):
            return None
        header = read_dataset(file, stop_before_pixels=True, specific_tags=list(_SEARCHED))
    except InputError:
        return "", 0
    if not is_image(header):
        return None
    return series_of(header), max(1, header_integer(header, "NumberOfFrames", 1))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom on values that break the rules of their type, on padding, on guesses.

    All are usual after anonymizing; values that are used here are checked where they are used.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\b", category=UserWarning)
        yield


def series_affine(frames: Sequence[Frame]) -> Float[np.ndarray, "4 4"]:
    """Map [column, row, slice] indices to world RAS mm."""
    first, last = frames[0], frames[-1]
    row_mm, column_mm = first.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * column_mm  # along a row the column index grows
    affine[:3, 1] = first.orientation[3:] * row_mm
    if len(frames) > 1:
        affine[:3, 2] = (last.position - first.position) / (len(frames) - 1)
    else:
        affine[:3, 2] = first.normal * _thickness_mm(first)
    affine[:3, 3] = first.position
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    return affine


def _thickness_mm(frame: Frame) -> float:
    """Return the extent across a slice that has no neighbor."""
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        if (thickness := float(frame.numbers(keyword, 1, default=0.0)[0])) > 0:
            return thickness
    remedy = "Give the folder that holds the whole series."
    raise InputError(frame.path, "one slice without SliceThickness", "its thickness", remedy)


def _thickness_warning(frames: Sequence[Frame]) -> str:
    if len(frames) > 1:
        return ""
    return f"one slice: volumes take its thickness from the header, {_thickness_mm(frames[0]):g} mm"


def _plane_warning(frames: Sequence[Frame]) -> str:
    tilt = np.rad2deg(np.arccos(min(1.0, abs(frames[0].normal[2]))))
    if tilt <= _TILT_DEG:
        return ""
    plane = plane_of(frames[0])
    return f"{plane} slices, {tilt:.0f} degrees off axial: the networks know axial slices only"


def _step_warning(frames: Sequence[Frame]) -> str:
    """Compare the step with the header's: every second slice may be missing, evenly.

    Some scanners store the gap between slices in SpacingBetweenSlices; it is less than a slice.
    """
    keywords = ("SpacingBetweenSlices", "SliceThickness")
    known = [frames[0].value(keyword) for keyword in keywords]
    stated, thickness = (value if isinstance(value, float) else 0.0 for value in known)
    step = float(np.linalg.norm(series_affine(frames)[:3, 2]))
    usual = 1 / _STEP_RATIO < step / max(stated, thickness, 1e-6) < _STEP_RATIO
    if len(frames) == 1 or usual or not 0 < thickness <= stated < np.inf:
        return ""
    return f"slices {step:.4g} mm apart, {stated:.4g} mm by the header: are slices missing?"


def _reference_warning(frames: Sequence[Frame]) -> str:
    references = {str(frame.value("FrameOfReferenceUID")) for frame in frames}
    if len(references) == 1:
        return ""
    return f"{len(references)} frames of reference in one series: check that it is one scan"


def _left_out_warning(files: Sequence[Path], dicom_files: Sequence[Path]) -> str:
    """Name files that look like those of the series and are no DICOM: slices may be missing."""
    kinds = {_suffix(file) for file in dicom_files}
    others = sorted(set(files) - set(dicom_files))
    odd = [file.name for file in others if _suffix(file) in kinds and _is_odd(file)]
    if not odd:
        return ""
    more = f" and {len(odd) - 2} more" if len(odd) > 2 else ""
    return f"left out, no DICOM: {', '.join(odd[:2])}{more}; check that no slice is missing"


def _suffix(file: Path) -> str:
    """Return the extension of a name; none for the last number of a UID."""
    return "" if file.suffix[1:].isdigit() else file.suffix.lower()


def _is_odd(file: Path) -> bool:
    ours = file.name.startswith(".") or file.suffix.lower() in _BESIDE_SCANS
    return not (ours or file.is_dir() or file.name.upper() == "DICOMDIR" or is_dicom(file))


def _require_whole_series(frames: Sequence[Frame]) -> None:
    """Check that a single slice, given as a file, is no part of a series beside it."""
    file = frames[0].path
    if len(frames) > 1:
        return
    series = series_of(frames[0].headers[-1])
    for other in sorted(file.parent.iterdir()):
        if other != file and (found := _series_images(other)) and found[0] == series:
            found_text = f"one slice of a series whose other images lie beside it ({other.name})"
            raise InputError(file, found_text, "a whole series", f"Give the folder {file.parent}.")


def _require_memory(frames: Sequence[Frame]) -> None:
    """Check the declared sizes against those of the files, before memory is taken."""
    for file, header in {frame.path: frame.headers[-1] for frame in frames}.items():
        counts = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated")
        rows, columns, count, bits = (header_integer(header, key, 1) for key in counts)
        declared = rows * columns * max(1, count) * max(8, bits) // 8
        syntax = header.file_meta.TransferSyntaxUID
        packed = not syntax.is_transfer_syntax or syntax.is_compressed or syntax.is_deflated
        size = file.stat().st_size
        limit = max(_ALWAYS_ACCEPTED_BYTES, _UNPACKS_TO * size) if packed else size
        if declared > limit:
            found = f"{columns} x {rows} x {count} pixels in {size} bytes: no such image fits"
            raise InputError(file, found, "complete DICOM files", "Export the series again.")


def _rescaled_slices(frames: Sequence[Frame]) -> Float[np.ndarray, "column row slice"]:
    rows, columns = frames[0].shape
    data = np.empty((len(frames), rows, columns), np.float32).T  # a frame follows the other
    pixels: dict[Path, np.ndarray] = {}
    for k, frame in enumerate(frames):
        if frame.path not in pixels:
            pixels = {frame.path: _pixels(frame.path)}  # one file at a time
        slope = frame.numbers("RescaleSlope", 1, default=1.0)
        intercept = frame.numbers("RescaleIntercept", 1, default=0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite voxels are refused later
            data[:, :, k] = (pixels[frame.path][frame.index] * slope + intercept).T
    return data


def _pixels(file: Path) -> Num[np.ndarray, "frame row column"]:
    """Decode the stored values of one file."""
    dataset = read_dataset(file)
    if not any(keyword in dataset for keyword in _PIXEL_KEYWORDS):
        raise InputError(file, "no pixel data", "images with pixels", "Export the series again.")
    _require_decoder(file, dataset)
    _require_no_excess(file, dataset)
    try:
        return dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    except Exception as error:  # pydicom and its decoders raise many types on damaged pixels
        found = f"damaged pixel data ({one_line(error)})"
        raise InputError(file, found, "complete images", "Export the series again.") from error


def _require_no_excess(file: Path, dataset: Dataset) -> None:
    """Check that plain pixels are not more than declared by a row or more; less is padding."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax or syntax.is_compressed:
        return
    counts = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
    rows, columns, frames, samples, bits = (header_integer(dataset, key, 1) for key in counts)
    row = columns * samples * bits // 8
    declared = rows * max(1, frames) * row
    stored = max(len(dataset.get(keyword, b"")) for keyword in _PIXEL_KEYWORDS)
    if stored - declared >= max(row, 1) and stored - declared > _PADDING:
        found = f"{stored} bytes of pixels where its header declares {declared}"
        raise InputError(file, found, "images with the pixels declared", "Export the series again.")


def _require_decoder(file: Path, dataset: Dataset) -> None:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    try:
        if syntax is not None and get_decoder(syntax).is_available:
            return
    except NotImplementedError:  # pydicom knows no decoder at all
        pass
    found = f"transfer syntax {syntax.name} ({syntax})" if syntax else "no transfer syntax"
    remedy = "`pip install 'musclejax[dicom]'` adds decoders; else export uncompressed images."
    raise InputError(file, found, "uncompressed or RLE pixels", remedy)
