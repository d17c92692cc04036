"""Two results side by side: ratios job by job, how sure they are, and what else differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from musclejax.bench.job import Job
from musclejax.bench.table import CALM_ENOUGH
from musclejax.errors import InputError, listed

DRAWS, SEED = 4000, 0
"""Bootstrap samples. Source: Efron & Tibshirani 1993: 1000 or more for an interval."""
LEVEL = 0.95
_MACHINE = {
    "cpu": "processor",
    "family": "family",
    "model": "model",
    "stepping": "stepping",
    "isa": "instruction sets",
    "processors": "processors",
    "available": "processors used",
    "memory_mib": "memory, MiB",
    "huge_pages": "huge pages",
    "heap": "heap",
    "system": "system",
}
COLUMNS = (
    *("job", "slices_per_s_a", "slices_per_s_b", "ratio", "ratio_low", "ratio_high", "verdict"),
    *("cpu_ratio", "memory_ratio", "agreement_a", "agreement_b", "repeats_a", "repeats_b"),
)


@dataclass(frozen=True)
class Comparison:
    """What two results, A and B, have in common and what they do not.

    Attributes:
        rows: A row per job that both have. Ratios above 1 are in favor of B: faster, fewer
            processor seconds, less memory.
        overall: The geometric mean of the ratios, and its interval, if there are several.
        differences: Of machines, versions and commits: name, in A, in B.
        only_a: Jobs that only A has.
        only_b: Jobs that only B has.
    """

    rows: pd.DataFrame
    overall: tuple[float, float, float] | None
    differences: list[tuple[str, str, str]]
    only_a: list[str]
    only_b: list[str]

    @property
    def summary(self) -> str:
        """One line for people."""
        ratio, low, high = self.overall or self.rows.iloc[0][["ratio", "ratio_low", "ratio_high"]]
        what = f"over {len(self.rows)} jobs, " if self.overall else ""
        sure = f" ({100 * LEVEL:.0f} % interval {low:.3f} to {high:.3f})" if low == low else ""
        return f"{what}B is {ratio:.3f} times as fast as A{sure}"


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> Comparison:
    """Compare two results, as `read_result` returns them.

    Raises:
        InputError: If they have no job in common.
    """
    of_a, of_b = ({Job(**one["job"]): one for one in result["results"]} for result in (a, b))
    common = [job for job in of_a if job in of_b]
    if not common:
        found = f"no job in common: A has {listed(_labels(of_a), 3)}; B {listed(_labels(of_b), 3)}"
        raise InputError("bench compare", found, "results of the same jobs")
    rng = np.random.default_rng(SEED)
    draws = {job: draw_ratios(_seconds(of_a[job]), _seconds(of_b[job]), rng) for job in common}
    rows = [{"job": job.label, **_row(of_a[job], of_b[job], draws[job])} for job in common]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Comparison(
        rows=table,
        overall=_overall(table, list(draws.values())) if len(common) > 1 else None,
        differences=differences(a, b),
        only_a=_labels(job for job in of_a if job not in of_b),
        only_b=_labels(job for job in of_b if job not in of_a),
    )


def draw_ratios(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"], rng: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    """Return ratios of medians of repeats that are drawn with replacement.

    Rounds of two runs are not paired with one another: each is drawn by itself.
    """
    medians = [
        np.median(rng.choice(seconds, (DRAWS, len(seconds))), axis=1).astype(np.float64)
        for seconds in (a, b)
    ]
    return np.asarray(medians[0] / medians[1])


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what differs in machine, versions and commit: its name, in A, in B."""
    found = [
        (title, *_difference(a["machine"].get(name), b["machine"].get(name)))
        for name, title in _MACHINE.items()
    ]
    every, other = (_versions(result) for result in (a, b))
    found += [
        (name, every.get(name, "none"), other.get(name, "none")) for name in {**every, **other}
    ]
    found.append(("commit", a["commit"] or "unknown", b["commit"] or "unknown"))
    return [difference for difference in found if difference[1] != difference[2]]


def _difference(a: Any, b: Any) -> tuple[str, str]:
    if not isinstance(a, list) or not isinstance(b, list):
        return tuple("unknown" if value is None else str(value) for value in (a, b))  # type: ignore
    return tuple(" ".join(["common", *sorted({*one} - {*two})]) for one, two in ((a, b), (b, a)))  # type: ignore


def _versions(result: Mapping[str, Any]) -> dict[str, str]:
    found = dict(result["versions"])
    for one in result["results"]:
        found |= one["versions"]
    return found


def _labels(jobs: Any) -> list[str]:
    return [job.label for job in jobs]


def _seconds(one: Mapping[str, Any]) -> Float[np.ndarray, " n"]:
    """Return the seconds of the repeats that count: as `table.counted` chooses them."""
    calm = [repeat["seconds"] for repeat in one["repeats"] if not repeat["disturbed"]]
    every = [repeat["seconds"] for repeat in one["repeats"]]
    return np.array(calm if len(calm) >= CALM_ENOUGH else every, np.float64)


def _row(
    a: Mapping[str, Any], b: Mapping[str, Any], draws: Float[np.ndarray, " draws"]
) -> dict[str, Any]:
    seconds = _seconds(a), _seconds(b)
    ratio = float(np.median(seconds[0]) / np.median(seconds[1]))
    enough = min(map(len, seconds)) >= CALM_ENOUGH
    low, high = _interval(draws) if enough else (float("nan"),) * 2
    figures = a["figures"], b["figures"]
    return {
        "slices_per_s_a": figures[0]["slices_per_s"],
        "slices_per_s_b": figures[1]["slices_per_s"],
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "verdict": _verdict(low, high),
        "cpu_ratio": _quotient(*(f["cpu_s"] for f in figures)),
        "memory_ratio": _quotient(*(f["peak_memory_mib"] for f in figures)),
        "agreement_a": figures[0].get("agreement"),
        "agreement_b": figures[1].get("agreement"),
        "repeats_a": len(seconds[0]),
        "repeats_b": len(seconds[1]),
    }


def _quotient(a: int | float | None, b: int | float | None) -> float:
    return a / b if a and b else float("nan")


def _verdict(low: float, high: float) -> str:
    if low != low:
        return f"fewer than {CALM_ENOUGH} repeats"
    if low > 1:
        return "B is faster"
    return "A is faster" if high < 1 else "no difference shown"


def _interval(draws: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _overall(
    rows: pd.DataFrame, draws: Sequence[Float[np.ndarray, " draws"]]
) -> tuple[float, float, float]:
    mean = float(np.exp(np.log(rows["ratio"]).mean()))
    if rows["ratio_low"].isna().any():
        return mean, float("nan"), float("nan")
    return mean, *_interval(np.exp(np.log(draws).mean(0)))
