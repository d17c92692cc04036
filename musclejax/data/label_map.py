"""Label maps on the grid of their scan, in whole numbers."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Num

from musclejax.errors import InputError, listed
from musclejax.scan.volume import Volume, grids_differ_voxels, reorient

APART_VOXELS = 0.1
"""How far a corner of the labels may lie from that of the scan. Source: ours; rounded headers
differ by 0.03 (0.02 mm), a grid that is shifted by half a voxel must not pass."""
WHOLE = 0.01
"""How far a label value may be from a whole number. Source: ours; a slope of 0.001 leaves 2e-7."""


def to_scan_order(labels: Volume, scan: Volume, path: Path) -> Num[np.ndarray, "i j k"]:
    """Return label values in the order of the scan's array.

    Labels on the scan's grid whose axes run in another order or direction (as after "reorient to
    canonical") are reoriented, which loses nothing.

    Raises:
        InputError: If they lie on another grid.
    """
    found = [labels, *_turned(labels, scan)]
    for volume in found:
        if _apart_voxels(volume, scan) <= APART_VOXELS:
            return volume.data
    same_shape = [v for v in found if v.data.shape == scan.data.shape]
    remedy = "Resample the labels to the image, nearest neighbor."
    if not same_shape:
        shapes = [" x ".join(map(str, v.data.shape)) for v in (labels, scan)]
        raise InputError(path, f"shape {shapes[0]}", f"the image's shape, {shapes[1]}", remedy)
    apart, nearest = min(((_apart_voxels(v, scan), v) for v in same_shape), key=lambda p: p[0])
    if not np.isfinite(apart):
        found_affine = "an affine that is singular or not finite, its own or the image's"
    else:
        far_mm = _apart_mm(nearest, scan)
        found_affine = f"an affine that differs from the image's by up to {far_mm:.3g} mm"
        found_affine += f" ({apart:.2g} voxels)"
    if labels.warnings:  # a header that disagrees with itself is mended, not resampled
        remedy = f"Mend its header: {'; '.join(labels.warnings)}."
    raise InputError(path, found_affine, "the image's affine", remedy)


def _turned(labels: Volume, scan: Volume) -> list[Volume]:
    """Return labels whose axes run like the scan's; nothing if no reorientation does that."""
    try:
        between = np.linalg.solve(scan.affine, labels.affine)
        orientation = nib.io_orientation(between)
    except np.linalg.LinAlgError:
        return []
    if not np.isfinite(orientation).all():
        return []
    back = nib.orientations.inv_ornt_aff(orientation, labels.data.shape)
    turned = replace(labels, data=reorient(labels.data, orientation), affine=labels.affine @ back)
    return [turned]


def _apart_voxels(labels: Volume, scan: Volume) -> float:
    return grids_differ_voxels(labels.data.shape, labels.affine, scan.data.shape, scan.affine)


def _apart_mm(labels: Volume, scan: Volume) -> float:
    corners = np.array([[*c, 1] for c in product(*((0, n - 1) for n in scan.data.shape))])
    return float(np.linalg.norm((labels.affine - scan.affine) @ corners.T, axis=0).max())


def whole_numbers(labels: Num[np.ndarray, "i j k"], path: Path) -> Num[np.ndarray, "i j k"]:
    """Return label values rounded to the whole numbers that they mean, up to `WHOLE` away.

    Raises:
        InputError: If a value is none.
    """
    whole = np.rint(labels)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(labels - whole) <= WHOLE)  # NaN and infinity too
    if off.any():
        shown = listed(f"{v:.9g}" for v in np.unique(labels[off]))
        remedy = "Resample label maps by nearest neighbor only."
        raise InputError(path, f"label values {shown}", "whole numbers", remedy)
    return whole
