"""From repeats to rows: medians, spread, latencies, arithmetic rates and ratios; pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from musclejax.bench.job import KEYS, RATED, Job, gflop_per_slice
from musclejax.bench.meter import Usage
from musclejax.bench.record import STAGES, Accuracy, Record, Sample

TIMES = (
    *("scenario", "repeats", "disturbed", "compile_s"),
    *("seconds_median", "seconds_iqr", "seconds_min", "cpu_s", "others"),
)
PERCENTILES = (50, 90, 95, 99)
LATENCIES = (*(f"latency_p{p}" for p in PERCENTILES), "calls")
RATES = (
    *("slices_per_s", "slices_per_s_low", "slices_per_s_high"),
    *("seconds_per_slice", "cpu_s_per_slice"),
)
COSTS = ("peak_memory_mib", "energy_j")
ACCURACY = Accuracy._fields
ARITHMETIC = ("gflop_per_slice", "gflops", "peak_gflops", "peak_by", "share_of_peak")
MACHINE = ("cpu", "system", "versions", "commit", "command")
_FIRST, _LAST = (*KEYS, *TIMES, *LATENCIES, *RATES), ("ratio_to_jax", *MACHINE)
_COMMAND = (*_FIRST, "scans_per_hour", *COSTS, *ACCURACY, *STAGES, "used", *_LAST)
COLUMNS: dict[str, tuple[str, ...]] = {
    "infer": (*_FIRST, *COSTS, *ACCURACY, *ARITHMETIC, *_LAST),
    "train": (*_FIRST, *COSTS, *ARITHMETIC, *_LAST),
    "segment": _COMMAND,
    "cohort": _COMMAND,
    "data": (*_FIRST, *COSTS, *_LAST),
}
"""Kind -> columns. Figures are of the calm repeats, which `repeats` counts; of all if fewer than
three are calm. disturbed: repeats while more ran than `meter.bound` allows; others: processors that
it kept busy, the median. Latencies are of single calls. Low and high are the rates at the quartiles
of the seconds. ratio_to_jax is throughput against jax in float32, the median of the ratios round by
round; more than 1 is faster. compile_s: seconds of the first call beyond those of the second; of
commands, seconds of the first run beyond the median. energy_j: of all processor packages in a
repeat. Stages: medians of their seconds in the first scan. used: engine and precision that the
command chose."""
CALM_ENOUGH = 3
"""Calm repeats from which disturbed ones do not count. Source: ours: a median of three."""


def rows(record: Record, here: Mapping[str, Any], command: str) -> pd.DataFrame:
    """Return a row for each configuration.

    Args:
        record: What was measured.
        here: Processor, system, versions, as `system.machine` or `environment` give them.
        command: The command line.
    """
    table = pd.DataFrame(
        [_row(job, record, here) | {"command": command} for job in jobs_in(record)]
    )
    return table.reindex(columns=list(COLUMNS[table["kind"].iloc[0]])) if len(table) else table


def jobs_in(record: Record) -> list[Job]:
    """Return the jobs that were measured, as they were planned."""
    measured = {s.job for s in record.samples}
    return [job for job in record.prepared if job in measured]


def repeats(record: Record) -> pd.DataFrame:
    """Return a row for each repeat, in the order in which they were measured."""
    return pd.DataFrame(
        [
            asdict(s.job)
            | {"group": s.group, "round": s.round, "disturbed": s.disturbed}
            | s.usage._asdict()
            | {"peak_memory_mib": s.peak_memory_mib}
            | s.stages
            for s in record.samples
        ]
    )


def counted(samples: Sequence[Sample]) -> list[Sample]:
    """Return the repeats of a job that count: the calm ones, if there are enough."""
    calm = [s for s in samples if not s.disturbed]
    return calm if len(calm) >= CALM_ENOUGH else list(samples)


def remarks(record: Record) -> list[str]:
    """Return what a reader must know before relying on the figures."""
    found = list(record.warnings)
    for job in jobs_in(record):
        samples = [s for s in record.samples if s.job == job]
        disturbed = [s for s in samples if s.disturbed]
        if disturbed and len(samples) - len(disturbed) < CALM_ENOUGH:
            most = max(s.usage.others or 0 for s in disturbed)
            found.append(
                f"{job.label}: other programs ran in {len(disturbed)} of {len(samples)} repeats, "
                f"on up to {most:.2g} processors: measure again when nothing else runs"
            )
        share = _arithmetic(job, counted(samples), record)["share_of_peak"] if _rated(job) else 0
        if share > 1:
            found.append(
                f"{job.label}: {share:.0%} of peak: no convolution or product that was tried is as "
                "fast; read it as at the peak"
            )
    return found


def _rated(job: Job) -> bool:
    return job.kind in RATED


def _row(job: Job, record: Record, here: Mapping[str, Any]) -> dict[str, Any]:
    every = [s for s in record.samples if s.job == job]
    samples = counted(every)
    seconds = np.array([s.seconds for s in samples])
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    prepared, slices = record.prepared.get(job, {}), job.slices * job.scans
    peaks = [s.peak_memory_mib for s in every if s.peak_memory_mib is not None]
    cpu_s = _median(samples, "cpu_s")
    row = asdict(job) | {
        "scenario": job.scenario,
        "repeats": len(seconds),
        "disturbed": sum(s.disturbed for s in every),
        "compile_s": prepared.get("compile_s", prepared.get("first_run_s", np.nan) - median),
        "seconds_median": median,
        "seconds_iqr": high - low,
        "seconds_min": seconds.min(),
        "cpu_s": cpu_s,
        "others": _median(samples, "others"),
        "slices_per_s": slices / median,
        "slices_per_s_low": slices / high,
        "slices_per_s_high": slices / low,
        "seconds_per_slice": median / slices,
        "cpu_s_per_slice": cpu_s / slices,
        "scans_per_hour": 3600 * job.scans / median,
        "peak_memory_mib": max(peaks, default=np.nan),
        "energy_j": _median(samples, "energy_j"),
        "ratio_to_jax": ratio(record.samples, job),
        "used": prepared.get("used", ""),
        "cpu": here["machine"]["cpu"],
        "system": here["machine"]["system"],
        "versions": _versions(here["versions"] | prepared.get("versions", {})),
        "commit": here.get("commit") or "",
        **_latencies(samples),
        **record.accuracy.get(job, Accuracy())._asdict(),
    }
    for name in dict.fromkeys(name for s in samples for name in s.stages):
        row[name] = np.median([s.stages[name] for s in samples if name in s.stages])
    return row | (_arithmetic(job, samples, record) if _rated(job) else {})


def _median(samples: Sequence[Sample], field: str) -> float:
    """Return the median of a field of `Usage`; NaN where the system does not report it."""
    place = Usage._fields.index(field)
    values = [s.usage[place] for s in samples]
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else float("nan")


def _latencies(samples: Sequence[Sample]) -> dict[str, float]:
    calls = np.concatenate([s.latencies or (s.seconds,) for s in samples])
    found = np.percentile(calls, PERCENTILES)
    return dict(zip(LATENCIES, (*found.tolist(), len(calls)), strict=True))


def _arithmetic(job: Job, samples: Sequence[Sample], record: Record) -> dict[str, Any]:
    cost = gflop_per_slice(job)
    rate = cost * job.slices / float(np.median([s.seconds for s in samples]))
    best = max(record.peaks.get((job.threads, job.precision), []), default=None)
    return {
        "gflop_per_slice": cost,
        "gflops": rate,
        "peak_gflops": best.gflops if best else np.nan,
        "peak_by": best.by if best else "",
        "share_of_peak": rate / best.gflops if best else np.nan,
    }


def ratio(samples: Sequence[Sample], job: Job) -> float:
    """Return how many times faster than its reference a job is; NaN if that was not measured.

    Rounds are paired, so that a slow minute of the machine hits both sides of a ratio. Rounds in
    which either was disturbed count only if fewer than three are left.
    """
    turns = {(s.group, s.round): s for s in samples if s.job == job.reference}
    mine = [s for s in samples if s.job == job]
    pairs = [(turns[s.group, s.round], s) for s in mine if (s.group, s.round) in turns]
    calm = [pair for pair in pairs if not any(s.disturbed for s in pair)]
    used = calm if len(calm) >= CALM_ENOUGH else pairs
    ratios = [reference.seconds / s.seconds for reference, s in used]
    return float(np.median(ratios)) if ratios else float("nan")


def _versions(versions: Mapping[str, str]) -> str:
    return " ".join(f"{name}={number}" for name, number in versions.items())
