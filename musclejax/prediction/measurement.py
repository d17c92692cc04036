"""Volume, cross-section, confidence and fat fraction: per muscle, side and slice."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from nibabel.processing import resample_from_to

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.prediction.engines import STEPS
from musclejax.prediction.result import Segmentation
from musclejax.scan.nifti import load_nifti
from musclejax.scan.volume import Volume

FatFraction = Float[np.ndarray, "i j k"]

_WHICH = ["muscle", "name", "side", "label", "voxels"]
_FAT = ["fat_fraction", "fat_fraction_eroded"]
MUSCLE_COLUMNS = [
    *_WHICH,
    "volume_ml",
    "mean_area_cm2",
    "max_area_cm2",
    "slices",
    "confidence",
    "truncated",
    *_FAT,
]
SLICE_COLUMNS = ["slice", "z_mm", *_WHICH, "area_cm2", "confidence", *_FAT]

_FIXED = 1e-3
"""Affines closer than this, in mm, are the same grid."""


def measure_muscles(result: Segmentation, fat_fraction: FatFraction | None = None) -> pd.DataFrame:
    """Measure muscles: one row per muscle and side, present or not.

    Args:
        result: A segmented scan.
        fat_fraction: Map on the scan's grid, 0 to 1, NaN where unknown; see `load_fat_fraction`.

    Returns:
        Columns muscle, name, side, label, voxels, volume_ml, mean_area_cm2 (over the slices that
        show the muscle), max_area_cm2, slices, confidence (mean, 0 to 1), truncated (whether the
        field of view cuts the muscle off, so that its volume is a part only),
        fat_fraction and fat_fraction_eroded (0 to 1; eroded: without the outermost pixel in
        plane, which is shared with the neighbors).
    """
    sums = _sums(result, fat_fraction)
    volume = result.volume
    area = sums["voxels"] * _pixel_cm2(volume)
    groups = sums.assign(area=area).groupby(["side", "label"])
    table = groups.sum()
    table["slices"] = groups.size()
    table["mean_area_cm2"] = groups["area"].mean()
    table["max_area_cm2"] = groups["area"].max()
    muscles = result.anatomy.muscles
    every = [(side, m.number) for side in range(1, len(anatomy.SIDES) + 1) for m in muscles]
    table = table.reindex(pd.MultiIndex.from_tuples(every, names=["side", "label"]), fill_value=0)
    table["volume_ml"] = table["voxels"] * volume.voxel_mm3 / 1000
    table["truncated"] = _truncated(result).reindex(table.index, fill_value=False)
    return _finish(table, result)[MUSCLE_COLUMNS]


def measure_slices(result: Segmentation, fat_fraction: FatFraction | None = None) -> pd.DataFrame:
    """Measure sections: one row per muscle, side and slice in which the muscle is present.

    Args:
        result: A segmented scan.
        fat_fraction: As for `measure_muscles`.

    Returns:
        Columns slice (index in the file, from 0), z_mm (height of the slice's middle in the
        scanner), muscle, name, side, label, voxels, area_cm2, confidence, fat_fraction and
        fat_fraction_eroded as in `measure_muscles`.
    """
    table = _sums(result, fat_fraction)
    volume = result.volume
    table["z_mm"] = _heights_mm(volume)[table.index.get_level_values("slice")]
    table["area_cm2"] = table["voxels"] * _pixel_cm2(volume)
    return _finish(table, result)[SLICE_COLUMNS]


def load_fat_fraction(path: str | Path, volume: Volume) -> FatFraction:
    """Load a fat-fraction map and bring it onto the scan's grid.

    Args:
        path: NIfTI; values 0 to 1, or 0 to 100 if any reaches beyond 2.
        volume: The scan. A map on another grid is resampled linearly in world coordinates.

    Returns:
        Values 0 to 1, NaN where the map is unknown.

    Raises:
        InputError: If the file is unusable, its values are no fractions, or it shows another
            place.
    """
    image = load_nifti(Path(path))
    data = image.data.astype(np.float32)
    known = data[np.isfinite(data)]
    top = float(np.percentile(known, 99.9)) if known.size else 0.0
    scale = 100 if top > 2 else 1
    if not known.size or top > 110 or np.percentile(known, 1) < -20:
        extent = f"{np.min(known):.3g} to {np.max(known):.3g}" if known.size else ""
        found = f"values from {extent}" if extent else "only NaN"
        raise InputError(path, found, "fractions from 0 to 1, or percent from 0 to 100")
    data = data / np.float32(scale)
    same_grid = data.shape == volume.data.shape and np.allclose(
        image.affine, volume.affine, atol=_FIXED
    )
    if same_grid:
        return data
    target = (volume.data.shape, volume.affine)
    moved = resample_from_to(nib.Nifti1Image(data, image.affine), target, order=1, cval=np.nan)
    resampled = np.asarray(moved.dataobj, np.float32)
    if not np.isfinite(resampled).any():
        raise InputError(path, "a map that does not overlap the scan", "a map of the same place")
    return resampled


def _sums(result: Segmentation, fat_fraction: FatFraction | None) -> pd.DataFrame:
    """Return sums over voxels, per slice, side and label that is present."""
    axis = result.volume.axial_axis
    labels, sides, confidence = (
        np.moveaxis(a, axis, 0) for a in (result.labels, result.sides.voxels, result.confidence)
    )
    # One code per slice, side and label, so that each sum is one pass of bincount.
    shape = len(labels), len(anatomy.SIDES) + 1, result.anatomy.num_classes
    code = (np.arange(shape[0])[:, None, None] * shape[1] + sides) * shape[2] + labels

    def total(mask: Bool[np.ndarray, "z r c"], values: np.ndarray | None = None) -> np.ndarray:
        weights = None if values is None else values[mask]
        return np.bincount(code[mask], weights, int(np.prod(shape)))

    muscle = labels > 0
    columns = {"voxels": total(muscle), "confidence_sum": total(muscle, confidence)}
    if fat_fraction is not None:
        fat = np.moveaxis(fat_fraction, axis, 0)
        known = muscle & np.isfinite(fat)
        for name, mask in (("fat", known), ("fat_eroded", known & _interior(labels))):
            columns[f"{name}_voxels"] = total(mask)
            columns[f"{name}_sum"] = total(mask, fat)
    names = ["slice", "side", "label"]
    table = pd.DataFrame(
        columns, index=pd.MultiIndex.from_product([range(n) for n in shape], names=names)
    )
    return table[table["voxels"] > 0]


def _finish(table: pd.DataFrame, result: Segmentation) -> pd.DataFrame:
    """Turn sums into means, and numbers of labels and sides into names."""
    table = table.reset_index()
    muscles = {m.number: m for m in result.anatomy.muscles}
    table["muscle"] = [muscles[n].abbreviation for n in table["label"]]
    table["name"] = [muscles[n].name for n in table["label"]]
    table["side"] = [anatomy.SIDES[s - 1] for s in table["side"]]
    table["confidence"] = table["confidence_sum"] / table["voxels"] / STEPS
    for name in ("fat", "fat_eroded"):
        mean = table[f"{name}_sum"] / table[f"{name}_voxels"] if f"{name}_sum" in table else np.nan
        table[name.replace("fat", "fat_fraction")] = mean
    return table


def _truncated(result: Segmentation) -> pd.Series:
    """Return, by side and label, whether any voxel lies on the rim of the covered voxels."""
    covered = result.covered
    rim = np.zeros_like(covered)
    for axis in range(3):
        seen = np.flatnonzero(covered.any(tuple({0, 1, 2} - {axis})))
        for end in (seen[0], seen[-1]):
            np.moveaxis(rim, axis, 0)[end] = True
    edge = rim & (result.labels > 0)
    pairs = np.stack([result.sides.voxels[edge], result.labels[edge]], axis=1)
    index = pd.MultiIndex.from_tuples(
        map(tuple, np.unique(pairs, axis=0).tolist()), names=["side", "label"]
    )
    return pd.Series(True, index=index)


def _interior(labels: UInt8[np.ndarray, "z r c"]) -> Bool[np.ndarray, "z r c"]:
    """Return the pixels whose four neighbors in plane have the same label."""
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)))
    inner = np.ones(labels.shape, bool)
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        r, c = labels.shape[1:]
        inner &= padded[:, rows : rows + r, columns : columns + c] == labels
    return inner


def _heights_mm(volume: Volume) -> Float[np.ndarray, " z"]:
    """Return the height in the scanner of the middle of each axial slice."""
    middle = (np.array(volume.data.shape, float) - 1) / 2
    at = np.tile(middle, (volume.data.shape[volume.axial_axis], 1))
    at[:, volume.axial_axis] = np.arange(len(at))
    return np.asarray(nib.affines.apply_affine(volume.affine, at)[:, 2])


def _pixel_cm2(volume: Volume) -> float:
    i, j = (s for axis, s in enumerate(volume.spacing_mm) if axis != volume.axial_axis)
    return i * j / 100
