"""What the page of a scan shows of it: its image in 256 grays and its labels, for the viewer."""

import base64
import gzip
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, UInt8

from musclejax.anatomy import REGIONS, Region
from musclejax.data.decode_labels import Decoded, decode
from musclejax.data.label_tables import find_table, table_in_header
from musclejax.errors import InputError
from musclejax.prediction.result import Segmentation
from musclejax.reports.run_record import LABELS, ORIGINAL, is_synthesized
from musclejax.reports.segmentation import scan_sha256
from musclejax.scan.numbering import numbering_of
from musclejax.scan.recorded import find_recorded
from musclejax.scan.sides import find_sides
from musclejax.scan.source import recorded_path
from musclejax.scan.study import load, read_volume
from musclejax.scan.volume import LpsView, Volume

RIGHT = 100
"""Added to the number of a right muscle, so that the viewer knows sides."""
WHITE_PERCENTILE = 99.5
"""Of the body's intensities, which is shown white; 0 is black."""
_LEVEL = 3
"""Of gzip: twice as fast as the default, and the files are 2 % larger."""
_NO_EXTENSION = bytes(4)
"""Behind a NIfTI header."""


class Shown(NamedTuple):
    """A scan with its labels, on its own grid.

    Attributes:
        volume: The scan.
        labels: Muscle numbers; 0 where there is no label map.
        sides: 1 left, 2 right.
    """

    volume: Volume
    labels: UInt8[np.ndarray, "i j k"]
    sides: UInt8[np.ndarray, "i j k"]

    @classmethod
    def of(cls, result: Segmentation) -> "Shown":
        """Return what is shown of a segmented scan."""
        return cls(result.volume, result.labels, result.sides.voxels)


def read_shown(
    folder: Path, name: str, record: Mapping[str, Any], volume: Volume | None
) -> tuple[Shown | None, list[str]]:
    """Read what is shown of a scan.

    Args:
        folder: Of its results.
        name: NAME of the results.
        record: Its run record.
        volume: The scan; None if it is read from where the record says.

    Returns:
        The scan, None if it is gone; and a line for each thing that is not as it was.
    """
    region, lines = REGIONS.get(str(record.get("region"))), []
    if region is None:
        return None, ["no viewer and no pictures: the record names no region"]
    try:
        volume = volume or _load_recorded(record, name)
    except (InputError, OSError) as error:
        return None, [f"no viewer and no pictures, as the scan cannot be read: {error}"]
    if record.get("scan_sha256") not in (None, scan_sha256(volume)):
        lines.append(_other_scan(record))
    try:
        return _read_labels(folder, name, record, volume, region), lines
    except (InputError, OSError) as error:
        empty = np.zeros(volume.data.shape, np.uint8)
        return Shown(volume, empty, empty), [*lines, f"no labels are shown: {error}"]


def _load_recorded(record: Mapping[str, Any], name: str) -> Volume:
    """Load the scan of a record from where it was.

    Raises:
        InputError: If it is gone, or unusable.
    """
    path, series = find_recorded(record, name) or (recorded_path(record, name), None)
    if not path.exists():
        raise InputError(path, "no such scan", f"the scan of {name}")
    return load(series or path)


def _other_scan(record: Mapping[str, Any]) -> str:
    if is_synthesized(record):
        return "shown is the scan's file; the network was given an image of water and fat"
    return "the scan has changed since it was segmented: viewer and pictures show it as it is now"


def _read_labels(
    folder: Path, name: str, record: Mapping[str, Any], volume: Volume, region: Region
) -> Shown:
    """Read labels and their sides: as the numbers state them, else as the tables have them.

    Raises:
        InputError: If there is no label map, or none of this scan.
    """
    found = _decode(folder, LABELS.format(name=name), record, volume, region)
    try:
        basis = _decode(folder, ORIGINAL.format(name=name), record, volume, region)
    except (InputError, OSError):
        basis = found
    sides = find_sides(volume, basis.labels, region).voxels
    return Shown(volume, found.labels, np.where(found.sides > 0, found.sides, sides))


def _decode(
    folder: Path, file: str, record: Mapping[str, Any], volume: Volume, region: Region
) -> Decoded:
    stored = read_volume(folder / file)
    own = find_table(numbering_of(folder, record) or "muscles")
    table = table_in_header(stored, file) or own
    return decode(stored, volume, table, region.name, folder / file)


class Packed(NamedTuple):
    """A scan and its labels as the viewer reads them: NIfTI, gzip, base64.

    Attributes:
        image: 256 grays, 0 to white.
        labels: Muscle numbers, those of the right with `RIGHT` added.
        step: Intensity of a gray.
        first: Index in the file of the first voxel.
    """

    image: str
    labels: str
    step: float
    first: tuple[int, int, int]


def pack(shown: Shown, box: tuple[slice, slice] | None = None) -> Packed:
    """Pack a scan for the viewer.

    Args:
        shown: The scan and its labels.
        box: Part of the axial plane, of the canonical view; None for all of it.
    """
    volume, view = shown.volume, shown.volume.lps
    white = view.body_percentile(WHITE_PERCENTILE)
    step = white / 255 if white > 0 else 1.0
    part = _in_file(view, box or (slice(None), slice(None)))
    first = part[0].start, part[1].start, part[2].start
    affine = volume.affine @ nib.affines.from_matvec(np.eye(3), first)
    scan, labels, sides = (
        array[part].T for array in (view.to_file(view.data), shown.labels, shown.sides)
    )
    shape = scan.T.shape
    image = _nifti((_to_gray(plane, step) for plane in scan), shape, affine)
    codes = _nifti(map(_to_codes, labels, sides), shape, affine)
    return Packed(image, codes, step, first)


def _to_gray(plane: Float[np.ndarray, "j i"], step: float) -> UInt8[np.ndarray, "j i"]:
    scaled = plane * np.float32(1 / step) + np.float32(0.5)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _to_codes(
    labels: UInt8[np.ndarray, "j i"], sides: UInt8[np.ndarray, "j i"]
) -> UInt8[np.ndarray, "j i"]:
    return labels + ((labels > 0) & (sides == 2)) * np.uint8(RIGHT)


def _in_file(view: LpsView, box: tuple[slice, slice]) -> tuple[slice, slice, slice]:
    """Return a box of all slices along the axes of the file."""
    parts = []
    for axis, direction in view.orientation:
        size = view.data.shape[int(axis)]
        start, stop, _ = (*box, slice(None))[int(axis)].indices(size)
        parts.append(slice(start, stop) if direction > 0 else slice(size - stop, size - start))
    return parts[0], parts[1], parts[2]


def _nifti(
    planes: Iterable[UInt8[np.ndarray, "j i"]],
    shape: tuple[int, ...],
    affine: Float[np.ndarray, "4 4"],
) -> str:
    """Return a file of voxels that come in its order, packed as they come."""
    header = nib.Nifti1Image(np.broadcast_to(np.uint8(0), shape), affine).header
    header.set_data_offset(len(header.binaryblock) + len(_NO_EXTENSION))
    header.set_slope_inter(1, 0)
    packed = BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=_LEVEL, mtime=0) as file:
        file.write(header.binaryblock + _NO_EXTENSION)
        for plane in planes:
            file.write(np.ascontiguousarray(plane).data)
    return base64.b64encode(packed.getbuffer()).decode()
