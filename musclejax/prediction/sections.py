"""Cross-sections at shares of a limb's length, and at distances from a joint; see `places`."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from musclejax import anatomy
from musclejax.prediction.measurement import FatFraction, Measurement
from musclejax.prediction.places import Place, between, find_places, heights_mm
from musclejax.prediction.result import Segmentation
from musclejax.prediction.voxels import ratio

SECTION_COLUMNS = [
    *("side", "at", "percent", "joint", "distance_mm", "length", "level", "level_sd", "z_mm"),
    *("muscle", "name", "kind", "label", "area_cm2", "fat_fraction", "warnings"),
]


def measure_sections(result: Segmentation, fat_fraction: FatFraction | None = None) -> pd.DataFrame:
    """Measure cross-sections at 30, 50 and 70 % of a limb's length, and at distances from a joint.

    Args:
        result: A segmented scan.
        fat_fraction: As for `measure_muscles`.

    Returns:
        A row per side, place, and muscle or group, none without levels: side, at (in words),
        percent, joint and distance_mm, length ("measurement" or "estimated"), level and level_sd,
        z_mm, muscle, name, kind, label, area_cm2 and fat_fraction (between the two nearest
        slices), warnings. A muscle that is not there has 0 cm2. Places out of view have no row.
    """
    return sections_of(Measurement.of(result, fat_fraction))


def tables_of(measurement: Measurement) -> dict[str, pd.DataFrame]:
    """Return the tables of a scan by kind: muscles, slices and, with levels, sections."""
    tables = {"muscles": measurement.muscles(), "slices": measurement.slices()}
    if measurement.result.levels is not None:
        tables["sections"] = sections_of(measurement)
    return tables


def sections_of(measurement: Measurement) -> pd.DataFrame:
    """Return the table of `measure_sections`."""
    result, tables = measurement.result, []
    if result.levels is not None:
        heights = heights_mm(result.volume)
        for index, side in enumerate(anatomy.SIDES):
            for place in find_places(result.levels.level[:, index], heights, result.region):
                near, shares = between(place.height_mm, heights)
                tables.append(_rows(measurement, place, index, near, shares).assign(side=side))
    if not tables:
        return pd.DataFrame(columns=SECTION_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    return table.assign(warnings="; ".join(result.warnings))[SECTION_COLUMNS]


def _rows(
    measurement: Measurement,
    place: Place,
    side: int,
    near: Int[np.ndarray, " near"],
    shares: Float[np.ndarray, " near"],
) -> pd.DataFrame:
    """Return the rows of one place: figures between the two nearest slices."""
    levels = measurement.result.levels
    assert levels is not None  # or there would be no place
    weights = shares[:, None] * measurement.area_cm2[near, side]
    fat = np.full(weights.shape, np.nan)
    if measurement.fat is not None:
        fat = measurement.fat[0].mean[near, side]
    known = np.where(np.isfinite(fat), weights, 0)
    mean = ratio((known * np.nan_to_num(fat)).sum(0), known.sum(0))
    keys = measurement.keys
    names = np.array(measurement.names(), object)[keys]
    at_level = (a[near, side] for a in (levels.level, levels.sd))
    level, level_sd = (float(np.nansum(a * shares)) for a in at_level)
    return pd.DataFrame(
        {
            **dict(zip(("muscle", "name", "kind"), names.T, strict=True)),
            "label": measurement.labels(keys),
            "area_cm2": weights.sum(0)[keys],
            "fat_fraction": mean[keys],
            "level": level,
            "level_sd": level_sd,
            "z_mm": place.height_mm,
            **{name: value for name, value in place._asdict().items() if name != "height_mm"},
        }
    )
