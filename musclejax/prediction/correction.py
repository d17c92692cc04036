"""Labels that a person changed or that come from elsewhere, as a result that can be measured."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from musclejax import anatomy
from musclejax.data.decode_labels import Decoded
from musclejax.prediction.result import Correction, Levels, Segmentation
from musclejax.scan.sides import Sides, find_sides
from musclejax.scan.volume import Volume

ESTIMATES = ("estimated_dsc", "estimated_dsc_low", "estimated_dsc_high", "flag", "truncated")
"""Columns that only the network's own labels can fill; see `keep_estimates`."""
STATED = "label numbers"
"""Method of `Sides` where the label numbers state them."""
_MIRRORED = 0.5
"""Share of labeled voxels on the other side above which the header is doubted. Source: ours."""
Key = tuple[str, str]
"""Abbreviation of a muscle, and its side."""


def make_result(
    volume: Volume,
    found: Decoded,
    *,
    by: str,
    original: UInt8[np.ndarray, "i j k"] | None = None,
    levels: Levels | None = None,
    weights: str = "none",
) -> Segmentation:
    """Return given labels as a segmented scan, marked as corrected.

    Left and right come from the label numbers if they state them; else from the affine and the
    muscles, as `segment` finds them, by the original labels if there are any.

    Args:
        volume: The scan.
        found: Its labels.
        by: File that they come from.
        original: Labels as the networks made them, in our numbers.
        levels: Of the slices, if they are known.
        weights: Name of the weights that made the original.
    """
    region = anatomy.REGIONS[found.region]
    basis = found.labels if original is None or not original.any() else original
    sides = _stated(find_sides(volume, basis, region), found)
    return Segmentation(
        volume=volume,
        labels=found.labels,
        confidence=np.zeros_like(found.labels),
        sides=sides,
        covered=np.ones(found.labels.shape, bool),
        region=found.region,
        region_probability=None,
        weights=weights,
        trained=True,
        levels=levels,
        correction=Correction(original, by),
        warnings=tuple(dict.fromkeys((*sides.warnings, *found.warnings))),
    )


def _stated(sides: Sides, found: Decoded) -> Sides:
    """Return sides with those that the label numbers state, and a warning where both disagree."""
    stated = found.sides > 0
    if not stated.any():
        return sides
    total, apart = int(stated.sum()), int((sides.voxels != found.sides)[stated].sum())
    warnings = sides.warnings
    if apart > _MIRRORED * total:
        text = "left and right of the label numbers are not those of the header: check both"
        warnings = (*warnings, text)
    elif apart and sides.method != "position":
        text = f"{apart} voxels lie in the other limb than their label number says"
        warnings = (*warnings, text)
    voxels = np.where(stated, found.sides, sides.voxels)
    return replace(sides, voxels=voxels, method=STATED, warnings=warnings)


def changed_shares(result: Segmentation) -> dict[Key, float]:
    """Return the share of voxels changed of each muscle that a person changed, the largest first.

    Voxels that differ from the original, over those of the original; infinite of a muscle that
    the original lacks. Without an original, all muscles are returned with NaN.
    """
    muscles = result.anatomy.muscles
    keys = [(m.abbreviation, side) for side in anatomy.SIDES for m in muscles]
    correction = result.correction
    if correction is None:
        return {}
    if correction.original is None:
        return dict.fromkeys(keys, float("nan"))
    shares = _shares(result.labels, correction.original, result.sides.voxels, len(muscles) + 1)
    found = {key: float(share) for key, share in zip(keys, shares[:, 1:].ravel(), strict=True)}
    changed = sorted((key for key, share in found.items() if share), key=lambda k: -found[k])
    return {key: found[key] for key in changed}


def _shares(
    labels: UInt8[np.ndarray, "i j k"],
    original: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    classes: int,
) -> Float[np.ndarray, "sides {classes}"]:
    at = np.nonzero(labels | original)
    now, before, side = labels[at], original[at], sides[at].astype(np.intp)

    def count(values: np.ndarray) -> np.ndarray:
        shape = len(anatomy.SIDES) + 1, classes
        code = side * classes + values
        return np.bincount(code, minlength=shape[0] * shape[1]).reshape(shape)[1:]

    differ = now != before
    counted = count(before)
    changed = count(np.where(differ, now, 0)) + count(np.where(differ, before, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(changed > 0, changed / counted, 0)


def keep_estimates(
    table: pd.DataFrame, earlier: pd.DataFrame, changed: Mapping[Key, float]
) -> pd.DataFrame:
    """Return a table with the network's estimates of the muscles that nobody changed.

    Args:
        table: Of muscles, or of slices, as measured now.
        earlier: The same table as `segment` or an earlier `measure` wrote it.
        changed: As of `changed_shares`.
    """
    keys = [name for name in ("slice", "muscle", "side") if name in table.columns]
    names = [name for name in ESTIMATES if name in table.columns and name in earlier.columns]
    if not names or not set(keys) <= set(earlier.columns):
        return table
    known = earlier.drop_duplicates(keys).set_index(keys)[names]
    found = known.reindex(pd.MultiIndex.from_frame(table[keys])).reset_index(drop=True)
    pairs = pd.Series(list(zip(table["muscle"], table["side"], strict=True)), index=table.index)
    groups = table["kind"].eq("group")
    kept = ~pairs.isin(list(changed)) & table["muscle"].ne("") & ~groups
    kept &= found.notna().any(axis=1).to_numpy()
    filled = table.copy()
    for name in names:
        values = found[name].set_axis(table.index)
        same = values.eq(True) if name in ("flag", "truncated") else values.astype(float)
        filled[name] = same.where(kept, table[name])
    return _of_groups(filled, keys)


def _of_groups(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return a table whose groups have what holds for a muscle of them."""
    names = [name for name in ("flag", "truncated") if name in table.columns]
    group_of = {
        muscle: group.name
        for groups in anatomy.GROUPS.values()
        for group in groups
        for muscle in group.muscles
    }
    muscles = table.assign(muscle=table["muscle"].map(group_of))[table["kind"].eq("muscle")]
    found = muscles.dropna(subset=["muscle"]).groupby(keys)[names].any()
    groups = table["kind"].eq("group")
    at = pd.MultiIndex.from_frame(table.loc[groups, keys])
    for name in names:
        table.loc[groups, name] = found[name].reindex(at, fill_value=False).to_numpy()
    return table


def levels_in(table: pd.DataFrame, slices: int, classes: int) -> Levels | None:
    """Return the levels in a table of slices; None if it has none, or of other slices.

    Args:
        table: `NAME_slices.csv`.
        slices: Of the scan.
        classes: Label numbers of its region; which are possible is not known any more.
    """
    columns = {"slice", "side", "level", "level_sd", "in_range"}
    if not columns <= set(table.columns):
        return None
    known = table.dropna(subset=["level"]).drop_duplicates(["slice", "side"])
    rows, side = known["slice"].to_numpy(), known["side"].map(anatomy.SIDES.index).to_numpy()
    if not len(known) or rows.max() >= slices:
        return None
    level, sd = (np.full((slices, len(anatomy.SIDES)), np.nan) for _ in range(2))
    in_range = np.zeros(level.shape, bool)
    level[rows, side], sd[rows, side] = known["level"], known["level_sd"]
    in_range[rows, side] = known["in_range"].astype(str).eq("True")
    return Levels(level, sd, in_range, np.ones((*level.shape, classes), bool))
