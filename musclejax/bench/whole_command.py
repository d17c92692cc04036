"""Whole runs of `musclejax segment`, a process each, as a user's are."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from musclejax.bench.engines import DEFAULT
from musclejax.bench.job import TASK, Job
from musclejax.bench.meter import own_processors, read, usage
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
from musclejax.bench.rounds import Budget, turns
from musclejax.bench.runner import SEED
from musclejax.bench.sample import (
    BUNDLED,
    OTHER_SAMPLE,
    SAMPLE,
    accuracy,
    read_reference,
    trained,
)


def measure_command_steps(
    jobs: Sequence[Job], budget: Budget, reference: Path | None = None, weights: str | None = None
) -> Generator[Event, None, Record]:
    """Run every job once to fill the cache of compiled functions, then all in turn.

    Compilation is the first run's seconds over the median of the later ones.

    Args:
        jobs: What to measure.
        budget: When to end.
        reference: Reference labels of the sample scan.
        weights: Trained weights in place of those of their variant.
    """
    record, order, start = Record(), random.Random(SEED), time.monotonic()
    drawn = read_reference(reference) if reference else None
    with tempfile.TemporaryDirectory(prefix="musclejax-bench-") as name:
        commands = _Commands(Path(name), trained(weights))
        remaining, labels = list(jobs), {}
        for job in jobs:
            try:
                sample, run = commands.run(job, 0)
            except RuntimeError as error:
                remaining.remove(job)
                yield Failed(job, str(error))
                continue
            used = f"{run['engine']} {run['precision']}"
            known = {"first_run_s": sample.seconds, "versions": run["versions"], "used": used}
            record.prepared[job] = known
            if commands.knows(job) and job.slices == CASE_SLICES:
                labels[job] = commands.labels()
            yield Prepared(job, sample.seconds)
        for job, found in dict(labels).items():
            if job.reference not in labels:
                commands.run(job.reference, 0)
                labels[job.reference] = commands.labels()
            record.accuracy[job] = accuracy(found, labels[job.reference], drawn)
        for turn, due in turns(remaining, record.samples, budget, start):
            for job in order.sample(due, len(due)):
                try:
                    sample, _ = commands.run(job, turn)
                except RuntimeError as error:
                    remaining.remove(job)
                    yield Failed(job, str(error))
                    continue
                record.samples.append(sample)
                yield Sampled(sample)
            yield RoundDone(turn, record)
    return record


class _Commands:
    """Runs of the command in a folder of their own: scans, weights, results, compiled functions.

    Args:
        work: The folder.
        trained: Variant -> trained weights of it; others get random ones.
    """

    def __init__(self, work: Path, trained: Mapping[str, str]) -> None:
        self._work, self._trained = work, trained
        self._processors = own_processors()

    def knows(self, job: Job) -> bool:
        """Return whether a job's weights have learned something."""
        return job.variant in self._trained

    def run(self, job: Job, turn: int) -> tuple[Sample, dict[str, Any]]:
        """Run a job's command; return what it took, and the run record of its first scan."""
        out = self._work / "out"
        shutil.rmtree(out, ignore_errors=True)
        arguments = ["segment", self._scans(job), "-o", out]
        arguments += ["--batch-size", job.batch_size, "--threads", job.threads]
        arguments += ["--weights", self._weights(job.variant)]
        if job.engine != DEFAULT:
            arguments += ["--engine", job.engine, "--precision", job.precision]
        if not self._ships(job):  # a classifier is absent, or random and would take any region
            arguments += ["--region", TASK]
        processors = self._processors[: job.threads]
        before = read(processors)
        self._musclejax(*arguments)
        taken = usage(before, read(processors))
        runs = [self._record(name) for name in _names(job)]
        stages = {name: runs[0]["seconds"][name] for name in STAGES if name in runs[0]["seconds"]}
        peak = max((run["peak_memory_mib"] or 0 for run in runs), default=0) or None
        return Sample(job, 1, turn, taken, peak, (taken.seconds,), stages), runs[0]

    def labels(self) -> np.ndarray:
        """Return the labels of the sample scan by the latest run."""
        image: Any = nib.load(self._work / "out" / f"{_NAME}_labels.nii.gz")
        return np.asarray(image.dataobj)

    def _record(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self._work / "out" / f"{name}_run.json").read_text())
        return record

    def _weights(self, variant: str) -> str:
        if variant in self._trained:
            return self._trained[variant]
        folder = self._work / variant
        if not folder.exists():
            self._musclejax("weights", "init", "--variant", variant, "-o", folder)
        return str(folder)

    def _scans(self, job: Job) -> Path:
        """Return a scan, or a folder of scans, the samples in turn: thighs and lower legs."""
        folder = self._work / f"{job.kind}-{job.slices}-{job.scans}"
        if not folder.exists():
            folder.mkdir()
            for name, source in zip(_names(job), self._sources(job), strict=True):
                _cut(source, job.slices, folder / f"{name}.nii.gz")
        return folder if job.kind == "cohort" else folder / f"{_NAME}.nii.gz"

    def _sources(self, job: Job) -> list[Path]:
        both = (SAMPLE, OTHER_SAMPLE) if self._ships(job) else (SAMPLE, SAMPLE)
        return [both[number % 2] for number in range(job.scans)]

    def _ships(self, job: Job) -> bool:
        return self._trained.get(job.variant) in BUNDLED.values()

    def _musclejax(self, *arguments: object) -> None:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(self._work / "cache")}
        command = [sys.executable, "-m", "musclejax", *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        if run.returncode:
            lines = [line for line in run.stderr.splitlines() if line.strip()]
            raise RuntimeError(lines[-1][:200] if lines else f"exit code {run.returncode}")


_NAME = "scan1"
"""Of the first scan, which is the sample of the thighs."""


def _names(job: Job) -> list[str]:
    return [f"scan{number}" for number in range(1, job.scans + 1)]


def _cut(source: Path, slices: int, target: Path) -> None:
    """Write a sample scan, its slices cut or repeated to a number."""
    if slices == CASE_SLICES:
        shutil.copy(source, target)
        return
    scan: Any = nib.load(source)
    data = np.asarray(scan.dataobj)
    chosen = np.arange(data.shape[2] // 2, data.shape[2] // 2 + slices) % data.shape[2]
    nib.save(nib.Nifti1Image(data[:, :, chosen], scan.affine), target)
