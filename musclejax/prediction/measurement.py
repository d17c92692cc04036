"""Volume, cross-section, estimated DSC and fat fraction: per muscle, side and slice."""

import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.prediction.estimate import estimate
from musclejax.prediction.evidence import add_up
from musclejax.prediction.result import Segmentation
from musclejax.scan.volume import Volume

FatFraction = Float[np.ndarray, "i j k"]

_WHICH = ["muscle", "name", "side", "label", "voxels"]
_ESTIMATE = ["estimated_dsc", "estimated_dsc_low", "estimated_dsc_high", "flag"]
_FAT = [
    "fat_fraction",
    "fat_fraction_eroded",
    "fat_fraction_sd",
    "fat_fraction_median",
    "fat_fraction_voxels",
    "fat_fraction_coverage",
]
MUSCLE_COLUMNS = [
    *_WHICH,
    "volume_ml",
    "mean_area_cm2",
    "max_area_cm2",
    "slices",
    *_ESTIMATE,
    "truncated",
    *_FAT,
    "warnings",
]
_LEVEL = ["level", "level_sd", "in_range"]
SLICE_COLUMNS = ["slice", "z_mm", *_LEVEL, *_WHICH, "area_cm2", *_ESTIMATE, *_FAT, "warnings"]


def measure_muscles(result: Segmentation, fat_fraction: FatFraction | None = None) -> pd.DataFrame:
    """Measure muscles: one row per muscle and side, present or not.

    Args:
        result: A segmented scan.
        fat_fraction: Map on the scan's grid, 0 to 1, NaN where unknown; see `load_fat_fraction`.

    Returns:
        Columns muscle, name, side, label, voxels, volume_ml, mean_area_cm2 (over the slices that
        show the muscle), max_area_cm2, slices, estimated_dsc, estimated_dsc_low and
        estimated_dsc_high (see `estimate`; NaN if there is none), flag (whether the estimate is
        low), truncated (whether the field of view cuts the muscle off, so that its volume is a part
        only),
        fat_fraction and fat_fraction_eroded (means, 0 to 1; eroded: without the outermost pixel
        in plane, which is shared with the neighbors), fat_fraction_sd (over voxels, divided by
        their number), fat_fraction_median, fat_fraction_voxels (those that the map knows) and
        fat_fraction_coverage (their share, 0 to 1), warnings (of the whole result, joined by
        "; "). All fat fractions but eroded are of the whole muscle.

    Raises:
        InputError: If the map is of another shape.
    """
    sums = _sums(result, fat_fraction)
    volume = result.volume
    area = sums["voxels"] * _pixel_cm2(volume)
    groups = sums.assign(area=area).groupby(["side", "label"])
    table = groups.sum()
    table["slices"] = groups.size()
    table["mean_area_cm2"] = groups["area"].mean()
    table["max_area_cm2"] = groups["area"].max()
    muscles = result.shown_muscles
    every = [(side, m.number) for side in range(1, len(anatomy.SIDES) + 1) for m in muscles]
    table = table.reindex(pd.MultiIndex.from_tuples(every, names=["side", "label"]), fill_value=0)
    table["volume_ml"] = table["voxels"] * volume.voxel_mm3 / 1000
    table["truncated"] = _truncated(result).reindex(table.index, fill_value=False)
    table = _add_estimates(table, result, by_slice=False)
    if fat_fraction is not None:
        table = table.join(_fat_spread(result, fat_fraction, ["side", "label"]))
    return _finish(table, result)[MUSCLE_COLUMNS]


def measure_slices(result: Segmentation, fat_fraction: FatFraction | None = None) -> pd.DataFrame:
    """Measure sections: one row per muscle, side and slice in which the muscle is present.

    A limb without muscle in a slice has a row without muscle, if its level is known.

    Args:
        result: A segmented scan.
        fat_fraction: As for `measure_muscles`.

    Returns:
        Columns slice (index in the file, from 0), z_mm (height of the slice's middle in the
        scanner), level and level_sd (0 hip joint, 1 knee joint line, 2 ankle joint), in_range
        (whether the limb may show a muscle there; all three empty without levels), muscle, name,
        side, label, voxels, area_cm2; estimates, fat fractions and warnings as in
        `measure_muscles`.

    Raises:
        InputError: If the map is of another shape.
    """
    table = _sums(result, fat_fraction)
    volume = result.volume
    table["area_cm2"] = table["voxels"] * _pixel_cm2(volume)
    table = _add_estimates(table, result, by_slice=True)
    if fat_fraction is not None:
        table = table.join(_fat_spread(result, fat_fraction, ["slice", "side", "label"]))
    finished = _with_levels(_finish(table, result), result)
    finished["z_mm"] = heights_mm(volume)[finished["slice"]]
    return finished[SLICE_COLUMNS]


def _sums(result: Segmentation, fat_fraction: FatFraction | None) -> pd.DataFrame:
    """Return sums over voxels, per slice, side and label that is present."""
    if fat_fraction is not None and fat_fraction.shape != result.labels.shape:
        found, own = (" x ".join(map(str, a.shape)) for a in (fat_fraction, result.labels))
        raise InputError("fat_fraction", f"shape {found}", f"the scan's shape, {own}")
    axis = result.volume.axial_axis
    labels, sides = (np.moveaxis(a, axis, 0) for a in (result.labels, result.sides.voxels))
    # One code per slice, side and label, so that each sum is one pass of bincount.
    shape = len(labels), len(anatomy.SIDES) + 1, result.anatomy.num_classes
    code = (np.arange(shape[0])[:, None, None] * shape[1] + sides) * shape[2] + labels

    def total(mask: Bool[np.ndarray, "z r c"], values: np.ndarray | None = None) -> np.ndarray:
        weights = None if values is None else values[mask]
        return np.bincount(code[mask], weights, int(np.prod(shape)))

    muscle = labels > 0
    columns = {"voxels": total(muscle)}
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
    table["warnings"] = "; ".join(result.warnings)
    for name in ("fat", "fat_eroded"):
        mean = table[f"{name}_sum"] / table[f"{name}_voxels"] if f"{name}_sum" in table else np.nan
        table[name.replace("fat", "fat_fraction")] = mean
    if "fat_voxels" in table:
        table["fat_fraction_voxels"] = table["fat_voxels"]
        table["fat_fraction_coverage"] = table["fat_voxels"] / table["voxels"]
    return table.reindex(columns=table.columns.union(_FAT, sort=False))


def _with_levels(table: pd.DataFrame, result: Segmentation) -> pd.DataFrame:
    """Return a table of slices with their levels, and a row for each limb without muscle."""
    if result.levels is None:
        return table.assign(level=np.nan, level_sd=np.nan, in_range="")
    z, side = np.nonzero(np.isfinite(result.levels.level))
    levels = pd.DataFrame(
        {
            "slice": z,
            "side": np.array(anatomy.SIDES)[side],
            "level": result.levels.level[z, side],
            "level_sd": result.levels.sd[z, side],
            "in_range": result.levels.in_range[z, side],
        }
    )
    joined = table.merge(levels, how="outer", on=["slice", "side"])
    joined = joined.astype(dict.fromkeys(["muscle", "name", "warnings"], object))
    empty = joined["muscle"].isna()
    joined.loc[empty, ["muscle", "name", "warnings"]] = "", "", "; ".join(result.warnings)
    joined.loc[empty, ["label", "voxels", "area_cm2"]] = 0
    joined["flag"] = joined["flag"].eq(True)
    kinds = {"label": int, "voxels": int}
    return joined.astype(kinds).sort_values(["slice", "side", "label"], ignore_index=True)


def _add_estimates(table: pd.DataFrame, result: Segmentation, *, by_slice: bool) -> pd.DataFrame:
    """Add the estimated DSC of each row; empty, and nothing flagged, where there is none."""
    if result.evidence is None:
        return table.assign(**{**dict.fromkeys(_ESTIMATE, np.nan), "flag": False})
    sums = result.evidence if by_slice else add_up(result.evidence)
    found = estimate(sums, result.anatomy)
    names = ("slice", "side", "label") if by_slice else ("side", "label")
    index = [table.index.get_level_values(name).to_numpy() for name in names]
    z = (result.volume.lps.file_index(index[0]),) if by_slice else ()
    at = (*z, index[-2] - 1, index[-1])
    values = (found.dsc[at], found.low[at], found.high[at], found.flag[at])
    return table.assign(**dict(zip(_ESTIMATE, values, strict=True)))


def _fat_spread(result: Segmentation, fat_fraction: FatFraction, keys: list[str]) -> pd.DataFrame:
    """Return standard deviation and median of the map over the voxels of each group."""
    axis = result.volume.axial_axis
    labels, sides, fat = (
        np.moveaxis(a, axis, 0) for a in (result.labels, result.sides.voxels, fat_fraction)
    )
    known = (labels > 0) & np.isfinite(fat)
    voxels = {
        "slice": np.nonzero(known)[0],
        "side": sides[known],
        "label": labels[known],
        "fat": fat[known].astype(np.float64),
    }
    groups = pd.DataFrame(voxels).groupby(keys)["fat"]
    spread = {"fat_fraction_sd": groups.std(ddof=0), "fat_fraction_median": groups.median()}
    return pd.DataFrame(spread)


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


def heights_mm(volume: Volume) -> Float[np.ndarray, " z"]:
    """Return the height in the scanner of the middle of each axial slice."""
    middle = (np.array(volume.data.shape, float) - 1) / 2
    at = np.tile(middle, (volume.data.shape[volume.axial_axis], 1))
    at[:, volume.axial_axis] = np.arange(len(at))
    return np.asarray(nib.affines.apply_affine(volume.affine, at)[:, 2])


def _pixel_cm2(volume: Volume) -> float:
    return volume.pixel_mm2 / 100
