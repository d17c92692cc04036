"""The result of a measurement as JSON for other programs: versioned, with a schema."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from musclejax.bench import meter, table
from musclejax.bench.job import KEYS
from musclejax.bench.json_schema import violations
from musclejax.bench.record import Peak, Record, Sample
from musclejax.data.strict_json import parse_json
from musclejax.errors import InputError

FORMAT, VERSION = "musclejax bench", 1
"""The version changes when a reader of the earlier one would go wrong."""
SCHEMA = Path(__file__).with_name("result.schema.json")
_TEXTS = ("scenario", "used", "peak_by")
FIGURES = {
    kind: tuple(c for c in columns if c not in (*KEYS, *table.MACHINE, *_TEXTS))
    for kind, columns in table.COLUMNS.items()
}
"""Kind -> columns of its table that are numbers."""
_DIGITS = 6


def to_result(
    record: Record, here: Mapping[str, Any], about: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """Return the result, as `result.schema.json` describes it.

    Args:
        record: What was measured.
        here: As `environment` gives it.
        about: Kind, command, options, and when it was started and finished.
        warnings: What a reader must know.
    """
    rows = table.rows(record, here, about["command"])
    pairs = zip(table.jobs_in(record), rows.to_dict("records"), strict=True)
    return {
        "format": FORMAT,
        "version": VERSION,
        **about,
        **here,
        "disturbed_from": {"processors": meter.OTHERS, "share": meter.OTHERS_SHARE},
        "peaks": [_peak(*item) for item in record.peaks.items()],
        "results": [
            {
                "job": asdict(job),
                "scenario": job.scenario,
                "used": row.get("used") or None,
                "versions": record.prepared[job].get("versions", {}),
                "figures": {name: _number(row[name]) for name in FIGURES[job.kind]},
                "repeats": [_repeat(s) for s in record.samples if s.job == job],
            }
            for job, row in pairs
        ],
        "warnings": warnings,
    }


def read_result(path: Path) -> dict[str, Any]:
    """Return the result in a file.

    Raises:
        InputError: If it is none, or one of a version that this musclejax does not read.
    """
    accepted = "bench_KIND.json of `musclejax bench`"
    found = parse_json(path, accepted)
    if found.get("format") != FORMAT:
        raise InputError(path, "JSON of another kind", accepted)
    if found.get("version") != VERSION:
        made = f"a result of version {found.get('version')}"
        remedy = "Measure again, or compare with the musclejax that made it."
        raise InputError(path, made, f"version {VERSION}", remedy)
    if wrong := next(violations(found, schema()), ""):
        raise InputError(path, f"a result that breaks its schema ({wrong})", accepted)
    return found


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """Return the schema of results."""
    read: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return read


def _peak(of: tuple[int, str], rounds: list[Peak]) -> dict[str, Any]:
    best = max(rounds)
    return {
        "threads": of[0],
        "precision": of[1],
        "gflops": _number(best.gflops),
        "by": best.by,
        "gflops_by_round": [_number(peak.gflops) for peak in rounds],
    }


def _repeat(sample: Sample) -> dict[str, Any]:
    figures = {name: _number(value) for name, value in sample.usage._asdict().items()}
    return {
        "group": sample.group,
        "round": sample.round,
        "disturbed": sample.disturbed,
        **figures,
        "peak_memory_mib": _number(sample.peak_memory_mib),
        "latencies": [_number(seconds) for seconds in sample.latencies],
        "stages": {name: _number(seconds) for name, seconds in sample.stages.items()},
    }


def _number(value: int | float | None) -> int | float | None:
    """Return a number with the digits that it is worth; None for what is unknown."""
    if value is None or pd.isna(value) or math.isinf(value):
        return None
    return int(value) if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
