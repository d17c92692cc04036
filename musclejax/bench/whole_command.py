"""Whole runs of `musclejax segment`, a process each, as a user's are."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from musclejax.bench.job import TASK, Job
from musclejax.bench.plan import CASE_SLICES
from musclejax.bench.record import (
    STAGES,
    Event,
    Failed,
    Prepared,
    Record,
    RoundDone,
    Sample,
    Sampled,
)
from musclejax.bench.runner import SEED
from musclejax.bundled import DEFAULT_WEIGHTS
from musclejax.samples import SAMPLES

SAMPLE = SAMPLES["test_up"]
BUNDLED = {"slim32": DEFAULT_WEIGHTS}
"""Variant -> bundled weights of it; the others get random ones. Noise is slower to compress and to
draw than muscles are, so their stage "save" is overstated."""


def measure_command_steps(jobs: Sequence[Job], repeats: int) -> Generator[Event, None, Record]:
    """Run every job once to fill the cache of compiled functions, then all in turn.

    Compilation is the first run's seconds over the median of the later ones.
    """
    record, order = Record(), random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="musclejax-bench-") as name:
        work = Path(name)
        weights = {v: _weights(work, v) for v in dict.fromkeys(j.variant for j in jobs)}
        scans = {n: _scan(work, n) for n in dict.fromkeys(j.slices for j in jobs)}
        remaining = list(jobs)
        for turn in range(repeats + 1):
            for job in order.sample(remaining, len(remaining)):
                scan, source = scans[job.slices], weights[job.variant]
                try:
                    sample, versions = _run(work, job, scan, source, turn)
                except RuntimeError as error:
                    remaining.remove(job)
                    yield Failed(job, str(error))
                    continue
                if turn:
                    record.samples.append(sample)
                    yield Sampled(sample)
                else:
                    record.prepared[job] = {"first_run_s": sample.seconds, "versions": versions}
                    yield Prepared(job, sample.seconds)
            if turn:
                yield RoundDone(turn, record)
    return record


def _run(
    work: Path, job: Job, scan: Path, weights: str, turn: int
) -> tuple[Sample, dict[str, str]]:
    arguments = ["segment", scan, "-o", work / "out", "--weights", weights, "--overwrite"]
    arguments += ["--region", TASK, "--batch-size", job.batch_size, "--threads", job.threads]
    arguments += ["--engine", job.engine, "--precision", job.precision]
    start = time.perf_counter()
    _musclejax(work, *arguments)
    wall = time.perf_counter() - start
    run: dict[str, Any] = json.loads((work / "out" / f"{scan.name[:-7]}_run.json").read_text())
    stages = {name: run["seconds"][name] for name in STAGES if name in run["seconds"]}
    return Sample(job, 1, turn, wall, run["peak_memory_mib"], stages), run["versions"]


def _weights(work: Path, variant: str) -> str:
    if variant in BUNDLED:
        return BUNDLED[variant]
    _musclejax(work, "weights", "init", "--variant", variant, "-o", work / variant)
    return str(work / variant)


def _scan(work: Path, slices: int) -> Path:
    """Return the sample scan, its slices cut or repeated to a number."""
    if slices == CASE_SLICES:
        return SAMPLE
    scan: Any = nib.load(SAMPLE)
    data = np.asarray(scan.dataobj)
    chosen = np.arange(data.shape[2] // 2, data.shape[2] // 2 + slices) % data.shape[2]
    nib.save(nib.Nifti1Image(data[:, :, chosen], scan.affine), work / f"{slices}.nii.gz")
    return work / f"{slices}.nii.gz"


def _musclejax(work: Path, *arguments: object) -> None:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(work / "cache")}
    command = [sys.executable, "-m", "musclejax", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        raise RuntimeError(lines[-1][:200] if lines else f"exit code {run.returncode}")
