"""The estimated DSC of every muscle and side, from what a segmentation shows of its own quality.

A regression on a few measurements of `evidence`, learned from synthetic scans whose labels are
known. `tools/calibrate_quality.py` makes its numbers, `bundled/phantom/quality.json`.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from musclejax.anatomy import REGIONS, SIDES, SLICE_SPACING_MM, Region
from musclejax.prediction.evidence import Evidence

FEATURES = (
    "expected",
    "core",
    "confused",
    "elsewhere",
    "removed",
    "scattered",
    "asymmetry",
    "overlap",
    "limb",
)
"""Measurements, in words at `measure_features`. A level along the limb, summed up by section in
`evidence`, would be one more here."""
_EPSILON = 0.005
"""Shares are so far from 0 and 1 at least before their logarithms are taken. Source: ours."""
QUANTILES = (0.1, 0.5, 0.9)
"""Of the DSC of muscles with the same features: lower end, estimate and upper end of an interval in
which eight of ten muscles lie."""


class Calibration(NamedTuple):
    """What `tools/calibrate_quality.py` has learned.

    Attributes:
        center: Mean of every feature; it stands for those that cannot be measured.
        scale: Spread of every feature.
        weights: Of the scaled features, for each of `QUANTILES`. With the muscle's base they add up
            to the logit of the DSC.
        bases: By region: the logit of every class where all features have their mean.
        flag_below: Estimates below are flagged.
        origin: How it was made.
    """

    center: Float[np.ndarray, " f"]
    scale: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, "q f"]
    bases: Mapping[str, Float[np.ndarray, "q k"]]
    flag_below: float
    origin: Mapping[str, str]


class Estimates(NamedTuple):
    """Estimated DSC by side and class; NaN of background and of classes without labels.

    Attributes:
        low: Lower end of the interval; see `QUANTILES`.
        dsc: The estimate.
        high: Upper end.
        flag: Whether a person should look: the estimate is low.
    """

    low: Float[np.ndarray, "... sides k"]
    dsc: Float[np.ndarray, "... sides k"]
    high: Float[np.ndarray, "... sides k"]
    flag: Bool[np.ndarray, "... sides k"]


@lru_cache(maxsize=1)
def load_calibration() -> Calibration:
    """Read the calibration that ships with the bundled weights."""
    file = files("musclejax") / "bundled" / "phantom" / "quality.json"
    return from_json(file.read_text(encoding="utf-8"))


def from_json(text: str) -> Calibration:
    """Return the calibration that `to_json` has written."""
    entries = json.loads(text)
    center, scale, *weights = np.array([entries["features"][name] for name in FEATURES]).T
    bases = {
        name: np.array([np.zeros(len(QUANTILES)), *entries["bases"][name].values()]).T
        for name in REGIONS
    }
    rest = float(entries["flag_below"]), entries["origin"]
    return Calibration(center, scale, np.stack(weights), bases, *rest)


def to_json(calibration: Calibration) -> str:
    """Return a calibration as text, its numbers by name."""
    c = calibration
    columns = np.stack([c.center, c.scale, *c.weights], 1).round(4).tolist()
    quantiles = [f"of quantile {q}" for q in QUANTILES]
    entries = {
        "origin": dict(c.origin),
        "flag_below": round(c.flag_below, 3),
        "columns": {"features": ["center", "scale", *quantiles], "bases": quantiles},
        "features": dict(zip(FEATURES, columns, strict=True)),
        "bases": {name: _by_name(REGIONS[name], own) for name, own in c.bases.items()},
    }
    return _readable(entries) + "\n"


def _readable(value: object, indent: str = " ") -> str:
    """Return JSON with a line for every entry of a table."""
    if not isinstance(value, dict):
        return json.dumps(value)
    lines = [f"{indent}{json.dumps(k)}: {_readable(v, indent + ' ')}" for k, v in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent[1:]}}}"


def _by_name(region: Region, bases: Float[np.ndarray, "q k"]) -> dict[str, list[float]]:
    return {m.abbreviation: bases[:, m.number].round(4).tolist() for m in region.muscles}


def measure_features(sums: Evidence) -> Float[np.ndarray, "... sides k f"]:
    """Return `FEATURES` by side and class; NaN where one cannot be measured.

    expected: logit of the expected DSC by the probabilities. core: logit of the mean probability in
    the cores of sections; confused: logarithm of that of other muscles there. elsewhere: logarithm
    of the share of the class's probability outside its labels. removed: root of the share that
    post-processing removed. scattered: root of the share outside the largest components.
    asymmetry: difference of both limbs' sections over their sum. overlap: DSC of neighboring
    slices. limb: logit of the mean probability of all labels of the limb.

    Args:
        sums: As of `evidence.add_up`; or by slice.
    """
    s = Evidence(*(np.asarray(field, np.float64) for field in sums))
    kept = _ratio(s.area_mm2, s.pixels * SLICE_SPACING_MM**2)
    limb = _ratio(s.inside.sum(-1, keepdims=True), s.pixels.sum(-1, keepdims=True))
    features = {
        "expected": _logit(_ratio(2 * s.inside, s.pixels + s.total)),
        "core": _logit(_ratio(s.core_inside, s.core)),
        "confused": _log(_ratio(s.core_other, s.core)),
        "elsewhere": _log(1 - _ratio(s.inside, s.total)),
        "removed": np.sqrt(np.clip(1 - kept, 0, 1)),
        "scattered": np.sqrt(_ratio(s.scattered_mm2, s.area_mm2)),
        "asymmetry": _ratio(s.twin_mm2, s.twins_mm2),
        "overlap": _ratio(s.shared_mm2, s.stacked_mm2),
        "limb": np.broadcast_to(_logit(limb), s.pixels.shape),
    }
    return np.stack([features[name] for name in FEATURES], -1)


def estimate(sums: Evidence, region: Region) -> Estimates:
    """Estimate the DSC of every muscle and side.

    Args:
        sums: As of `evidence.add_up`; or by slice, for estimates by slice.
        region: Of the labels.
    """
    known = load_calibration()
    found = predict(measure_features(sums), known.bases[region.name], known)
    low, dsc, high = np.where((sums.area_mm2 > 0) & (sums.pixels > 0), found, np.nan)
    return Estimates(low, dsc, high, dsc < known.flag_below)


def predict(
    features: Float[np.ndarray, "... f"],
    bases: Float[np.ndarray, "q ..."],
    calibration: Calibration,
) -> Float[np.ndarray, "q ..."]:
    """Return the quantiles of the DSC, ascending, from features and the bases of their muscles."""
    scaled = np.nan_to_num((features - calibration.center) / calibration.scale)
    weighted = np.moveaxis(scaled @ calibration.weights.T, -1, 0)
    spread = (slice(None), *(None,) * (weighted.ndim - bases.ndim))
    return np.sort(1 / (1 + np.exp(-weighted - bases[spread])), axis=0)


def name_flagged(estimates: Estimates, region: Region) -> dict[str, float]:
    """Return the estimates of the flagged muscles of a scan by side and muscle, lowest first."""
    names = {muscle.number: muscle.abbreviation for muscle in region.muscles}
    flagged = sorted((estimates.dsc[side, k], side, k) for side, k in np.argwhere(estimates.flag))
    return {f"{SIDES[side]} {names[k]}": float(dsc) for dsc, side, k in flagged}


def estimate_warning(estimates: Estimates, region: Region) -> str:
    """Return one line that names the flagged muscles; empty if there is none."""
    texts = [f"{name} ({dsc:.2f})" for name, dsc in name_flagged(estimates, region).items()]
    return f"low estimated DSC, look at {', '.join(texts)}" if texts else ""


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return above / below; NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _logit(share: np.ndarray) -> np.ndarray:
    clipped = np.clip(share, _EPSILON, 1 - _EPSILON)
    return np.log(clipped / (1 - clipped))


def _log(share: np.ndarray) -> np.ndarray:
    return np.log(np.clip(share, 0, 1) + _EPSILON)
