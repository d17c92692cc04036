"""From repeats to rows: medians, spread, arithmetic rates and ratios; pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from musclejax.bench.job import KEYS, RATED, Job, gflop_per_slice
from musclejax.bench.record import STAGES, Record, Sample

TIMES = ("repeats", "compile_s", "seconds_median", "seconds_iqr", "seconds_min")
RATES = ("slices_per_s", "slices_per_s_low", "slices_per_s_high", "seconds_per_slice")
COSTS = ("peak_memory_mib",)
ARITHMETIC = ("gflop_per_slice", "gflops", "matmul_peak_gflops", "share_of_peak")
MACHINE = ("cpu", "system", "versions", "command")
COLUMNS: dict[str, tuple[str, ...]] = {
    "infer": (*KEYS, *TIMES, *RATES, *COSTS, *ARITHMETIC, "ratio_to_jax", *MACHINE),
    "train": (*KEYS, *TIMES, *RATES, *COSTS, *ARITHMETIC, "ratio_to_jax", *MACHINE),
    "segment": (*KEYS, *TIMES, *RATES, *COSTS, *STAGES, "ratio_to_jax", *MACHINE),
    "data": (*KEYS, *TIMES, *RATES, *COSTS, "ratio_to_jax", *MACHINE),
}
"""Kind -> columns. Low and high are the rates at the quartiles of the seconds. ratio_to_jax is
throughput against jax in float32, the median of the ratios round by round; more than 1 is faster.
compile_s: seconds of the first call beyond those of the second; of segment, seconds of the first
run beyond the median. Stages: medians of their seconds."""


def rows(record: Record, here: Mapping[str, Any], command: str) -> pd.DataFrame:
    """Return a row for each configuration.

    Args:
        record: What was measured.
        here: Processor, system and versions, as `system.machine` gives them.
        command: The command line.
    """
    measured = {s.job for s in record.samples}
    jobs = [job for job in record.prepared if job in measured]
    table = pd.DataFrame([_row(job, record, here) | {"command": command} for job in jobs])
    return table.reindex(columns=list(COLUMNS[jobs[0].kind])) if jobs else table


def repeats(record: Record) -> pd.DataFrame:
    """Return a row for each repeat, in the order in which they were measured."""
    return pd.DataFrame(
        [
            asdict(s.job)
            | {"group": s.group, "round": s.round, "seconds": s.seconds}
            | {"peak_memory_mib": s.peak_memory_mib}
            | s.stages
            for s in record.samples
        ]
    )


def _row(job: Job, record: Record, here: Mapping[str, Any]) -> dict[str, Any]:
    samples = [s for s in record.samples if s.job == job]
    seconds = np.array([s.seconds for s in samples])
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    prepared = record.prepared.get(job, {})
    peaks = [s.peak_memory_mib for s in samples if s.peak_memory_mib is not None]
    row = asdict(job) | {
        "repeats": len(seconds),
        "compile_s": prepared.get("compile_s", prepared.get("first_run_s", np.nan) - median),
        "seconds_median": median,
        "seconds_iqr": high - low,
        "seconds_min": seconds.min(),
        "slices_per_s": job.slices / median,
        "slices_per_s_low": job.slices / high,
        "slices_per_s_high": job.slices / low,
        "seconds_per_slice": median / job.slices,
        "peak_memory_mib": max(peaks, default=np.nan),
        "ratio_to_jax": ratio(record.samples, job),
        "cpu": here["machine"]["cpu"],
        "system": here["machine"]["system"],
        "versions": _versions(here["versions"] | prepared.get("versions", {})),
    }
    for name in dict.fromkeys(name for s in samples for name in s.stages):
        row[name] = np.median([s.stages[name] for s in samples if name in s.stages])
    return row | (_arithmetic(job, row, record) if job.kind in RATED else {})


def _arithmetic(job: Job, row: Mapping[str, Any], record: Record) -> dict[str, float]:
    cost = gflop_per_slice(job)
    rate, peak = cost * row["slices_per_s"], record.peaks.get((job.threads, job.precision), np.nan)
    return {
        "gflop_per_slice": cost,
        "gflops": rate,
        "matmul_peak_gflops": peak,
        "share_of_peak": rate / peak,
    }


def ratio(samples: Sequence[Sample], job: Job) -> float:
    """Return how many times faster than its reference a job is; NaN if that was not measured.

    Rounds are paired, so that a slow minute of the machine hits both sides of a ratio.
    """
    turns = {(s.group, s.round): s.seconds for s in samples if s.job == job.reference}
    ratios = [
        turns[s.group, s.round] / s.seconds
        for s in samples
        if s.job == job and (s.group, s.round) in turns
    ]
    return float(np.median(ratios)) if ratios else float("nan")


def _versions(versions: Mapping[str, str]) -> str:
    return " ".join(f"{name}={number}" for name, number in versions.items())
