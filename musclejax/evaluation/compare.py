"""One case: per muscle and side, and per slice, how far the prediction is from the reference."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from musclejax.data.scan_warnings import scan_warnings
from musclejax.errors import InputError, listed
from musclejax.evaluation.cases import Pair
from musclejax.evaluation.fat_fraction import NO_FAT, CaseFat
from musclejax.evaluation.metrics import (
    GROUPS,
    count_voxels,
    dsc,
    fat_fractions,
    hausdorff_mm,
    jaccard,
    mean_surface_mm,
    surface_distances,
    volume_error_percent,
)
from musclejax.evaluation.result import Comparison, Decision

IDENTITY = ["case", "subject", "time_point", "region", "severity", "split"]
"""Columns with which every table begins."""
MEASURES = [
    "dsc",
    "jaccard",
    "hd95_mm",
    "msd_mm",
    "volume_reference_ml",
    "volume_prediction_ml",
    "volume_error_ml",
    "volume_error_percent",
]
"""Measures of a muscle; see `compare`."""
FAT_MEASURES = [
    "fat_fraction_reference",
    "fat_fraction_prediction",
    "fat_fraction_error_pp",
    "fat_fraction_coverage",
]
"""Fat of a muscle; see `metrics.fat_fractions`."""
ERRORS = ["volume_error_ml", "volume_error_percent", "fat_fraction_error_pp"]
"""Measures with limits of agreement."""
AVERAGED = ["dsc", "jaccard", "hd95_mm", "msd_mm"]
"""Measures of a case that are means over its muscles."""
RIM = (
    "where the first or last compared slice or the border of the picture cuts a muscle, the cut is "
    "no surface: distances are those between the outlines"
)
"""What `metrics.surface_distances` leaves out, for reports."""
_LISTED = 8


def compare(
    pair: Pair,
    *,
    all_slices: bool = False,
    decision: Decision | None = None,
    fat: CaseFat = NO_FAT,
) -> Comparison:
    """Compare a prediction with its reference.

    Often only a few slices are annotated. By default only axial slices count on which the
    reference shows a muscle. Volumes and fat fractions are those of the compared slices.

    Args:
        pair: Both label maps.
        all_slices: Whether slices without reference labels count too, as truly empty.
        decision: The classifier's, if there is one.
        fat: From its fat-fraction map, if it has one.

    Returns:
        `muscles`: dsc, jaccard, hd95_mm, msd_mm, volume_reference_ml, volume_prediction_ml,
        volume_error_ml and volume_error_percent (prediction - reference), distances ("3d", or
        "in-plane" if the compared slices do not lie side by side), slices (how many were
        compared), distance_slices (how many of them count for distances: all in 3d, else those in
        which both maps show the muscle), and `FAT_MEASURES`. NaN where both maps lack the muscle;
        where one does, DSC and Jaccard are 0 and distances NaN. `slices`: mean DSC and Jaccard over
        the muscles that either map shows in the slice, both sides as one label (paper, Tables 3 and
        4), slice (index in the file), level (number of the compared slice, 0 nearest to the feet).
        `cases`: means, with the mean over the slices as `slice_dsc` and those of absolute errors of
        volume and fat fraction, the method that told the sides apart, the classifier's decision,
        the number of muscles in each mean (`dsc_n` and so on), the unit of the fat-fraction map,
        and what reading scan and map had to decide.

    Raises:
        InputError: If the reference shows no muscle in any slice.
    """
    reference, prediction, sides = (
        pair.volume.lps.from_file(a) for a in (pair.reference, pair.prediction, pair.sides.voxels)
    )
    compared = np.arange(reference.shape[2])
    if not all_slices:
        compared = np.flatnonzero(reference.any((0, 1)))
    if not compared.size:
        remedy = "With --all-slices it is compared as truly empty."
        raise InputError(pair.case.labels, "no muscle", "a reference with one", remedy)
    reference, prediction, sides = (
        np.ascontiguousarray(a[..., compared]) for a in (reference, prediction, sides)
    )
    maps = reference, prediction, sides
    counts = count_voxels(*maps, pair.anatomy.num_classes)
    measured = _measure(pair, counts.sum(1))
    if fat.values is not None:
        there = np.ascontiguousarray(pair.volume.lps.from_file(fat.values)[..., compared])
        measured |= fat_fractions(*maps, there, pair.anatomy.num_classes)
    in_plane = bool((np.diff(compared) > 1).any())
    muscles = _muscles(pair, maps, counts, measured, in_plane)
    slices = _slices(pair, counts, compared)
    return Comparison(muscles, slices, _case(pair, muscles, slices, decision, fat))


def combine(comparisons: list[Comparison]) -> Comparison:
    """Put the tables of many cases together, in the order given."""
    tables = ([getattr(c, kind) for c in comparisons] for kind in ("muscles", "slices", "cases"))
    return Comparison(*(pd.concat(rows, ignore_index=True) for rows in tables))


def _identity(pair: Pair) -> dict[str, str]:
    return {
        column: getattr(pair.case, "name" if column == "case" else column) for column in IDENTITY
    }


def _muscles(
    pair: Pair,
    maps: tuple[np.ndarray, np.ndarray, np.ndarray],
    counts: Int[np.ndarray, "3 z groups classes"],
    measured: Mapping[str, Float[np.ndarray, "groups classes"]],
    in_plane: bool,
) -> pd.DataFrame:
    reference, prediction, sides = maps
    spacing_mm, rows = pair.volume.lps.spacing_mm, []
    for muscle in pair.anatomy.muscles:
        if muscle.number not in pair.numbers:
            continue
        masks = reference == muscle.number, prediction == muscle.number
        for group, side in enumerate(GROUPS):
            here = np.ones(sides.shape, bool) if side == "both" else sides == group + 1
            distances = surface_distances(
                masks[0] & here, masks[1] & here, spacing_mm, in_plane=in_plane
            )
            values = {name: float(v[group, muscle.number]) for name, v in measured.items()}
            values["hd95_mm"] = hausdorff_mm(distances)
            values["msd_mm"] = mean_surface_mm(distances)
            shown = counts[:2, :, group, muscle.number] > 0
            common = shown.all(0) if in_plane else np.repeat(shown.any(1).all(), shown.shape[1])
            values["distance_slices"] = int(common.sum())
            rows.append({**_identity(pair), "muscle": muscle.abbreviation, "side": side, **values})
    how = "in-plane" if in_plane else "3d"
    table = pd.DataFrame(rows).assign(distances=how, slices=counts.shape[1])
    last = ["distances", "slices", "distance_slices", *FAT_MEASURES]
    columns = [*IDENTITY, "muscle", "side", *MEASURES, *last]
    return table.reindex(columns=columns, fill_value=np.nan)


def _measure(
    pair: Pair, counts: Int[np.ndarray, "3 groups classes"]
) -> dict[str, Float[np.ndarray, "groups classes"]]:
    reference, prediction, _ = counts * (pair.volume.voxel_mm3 / 1000)
    return {
        "dsc": dsc(counts),
        "jaccard": jaccard(counts),
        "volume_reference_ml": reference,
        "volume_prediction_ml": prediction,
        "volume_error_ml": np.where(counts.any(0), prediction - reference, np.nan),
        "volume_error_percent": volume_error_percent(counts),
    }


def _slices(
    pair: Pair, counts: Int[np.ndarray, "3 z groups classes"], compared: Int[np.ndarray, " z"]
) -> pd.DataFrame:
    both = counts[:, :, GROUPS.index("both")][:, :, list(pair.numbers)]
    shown = np.asarray(both[:2].any(0))
    table = pd.DataFrame(
        {
            **_identity(pair),
            "slice": pair.volume.lps.file_index(compared),
            "level": np.arange(len(compared)),
            "muscles": shown.sum(1),
            "dsc": _mean(dsc(both), shown),
            "jaccard": _mean(jaccard(both), shown),
        }
    )
    return table[table["muscles"] > 0].reset_index(drop=True)


def _mean(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the mean over muscles in each slice; NaN where none is shown."""
    total = np.where(shown, values, 0).sum(1)
    return np.where(shown.any(1), total / np.maximum(shown.sum(1), 1), np.nan)


def _case(
    pair: Pair,
    muscles: pd.DataFrame,
    slices: pd.DataFrame,
    decision: Decision | None,
    fat: CaseFat,
) -> pd.DataFrame:
    both = muscles[muscles["side"] == "both"]
    means: dict[str, Any] = {name: both[name].mean() for name in AVERAGED}
    for name in ("volume_error_percent", "fat_fraction_error_pp"):
        means[f"{name}_absolute"] = both[name].abs().mean()
    means["slice_dsc"] = slices["dsc"].mean()
    how = {"distances": both["distances"].iloc[0], "slices": both["slices"].iloc[0]}
    decided = asdict(decision or Decision("", float("nan"), ""))
    classifier = {f"classifier_{name}": value for name, value in decided.items()}
    numbers = {f"{name}_n": both[name].count() for name in AVERAGED}
    warnings = "; ".join((*scan_warnings(pair.volume), *fat.warnings))
    last = {**numbers, "fat_fraction_unit": fat.unit, "warnings": warnings}
    sides = {"sides": pair.sides.method}
    return pd.DataFrame([{**_identity(pair), **means, **how, **sides, **classifier, **last}])


def missed_muscles(muscles: pd.DataFrame) -> list[str]:
    """Return a warning if muscles that only one map shows are left out of mean distances."""
    both = muscles[(muscles["side"] == "both") & muscles["dsc"].notna()]
    missed = both[both["hd95_mm"].isna()]
    if missed.empty:
        return []
    names = [f"{case} {name}" for case, name in zip(missed["case"], missed["muscle"], strict=True)]
    text = f"mean distances leave out {len(missed)} of {len(both)} muscles, as one map lacks them"
    return [f"{text}: {listed(names, _LISTED)}; their DSC of 0 counts"]
