"""Volume, cross-section, fat and other maps: per muscle, group of muscles, side and slice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.prediction.estimate import Estimates, estimate
from musclejax.prediction.evidence import add_up
from musclejax.prediction.places import PERCENT, between, find_places, heights_mm
from musclejax.prediction.result import Segmentation
from musclejax.prediction.voxels import (
    Counts,
    Spread,
    Voxels,
    count_keys,
    find_voxels,
    members_of,
    ratio,
)

FatFraction = Float[np.ndarray, "i j k"]
Maps = Mapping[str, Float[np.ndarray, "i j k"]]
"""Name -> map on the scan's grid, NaN where unknown."""
NO_MAPS: Maps = MappingProxyType({})

_WHICH = ["muscle", "name", "kind", "side", "label", "voxels"]
_ESTIMATE = ["estimated_dsc", "estimated_dsc_low", "estimated_dsc_high", "flag"]
_FAT = [
    "fat_fraction",
    "fat_fraction_eroded",
    "fat_fraction_sd",
    "fat_fraction_median",
    "fat_fraction_voxels",
    "fat_fraction_coverage",
]
_CORRECTION = ["corrected", "changed_share"]
MUSCLE_COLUMNS = [
    *_WHICH,
    "volume_ml",
    "mean_area_cm2",
    "max_area_cm2",
    "slices",
    *_ESTIMATE,
    "truncated",
    *_FAT,
    "lean_ml",
    "fat_ml",
    *(f"area_{percent}_cm2" for percent in PERCENT),
    *_CORRECTION,
    "warnings",
]
_LEVEL = ["level", "level_sd", "in_range"]
SLICE_COLUMNS = [
    *("slice", "z_mm", *_LEVEL, *_WHICH, "area_cm2", *_ESTIMATE, *_FAT),
    *("lean_area_cm2", "fat_area_cm2", *_CORRECTION, "warnings"),
]
"""Columns without further maps; these have theirs, of `MAP_FIGURES`, before the warnings."""
MAP_FIGURES = ("mean", "sd", "median", "voxels")
"""Figures of a map; its columns are MAP_FIGURE."""

At = tuple[np.ndarray, ...]
"""Indices of sides and keys, or of slices, sides and keys: those of the rows of a table."""


def measure_muscles(
    result: Segmentation, fat_fraction: FatFraction | None = None, maps: Maps = NO_MAPS
) -> pd.DataFrame:
    """Measure muscles and groups: one row per muscle and side, present or not; then the groups.

    Args:
        result: A segmented scan.
        fat_fraction: Map on the scan's grid, 0 to 1, NaN where unknown; see `load_fat_fraction`.
        maps: Further maps by name, on the same grid; see `load_map`.

    Returns:
        Columns muscle, name, kind ("muscle" or "group"), side, label (empty for groups), voxels,
        volume_ml, mean_area_cm2 (over the slices that show the muscle), max_area_cm2, slices,
        estimated_dsc, estimated_dsc_low and estimated_dsc_high (see `estimate`; NaN if there is
        none, and for groups), flag (whether the estimate, of a group that of one of its muscles,
        is low), truncated (whether the field of view cuts the muscle off, so that its volume is a
        part only),
        fat_fraction and fat_fraction_eroded (means, 0 to 1; eroded: without the outermost pixel of
        each muscle in plane, which is shared with the neighbors), fat_fraction_sd (over voxels,
        divided by their number), fat_fraction_median, fat_fraction_voxels (those that the map
        knows) and fat_fraction_coverage (their share, 0 to 1), lean_ml and fat_ml (volume times
        1 - fat_fraction, and times fat_fraction), area_30_cm2, area_50_cm2 and area_70_cm2
        (cross-sections at these shares of the limb's length; NaN out of view), corrected (whether
        a person changed the labels), changed_share (voxels that differ from the original labels
        over those of the original), MAP_mean, MAP_sd, MAP_median and MAP_voxels for each further
        map, warnings (of the whole result, joined by "; "). All figures of a map but eroded are
        those of the whole muscle.

    Raises:
        InputError: If a map is of another shape.
    """
    return Measurement.of(result, fat_fraction, maps).muscles()


def measure_slices(
    result: Segmentation, fat_fraction: FatFraction | None = None, maps: Maps = NO_MAPS
) -> pd.DataFrame:
    """Measure sections: one row per muscle or group, side and slice in which it is present.

    A limb without muscle in a slice has a row without muscle, if its level is known.

    Args:
        result: A segmented scan.
        fat_fraction: As for `measure_muscles`.
        maps: As for `measure_muscles`.

    Returns:
        Columns slice (index in the file, from 0), z_mm (height of the slice's middle in the
        scanner), level and level_sd (0 hip joint, 1 knee joint line, 2 ankle joint), in_range
        (whether the limb may show a muscle there; all three empty without levels), muscle, name,
        kind, side, label, voxels, area_cm2; lean_area_cm2 and fat_area_cm2 (area times
        1 - fat_fraction, and times fat_fraction); estimates, fat fractions, corrections, further
        maps and warnings as in `measure_muscles`.

    Raises:
        InputError: If a map is of another shape.
    """
    return Measurement.of(result, fat_fraction, maps).slices()


@dataclass(frozen=True, eq=False)
class Measurement:
    """What the voxels of a segmented scan add up to; tables are made from it.

    Attributes:
        result: The scan.
        count: Number of its labeled voxels.
        fat: Of the fat fraction, by slice and whole; None without a map.
        eroded: Its means over the voxels inside their muscles.
        maps: Name -> of each further map, by slice and whole.
    """

    result: Segmentation
    count: Counts
    fat: tuple[Spread, Spread] | None
    eroded: tuple[np.ndarray, np.ndarray] | None
    maps: Mapping[str, tuple[Spread, Spread]]

    @classmethod
    def of(
        cls,
        result: Segmentation,
        fat_fraction: FatFraction | None = None,
        maps: Maps = NO_MAPS,
    ) -> "Measurement":
        """Add up the voxels of a scan; arguments and errors as of `measure_muscles`."""
        labels, axis = result.labels, result.volume.axial_axis
        count = count_keys(labels, result.sides.voxels, axis, result.anatomy)
        if fat_fraction is None and not maps:
            return cls(result, count, None, None, {})
        voxels = find_voxels(labels, result.sides.voxels, axis, result.anatomy)
        fat = eroded = None
        if fat_fraction is not None:
            known, values = _known(voxels, "fat_fraction", fat_fraction, result)
            inner = known.take(interior(labels, axis))
            fat = known.spread(values)
            eroded = known.only(inner).mean(values[inner])
        spreads = {}
        for name, values in maps.items():
            known, found = _known(voxels, name, values, result)
            spreads[name] = known.spread(found)
        return cls(result, count, fat, eroded, spreads)

    def muscles(self) -> pd.DataFrame:
        """Return the table of `measure_muscles`."""
        sides, classes = range(len(anatomy.SIDES)), len(self.members)
        keys = self.keys[self.keys < classes], self.keys[self.keys >= classes]
        pairs = [(side, key) for part in keys for side in sides for key in part]
        at = tuple(np.array(pairs, int).reshape(-1, 2).T)
        count, area = self.count.sum(0), self.area_cm2
        shown = (self.count > 0).sum(0)
        columns: dict[str, Any] = {
            **self._which(count, at),
            "volume_ml": self.volume_ml[at],
            "mean_area_cm2": np.nan_to_num(ratio(area.sum(0), shown))[at],
            "max_area_cm2": area.max(0)[at],
            "slices": shown[at],
            **self._estimates(at, by_slice=False),
            "truncated": self._truncated()[at],
            **self._fat(count, at, by_slice=False),
        }
        columns["lean_ml"] = columns["volume_ml"] * (1 - columns["fat_fraction"])
        columns["fat_ml"] = columns["volume_ml"] * columns["fat_fraction"]
        for percent, areas in self._areas_at(PERCENT).items():
            columns[f"area_{percent}_cm2"] = areas[at]
        return self._finish(columns, at, by_slice=False)

    def slices(self) -> pd.DataFrame:
        """Return the table of `measure_slices`."""
        result, shown = self.result, np.zeros(self.count.shape, bool)
        shown[..., self.keys] = self.count[..., self.keys] > 0
        if result.levels is not None:  # key 0: a limb without muscle
            shown[..., 0] = ~shown.any(2) & np.isfinite(result.levels.level)
        at = np.nonzero(shown)
        columns = {
            "slice": at[0],
            "z_mm": heights_mm(result.volume)[at[0]],
            **self._levels(at),
            **self._which(self.count, at),
            "area_cm2": self.area_cm2[at],
            **self._estimates(at, by_slice=True),
            **self._fat(self.count, at, by_slice=True),
        }
        columns["lean_area_cm2"] = columns["area_cm2"] * (1 - columns["fat_fraction"])
        columns["fat_area_cm2"] = columns["area_cm2"] * columns["fat_fraction"]
        return self._finish(columns, at, by_slice=True)

    @cached_property
    def members(self) -> Bool[np.ndarray, "classes groups"]:
        """Which label numbers belong to which groups."""
        return members_of(self.result.anatomy)

    @cached_property
    def area_cm2(self) -> Float[np.ndarray, "z sides keys"]:
        """Cross-sections."""
        return self.count * self.result.volume.pixel_mm2 / 100

    @property
    def volume_ml(self) -> Float[np.ndarray, "sides keys"]:
        """Volumes."""
        return self.count.sum(0) * self.result.volume.voxel_mm3 / 1000

    @cached_property
    def keys(self) -> Int[np.ndarray, " n"]:
        """The requested muscles, then the groups of which none is missing."""
        shown = np.zeros(len(self.members), bool)
        shown[[muscle.number for muscle in self.result.shown_muscles]] = True
        complete = ~(self.members & ~shown[:, None]).any(0)
        return np.flatnonzero(np.concatenate([shown, complete]))

    def names(self) -> list[tuple[str, str, str]]:
        """Return abbreviation or group, full name, and kind of each key; empty of background."""
        region = self.result.anatomy
        muscles = [(m.abbreviation, m.name, "muscle") for m in region.muscles]
        groups = [
            (group.name, " + ".join(group.muscles), "group")
            for group in anatomy.GROUPS[region.name]
        ]
        return [("", "", ""), *muscles, *groups]

    def labels(self, keys: Int[np.ndarray, " n"]) -> pd.api.extensions.ExtensionArray:
        """Return the number of each key in the label map; none of groups."""
        numbers = pd.array(keys, dtype="Int64")
        numbers[keys >= len(self.members)] = pd.NA
        return numbers

    def _which(self, count: Counts, at: At) -> dict[str, Any]:
        names = np.array(self.names(), object)[at[-1]].reshape(-1, 3)
        return {
            **dict(zip(("muscle", "name", "kind"), names.T, strict=True)),
            "side": np.array(anatomy.SIDES, object)[at[-2]],
            "label": self.labels(at[-1]),
            "voxels": count[at],
        }

    def _fat(self, count: Counts, at: At, *, by_slice: bool) -> dict[str, Any]:
        if self.fat is None or self.eroded is None:
            return {name: np.full(len(at[0]), np.nan) for name in _FAT}
        which = 0 if by_slice else 1
        spread, inner = self.fat[which], self.eroded[which]
        found = spread.mean, inner, spread.sd, spread.median, spread.voxels
        columns = [*(values[at] for values in found), ratio(spread.voxels, count)[at]]
        return dict(zip(_FAT, columns, strict=True))

    def _finish(self, columns: dict[str, Any], at: At, *, by_slice: bool) -> pd.DataFrame:
        """Add the columns that close both tables."""
        columns |= self._correction(at, by_slice=by_slice)
        for name, pair in self.maps.items():
            spread = pair[0 if by_slice else 1]
            found = spread.mean, spread.sd, spread.median, spread.voxels
            columns |= {
                f"{name}_{figure}": values[at]
                for figure, values in zip(MAP_FIGURES, found, strict=True)
            }
        table = pd.DataFrame(columns)
        return table.assign(warnings="; ".join(self.result.warnings))

    def _levels(self, at: At) -> dict[str, Any]:
        """Return the level of each row's limb; empty where it is unknown."""
        levels = self.result.levels
        if levels is None:
            return {"level": np.nan, "level_sd": np.nan, "in_range": ""}
        z, side = at[:2]
        level = levels.level[z, side]
        in_range = levels.in_range[z, side]
        known = np.isfinite(level)
        shown = in_range if known.all() else np.where(known, in_range.astype(object), "")
        return {"level": level, "level_sd": levels.sd[z, side], "in_range": shown}

    def _estimates(self, at: At, *, by_slice: bool) -> dict[str, Any]:
        """Return the estimated DSC of each row; empty, and nothing flagged, where there is none."""
        result = self.result
        if result.evidence is None:
            return {**dict.fromkeys(_ESTIMATE, np.nan), "flag": False}
        sums = result.evidence if by_slice else add_up(result.evidence)
        found = self._with_groups(estimate(sums, result.anatomy))
        if by_slice:
            at = (result.volume.lps.file_index(at[0]), *at[1:])
        values = (found.dsc[at], found.low[at], found.high[at], found.flag[at])
        return dict(zip(_ESTIMATE, values, strict=True))

    def _with_groups(self, found: Estimates) -> Estimates:
        """Return estimates by key: none of groups, which are flagged with one of their muscles."""
        none = np.full((*found.dsc.shape[:-1], self.members.shape[1]), np.nan)
        low, dsc, high = (np.concatenate([a, none], -1) for a in (found.low, found.dsc, found.high))
        return Estimates(low, dsc, high, self._any_member(found.flag))

    def _any_member(
        self, found: Bool[np.ndarray, "*z sides k"]
    ) -> Bool[np.ndarray, "*z sides keys"]:
        """Return what holds for labels by key: for a group, whether it holds for a muscle of it."""
        return np.concatenate([found, found @ self.members], -1)

    def _truncated(self) -> Bool[np.ndarray, "sides keys"]:
        """Return whether any voxel lies on the rim of the covered voxels."""
        result = self.result
        found = np.zeros((len(anatomy.SIDES) + 1, len(self.members)), bool)
        for axis in range(3):
            seen = np.flatnonzero(result.covered.any(tuple({0, 1, 2} - {axis})))
            for end in seen[[0, -1]] if seen.size else ():
                sides, labels = (
                    a.take(end, axis).ravel() for a in (result.sides.voxels, result.labels)
                )
                found[sides, labels] = True
        found[:, 0] = False
        return self._any_member(found[1:])

    def _areas_at(self, percents: Iterable[int]) -> dict[int, Float[np.ndarray, "sides keys"]]:
        """Return the cross-sections at shares of the limb's length; NaN where out of view."""
        found = {percent: np.full(self.count.shape[1:], np.nan) for percent in percents}
        levels, heights = self.result.levels, heights_mm(self.result.volume)
        if levels is not None:
            for side in range(len(anatomy.SIDES)):
                for place in find_places(levels.level[:, side], heights, self.result.region):
                    if place.percent in found:
                        near, shares = between(place.height_mm, heights)
                        areas = np.tensordot(shares, self.area_cm2[near, side], 1)
                        found[int(place.percent)][side] = areas
        return found

    def _correction(self, at: At, *, by_slice: bool) -> dict[str, Any]:
        """Return whether a person changed the labels, and by how much."""
        correction = self.result.correction
        columns = {"corrected": correction is not None, "changed_share": np.nan}
        if correction is None or correction.original is None:
            return columns
        changed, original = self._changes(correction.original)
        if not by_slice:
            changed, original = changed.sum(0), original.sum(0)
        return columns | {"changed_share": ratio(changed, original)[at]}

    def _changes(self, original: UInt8[np.ndarray, "i j k"]) -> tuple[Counts, Counts]:
        """Return how many voxels joined or left each muscle or group; and those of the original."""
        axis = self.result.volume.axial_axis
        before, after = (
            find_voxels(labels, self.result.sides.voxels, axis, self.result.anatomy)
            for labels in (original, self.result.labels)
        )
        lost = before.only(before.label != before.take(self.result.labels))
        gained = after.only(after.label != after.take(original))
        changed = lost.count() + gained.count()
        # A voxel that moved within a group has left it and joined it: no change.
        classes, group = len(lost.members), lost.group
        same = (group >= 0) & (group == lost.group_of(lost.take(self.result.labels)))
        changed[..., classes:] -= 2 * lost.only(same).count()[..., classes:]
        return changed, before.count()


def _known(
    voxels: Voxels, name: str, values: FatFraction, result: Segmentation
) -> tuple[Voxels, Float[np.ndarray, " n"]]:
    """Return the voxels that a map knows, and its values there."""
    if values.shape != result.labels.shape:
        found, own = (" x ".join(map(str, a.shape)) for a in (values, result.labels))
        raise InputError(name, f"shape {found}", f"the scan's shape, {own}")
    inside = voxels.take(values)
    known = np.isfinite(inside)
    return voxels.only(known), inside[known]


def interior(labels: UInt8[np.ndarray, "i j k"], axial_axis: int) -> Bool[np.ndarray, "i j k"]:
    """Return the pixels whose four neighbors in plane have the same label."""
    inner = np.ones(labels.shape, bool)
    for axis in {0, 1, 2} - {axial_axis}:
        own, same = (np.moveaxis(a, axis, 0) for a in (labels, inner))
        equal = own[1:] == own[:-1]
        same[1:] &= equal
        same[:-1] &= equal
        for end in (0, -1):  # beyond the rim there is no muscle
            same[end] &= own[end] == 0
    return inner
