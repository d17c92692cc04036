"""One case: per muscle and side, and per slice, how far the prediction is from the reference."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from musclejax.errors import InputError
from musclejax.evaluation.cases import Pair
from musclejax.evaluation.metrics import (
    GROUPS,
    count_voxels,
    dsc,
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


def compare(
    pair: Pair, *, all_slices: bool = False, decision: Decision | None = None
) -> Comparison:
    """Compare a prediction with its reference.

    Often only a few slices are annotated. By default only axial slices count on which the
    reference shows a muscle. Volumes are those of the compared slices.

    Args:
        pair: Both label maps.
        all_slices: Whether slices without reference labels count too, as truly empty.
        decision: The classifier's, if there is one.

    Returns:
        `muscles`: dsc, jaccard, hd95_mm, msd_mm, volume_reference_ml, volume_prediction_ml,
        volume_error_ml and volume_error_percent (prediction - reference), distances ("3d", or
        "in-plane" if the compared slices do not lie side by side), slices (how many were
        compared). NaN where both maps lack the muscle; where one does, DSC and Jaccard are 0 and
        distances NaN. `slices`: mean DSC and Jaccard over the muscles that either map shows in
        the slice, both sides as one label (paper, Tables 3 and 4), slice (index in the file),
        level (number of the compared slice, 0 nearest to the feet). `cases`: means, with the
        mean over the slices as `slice_dsc`, the method that told the sides apart, and the
        classifier's decision.

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
    maps = reference[..., compared], prediction[..., compared], sides[..., compared]
    counts = count_voxels(*maps, pair.anatomy.num_classes)
    in_plane = bool((np.diff(compared) > 1).any())
    muscles = _muscles(pair, maps, counts, in_plane)
    slices = _slices(pair, counts, compared)
    return Comparison(muscles, slices, _case(pair, muscles, slices, decision))


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
    in_plane: bool,
) -> pd.DataFrame:
    reference, prediction, sides = maps
    spacing_mm, measured = pair.volume.lps.spacing_mm, _measure(pair, counts.sum(1))
    rows = []
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
            rows.append({**_identity(pair), "muscle": muscle.abbreviation, "side": side, **values})
    how = "in-plane" if in_plane else "3d"
    table = pd.DataFrame(rows).assign(distances=how, slices=counts.shape[1])
    return table[[*IDENTITY, "muscle", "side", *MEASURES, "distances", "slices"]]


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
    pair: Pair, muscles: pd.DataFrame, slices: pd.DataFrame, decision: Decision | None
) -> pd.DataFrame:
    both = muscles[muscles["side"] == "both"]
    means: dict[str, Any] = {
        name: both[name].mean() for name in ("dsc", "jaccard", "hd95_mm", "msd_mm")
    }
    means["volume_error_percent_absolute"] = both["volume_error_percent"].abs().mean()
    means["slice_dsc"] = slices["dsc"].mean()
    how = {"distances": both["distances"].iloc[0], "slices": both["slices"].iloc[0]}
    decided = asdict(decision or Decision("", float("nan"), ""))
    classifier = {f"classifier_{name}": value for name, value in decided.items()}
    return pd.DataFrame(
        [{**_identity(pair), **means, **how, "sides": pair.sides.method, **classifier}]
    )
