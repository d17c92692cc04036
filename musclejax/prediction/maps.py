"""Maps on the grid of a scan: of any unit, T2 in ms for example, with a name that columns have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from musclejax.errors import InputError
from musclejax.files import reading
from musclejax.prediction.result import Segmentation
from musclejax.scan.dicom_origin import differs_in
from musclejax.scan.series import Series
from musclejax.scan.study import find_scans, read_series, read_volume
from musclejax.scan.volume import Volume, check_affine, grids_differ_voxels, scan_name

FAT_FRACTION = "fat fraction"
"""Name of the map whose unit and place are checked; see `fat_fraction`."""
_SAME_GRID_VOXELS = 0.01
"""Source: ours."""
_ZERO_BLOCK_PX = 3
"""Zeros that join the rim of a slice by ways of this width are a mask: unknown, not free of fat."""


class ScanMap(NamedTuple):
    """A map on the scan's grid, in its own unit.

    Attributes:
        source: The file or folder.
        values: NaN where unknown.
        inside: The voxels in its field of view.
        warnings: What its header leaves open.
    """

    source: Path
    values: Float[np.ndarray, "i j k"]
    inside: Bool[np.ndarray, "i j k"]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The map of one scan, if there is one.

    Attributes:
        map: The map; None if there is none.
        required: Whether the scan fails if the map turns out to be unusable.
        warning: Why there is none; empty if none was requested.
    """

    map: ScanMap | None = None
    required: bool = False
    warning: str = ""


def load_map(path: str | Path, result: Segmentation) -> Float[np.ndarray, "i j k"]:
    """Load a map of any unit onto the grid of a segmented scan, for `measure_muscles`.

    Args:
        path: Anything that `scan.study.load` reads.
        result: The segmented scan. A map on another grid is interpolated linearly.

    Returns:
        Values of the file, NaN where unknown: outside the map, and in zeros that surround the body.

    Raises:
        InputError: If the file is unusable, of another patient, or does not overlap the scan.
    """
    return read_map(path, result.volume, "further").values


def find_map(path: Path | None, names: Sequence[str], volume: Volume, what: str) -> Found:
    """Read the map of a scan.

    Args:
        path: A map, or a folder of maps.
        names: Names of the scan; in a folder of maps one map has one of them.
        volume: The scan.
        what: What the map shows.

    Raises:
        InputError: If the only map is unusable. In a folder of maps that is a warning.
    """
    if path is None:
        return Found()
    single = is_single(path)
    try:
        found = path if single else named(path, names)
        return Found(read_map(found, volume, what), single)
    except InputError as error:
        if single:
            raise
        return Found(warning=unusable(error, what))


def unusable(error: InputError, what: str) -> str:
    """Return the warning of a map that is missing or unusable."""
    return f"no {what} is measured: {error}"


def read_map(source: str | Path | Series, volume: Volume, what: str = FAT_FRACTION) -> ScanMap:
    """Read a map and bring it onto a scan's grid.

    Args:
        source: Anything that `scan.study.load` reads.
        volume: The scan.
        what: What it shows, for warnings.

    Raises:
        InputError: If the file is unusable, of another patient, or of another place.
    """
    path = source.path if isinstance(source, Series) else Path(source)
    with reading(path, "map"):
        image = read_series(source) if isinstance(source, Series) else read_volume(path)
    check_affine(image, path)
    values, inside = onto_grid(image, volume, _is_known(image))
    if not inside.any():
        raise InputError(path, "a map that does not overlap the scan", "a map of the same place")
    if not np.isfinite(values).any():
        raise InputError(path, "no value on the scan", "a map with values there")
    if differs_in("PatientID", volume, image):
        found = "a DICOM map of another patient (PatientID)"
        raise InputError(path, found, "a map of the scan's patient")
    return ScanMap(path, values, inside, tuple(_reading_warnings(image, volume, what)))


def _reading_warnings(image: Volume, volume: Volume, what: str) -> list[str]:
    name = f"{what.replace(' ', '-')} map"
    warnings = [f"{name}: {text}" for text in image.warnings]
    if differs_in("FrameOfReferenceUID", volume, image):
        text = f"the {name} has another frame of reference than the scan"
        warnings.append(f"{text}: see that they overlay")
    return warnings


def onto_grid(
    image: Volume, volume: Volume, known: Bool[np.ndarray, "a b c"]
) -> tuple[Float[np.ndarray, "i j k"], Bool[np.ndarray, "i j k"]]:
    """Interpolate an image linearly at a scan's voxels.

    A voxel of the image reaches to its faces, so that rounded affines lose no rim, and a single
    slice has its thickness. Unknown neighbors do not count unless they have most of the weight.

    Args:
        image: The image.
        volume: The scan.
        known: The voxels of the image that count.

    Returns:
        The values, NaN where unknown; and the voxels within the image's field of view.
    """
    data = np.where(known, image.data, np.float32(np.nan)).astype(np.float32)
    apart = grids_differ_voxels(volume.data.shape, volume.affine, data.shape, image.affine)
    if apart < _SAME_GRID_VOXELS:
        return data, np.ones(data.shape, bool)
    shares = np.isfinite(data).astype(np.float32)
    filled = np.where(shares > 0, data, np.float32(0))
    matrix = np.linalg.solve(image.affine, volume.affine)
    last, edge = np.array(data.shape)[:, None] - 1, 0.5 + _SAME_GRID_VOXELS
    i, j, depth = volume.data.shape
    plane = np.stack([n.ravel() for n in np.indices((i, j, 1))]).astype(float)
    values = np.full(volume.data.shape, np.nan, np.float32)
    inside = np.zeros(volume.data.shape, bool)
    for k in range(depth):
        plane[2] = k
        at = matrix[:3, :3] @ plane + matrix[:3, 3:]
        within = ((at >= -edge) & (at <= last + edge)).all(0)
        at = np.clip(at, 0, last)[:, within]
        total, share = (ndimage.map_coordinates(a, at, order=1) for a in (filled, shares))
        inside[..., k] = within.reshape(i, j)
        values[..., k][inside[..., k]] = np.where(
            share >= 0.5, total / np.maximum(share, 0.5), np.float32(np.nan)
        )
    return values, inside


def _is_known(image: Volume) -> Bool[np.ndarray, "i j k"]:
    """Return where a map has values: not NaN, and not the zeros of a mask around the body."""
    axis = image.axial_axis
    zeros = np.moveaxis(image.data == 0, axis, 0)
    block, in_plane = np.ones((1, _ZERO_BLOCK_PX, _ZERO_BLOCK_PX)), np.zeros((3, 3, 3))
    in_plane[1] = 1
    # What lies beyond the rim counts as zero, so that a mask of one pixel is one.
    padded = np.pad(zeros, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    parts, count = ndimage.label(ndimage.binary_opening(padded, block), in_plane)
    rim = np.ones(parts.shape[1:], bool)
    rim[1:-1, 1:-1] = False
    joins_rim = np.zeros(count + 1, bool)
    joins_rim[parts[:, rim]] = True
    joins_rim[0] = False
    masked = joins_rim[parts][:, 1:-1, 1:-1]
    return np.isfinite(image.data) & ~np.moveaxis(masked, 0, axis)


@lru_cache(maxsize=16)
def find_maps(path: Path) -> tuple[Path, ...]:
    """Return the maps that a path means; searched once for all scans."""
    return tuple(find_scans(path))


def is_single(path: Path) -> bool:
    """Return whether a path means one map, not a folder with one per scan."""
    return find_maps(path) == (path,)


def named(folder: Path, names: Sequence[str]) -> Path:
    """Return the map in a folder that has one of the names of a scan.

    Raises:
        InputError: If it is not exactly one.
    """
    own = [path for path in find_maps(folder) if scan_name(path) in names]
    name = " or ".join(dict.fromkeys(names))
    if not own:
        raise InputError(folder, f"no map named {name}", "a map per scan, named like it")
    if len(own) > 1:
        found = " and ".join(str(path) for path in own)
        raise InputError(folder, found, f"one map named {name}")
    return own[0]
