"""A DICOM series or enhanced multi-frame file -> Volume; needs pydicom only.

Pixels compressed otherwise than by RLE need the decoders of the `dicom` extra.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from musclejax.errors import InputError
from musclejax.scan.dicom_frames import Frame, is_dicom, one_line, read_dataset
from musclejax.scan.dicom_order import sorted_frames
from musclejax.scan.volume import Volume, scan_name

__all__ = ["is_dicom", "load_dicom", "series_affine", "tolerate_values"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM axes point left and back, ours right and front
_TOLERATED = (
    r"Invalid value for VR|The value length|The PersonName component|Value \".*\" is not"
    r"|The pixel data is \d+ bytes long, which indicates it contains \d+ bytes of excess padding"
)
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def load_dicom(path: Path) -> Volume:
    """Read one series: a folder of single-frame files, or one enhanced multi-frame file.

    File names, extensions and InstanceNumber play no part: slices are ordered by their position
    along the slice normal. Files that are no DICOM images, and segmentations, are passed over;
    subfolders are not entered. `data` is [column, row, slice], rescaled by each slice's own
    RescaleSlope and RescaleIntercept; the slice step comes from the positions, not from
    SliceThickness.

    Raises:
        InputError: The files are not exactly one readable volume; the line states the reason
            (several series, echoes or orientations, missing slices, color, compression ...).

    Source: DICOM PS3.3 C.7.6.2.1.1 (pixel to position) and C.11.1.1 (rescale); tolerances ours.
    """
    if not path.is_dir() and not is_dicom(path):
        found = "a file that is neither NIfTI nor DICOM" if path.exists() else "no such file"
        raise InputError(path, found, "a .nii.gz or .nii file, or a DICOM folder or file")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    with tolerate_values():
        frames = sorted_frames(files, path)
        data = _rescaled_slices(frames)
    return Volume(
        data=data,
        affine=series_affine(frames),
        name=scan_name(path),
        dicom_files=tuple(dict.fromkeys(frame.path for frame in frames)),
    )


@contextmanager
def tolerate_values() -> Iterator[None]:
    """Silence pydicom on padded pixels and values that break the rules of their type.

    Both are usual after anonymizing; values that are used here are checked where they are used.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_TOLERATED, category=UserWarning)
        yield


def series_affine(frames: Sequence[Frame]) -> Float[np.ndarray, "4 4"]:
    """Map [column, row, slice] indices to world RAS mm."""
    first, last = frames[0], frames[-1]
    row_mm, column_mm = first.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * column_mm  # along a row the column index grows
    affine[:3, 1] = first.orientation[3:] * row_mm
    affine[:3, 2] = (last.position - first.position) / (len(frames) - 1)
    affine[:3, 3] = first.position
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    return affine


def _rescaled_slices(frames: Sequence[Frame]) -> Float[np.ndarray, "column row slice"]:
    rows, columns = frames[0].shape
    data = np.empty((columns, rows, len(frames)), dtype=np.float32)
    pixels: dict[Path, np.ndarray] = {}
    for k, frame in enumerate(frames):
        if frame.path not in pixels:
            pixels = {frame.path: _pixels(frame.path)}  # one file at a time
        slope = frame.numbers("RescaleSlope", 1, default=1.0)
        intercept = frame.numbers("RescaleIntercept", 1, default=0.0)
        data[:, :, k] = (pixels[frame.path][frame.index] * slope + intercept).T
    return data


def _pixels(file: Path) -> Num[np.ndarray, "frame row column"]:
    """Decode the stored values of one file."""
    dataset = read_dataset(file)
    if not any(keyword in dataset for keyword in _PIXEL_KEYWORDS):
        raise InputError(file, "no pixel data", "images with pixels", "Export the series again.")
    _require_decoder(file, dataset)
    try:
        return dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    except Exception as error:  # pydicom and its decoders raise many types on damaged pixels
        found = f"damaged pixel data ({one_line(error)})"
        raise InputError(file, found, "complete images", "Export the series again.") from error


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
