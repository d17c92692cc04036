"""The estimated DSC of every muscle and side, from what a segmentation shows of its own quality.

The sum of tables of a few measurements of `evidence`, learned from synthetic scans whose labels are
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

FEATURES = ("expected", "core", "confused", "elsewhere", "removed", "asymmetry")
"""Measurements, in words at `measure_features`. A level along the limb, summed up by section in
`evidence`, would be one more here. Measured and left out, as people held out gained nothing: size
and compactness of sections, their share of the limb's muscle, components, overlap of neighboring
slices; and the probability of the whole limb, low in disease as well. Source: ours."""
_EPSILON = 0.001
"""Shares are so far from 0 and 1 at least before their logarithms are taken. Source: ours."""
QUANTILES = (0.05, 0.5, 0.95)
"""Of the DSC of muscles with the same features: lower end, estimate and upper end of an interval in
which nine of ten muscles of the people who teach lie, and about eight of ten of others."""


LOW = "low estimated DSC"
"""Begin of the warning that names them."""
SHOWN = 6
"""Flagged muscles that a line names at most."""


class Calibration(NamedTuple):
    """What `tools/calibrate_quality.py` has learned.

    Attributes:
        knots: Values of every feature, ascending.
        heights: Its contributions there, for each of `QUANTILES`; linear between the knots,
            constant beyond, and 0 where the feature cannot be measured.
        bases: By region: of every class. With the contributions of all features they add up to the
            logit of the DSC.
        flag_below: Estimates below are flagged.
        origin: How it was made.
    """

    knots: Float[np.ndarray, "f n"]
    heights: Float[np.ndarray, "q f n"]
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
    tables = np.array([list(entries["features"][name].values()) for name in FEATURES])
    bases = {
        name: np.array([np.zeros(len(QUANTILES)), *entries["bases"][name].values()]).T
        for name in REGIONS
    }
    rest = float(entries["flag_below"]), entries["origin"]
    return Calibration(tables[:, 0], tables[:, 1:].swapaxes(0, 1), bases, *rest)


def to_json(calibration: Calibration) -> str:
    """Return a calibration as text, its numbers by name."""
    c = calibration
    rows = ["at", *(f"quantile {q}" for q in QUANTILES)]
    tables = np.concatenate([c.knots[None], c.heights]).swapaxes(0, 1).round(4).tolist()
    entries = {
        "origin": dict(c.origin),
        "flag_below": round(c.flag_below, 3),
        "features": {
            name: dict(zip(rows, table, strict=True))
            for name, table in zip(FEATURES, tables, strict=True)
        },
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
    post-processing removed. asymmetry: difference of both limbs' sections over their sum.

    Args:
        sums: As of `evidence.add_up`; or by slice.
    """
    s = Evidence(*(np.asarray(field, np.float64) for field in sums))
    kept = _ratio(s.area_mm2, s.pixels * SLICE_SPACING_MM**2)
    features = {
        "expected": _logit(_ratio(2 * s.inside, s.pixels + s.total)),
        "core": _logit(_ratio(s.core_inside, s.core)),
        "confused": _log(_ratio(s.core_other, s.core)),
        "elsewhere": _log(1 - _ratio(s.inside, s.total)),
        "removed": np.sqrt(np.clip(1 - kept, 0, 1)),
        "asymmetry": _ratio(s.twin_mm2, s.twins_mm2),
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
    values = np.moveaxis(features, -1, 0)
    pairs = zip(bases, calibration.heights, strict=True)
    logits = [base + _contribute(values, calibration.knots, heights) for base, heights in pairs]
    return np.sort(1 / (1 + np.exp(-np.stack(logits))), axis=0)


def _contribute(
    features: Float[np.ndarray, "f ..."],
    knots: Float[np.ndarray, "f n"],
    heights: Float[np.ndarray, "f n"],
) -> Float[np.ndarray, "..."]:
    parts = zip(features, knots, heights, strict=True)
    return np.sum([np.nan_to_num(np.interp(*part)) for part in parts], axis=0)


def name_flagged(estimates: Estimates, region: Region) -> dict[str, float]:
    """Return the estimates of the flagged muscles of a scan by side and muscle, lowest first."""
    names = {muscle.number: muscle.abbreviation for muscle in region.muscles}
    flagged = sorted((estimates.dsc[side, k], side, k) for side, k in np.argwhere(estimates.flag))
    return {f"{SIDES[side]} {names[k]}": float(dsc) for dsc, side, k in flagged}


def show_flagged(flagged: Mapping[str, float]) -> str:
    """Return the flagged muscles in one short line."""
    texts = [f"{name} ({dsc:.2f})" for name, dsc in flagged.items()]
    more = [f"{len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return ", ".join([*texts[:SHOWN], *more])


def estimate_warning(estimates: Estimates, region: Region) -> str:
    """Return one line that names the flagged muscles; empty if there is none."""
    return flagged_warning(name_flagged(estimates, region))


def flagged_warning(flagged: Mapping[str, float]) -> str:
    """Return one line that names flagged muscles, as of `name_flagged`; empty if there is none."""
    return f"{LOW}, look at {show_flagged(flagged)}" if flagged else ""


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return above / below; NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _logit(share: np.ndarray) -> np.ndarray:
    clipped = np.clip(share, _EPSILON, 1 - _EPSILON)
    return np.log(clipped / (1 - clipped))


def _log(share: np.ndarray) -> np.ndarray:
    return np.log(np.clip(share, 0, 1) + _EPSILON)
