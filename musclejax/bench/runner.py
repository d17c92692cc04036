"""A process for each configuration, all of them taking turns."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from musclejax.bench.engines import ENGINES
from musclejax.bench.job import RATED, Job, groups
from musclejax.bench.meter import Usage
from musclejax.bench.record import (
    Event,
    Failed,
    GroupBegins,
    Peak,
    Prepared,
    Record,
    RoundDone,
    Sample,
    Sampled,
)
from musclejax.bench.rounds import Budget, turns
from musclejax.bench.sample import BUNDLED, accuracy, read_reference
from musclejax.system import free_memory_mib

WORKER = (sys.executable, "-m", "musclejax.app.bench_worker")
OURS, TRAINS, RIVAL = "ours", "trains", "rival"
"""How a worker is set up: as `musclejax segment`, as `musclejax train`, or as it comes."""
MEMORY_SHARE = 0.9
"""Share of the free memory that the processes of a group may be expected to take."""
FREE_MIB = 8192.0
"""Free memory to count on where the system does not report it."""
PEAK_MIB = 450
"""Memory of a process that measures peaks. Source: ours; one took 390."""
SEED = 0


class WorkerError(RuntimeError):
    """A worker could not fulfil a request; the message is one line."""


class Worker:
    """A process that measures, and the conversation with it."""

    def __init__(self, threads: int, setup: str, cache: Path) -> None:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            # Empty at first, so that compilation is counted.
            "JAX_COMPILATION_CACHE_DIR": str(cache),
        }
        if setup == RIVAL:
            # With more, the many small products of imgaug's piecewise affine wait for one another.
            environment["OPENBLAS_NUM_THREADS"] = "1"
        command = [*WORKER, str(threads), setup]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )

    def request(self, do: str, **details: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
            WorkerError: If the worker fails or has ended.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"its process ended with code {process.wait()}{self._last_line()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            try:
                stream.close()
            except BrokenPipeError:
                continue

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return f" ({lines[-1][:200]})" if lines else " (out of memory?)"


def measure_steps(
    jobs: Sequence[Job], budget: Budget, reference: Path | None = None
) -> Generator[Event, None, Record]:
    """Measure jobs in workers; one that fails is reported and left out.

    Args:
        jobs: What to measure.
        budget: When to end.
        reference: Reference labels of the sample scan.
    """
    record = Record()
    drawn = read_reference(reference) if reference else None
    with tempfile.TemporaryDirectory(prefix="musclejax-bench-") as name:
        parts = list(groups(jobs, _room(jobs)))
        for number, group in enumerate(parts, 1):
            yield GroupBegins(number, len(parts), group)
            with ExitStack() as workers:
                folder = Path(tempfile.mkdtemp(dir=name))
                run = _Group(record, number, group, folder, workers)
                yield from run.measure_steps(budget.share(len(parts)))
                run.label(drawn)
    return record


def _room(jobs: Sequence[Job]) -> float:
    """Return the MiB that the jobs of a group may take, beside those that measure peaks."""
    rated = {job.threads for job in jobs if job.kind in RATED}
    return MEMORY_SHARE * (free_memory_mib() or FREE_MIB) - PEAK_MIB * len(rated)


class _Group:
    """Jobs that take turns, a worker each, and the workers that measure peaks.

    Args:
        record: Where all that is measured goes.
        number: Of the group, from 1.
        jobs: Jobs of the group.
        folder: For caches and labels.
        stack: Closes the workers.
    """

    def __init__(
        self, record: Record, number: int, jobs: Sequence[Job], folder: Path, stack: ExitStack
    ) -> None:
        self._record, self._number, self._jobs = record, number, jobs
        self._folder, self._stack = folder, stack
        self._workers: dict[Job, Worker] = {}

    def measure_steps(self, budget: Budget) -> Iterator[Event]:
        """Prepare every worker, then call each once per round, in shuffled order."""
        order, start, record = random.Random(SEED), time.monotonic(), self._record
        for job in self._jobs:
            yield self._prepare(job)
        remaining = list(self._workers)
        rated = dict.fromkeys((j.threads, j.precision) for j in remaining if j.kind in RATED)
        peaks = {threads: self._worker(threads, OURS) for threads in {t for t, _ in rated}}
        for turn, due in turns(remaining, record.samples, budget, start):
            for threads, precision in rated:
                self._measure_peak(peaks, threads, precision)
            for job in order.sample(due, len(due)):
                try:
                    sample = self._run(job, turn)
                except WorkerError as error:
                    remaining.remove(job)
                    self._workers.pop(job).close()
                    yield Failed(job, f"in round {turn}: {error}")
                    continue
                record.samples.append(sample)
                yield Sampled(sample)
            yield RoundDone(turn, record)

    def label(self, drawn: Any) -> None:
        """Find how good the labels of the jobs with trained weights are, after all rounds."""
        trained = [j for j in self._workers if j.kind == "infer" and j.variant in BUNDLED]
        trained = [job for job in trained if ENGINES[job.engine].ours]
        for variant in dict.fromkeys(job.variant for job in trained):
            jobs = [job for job in trained if job.variant == variant]
            # Batches and threads change no label: one reference does for all.
            reference = next((job for job in jobs if job == job.reference), jobs[0].reference)
            expected = self._label(reference)
            for job in jobs:
                labels = expected if job == reference else self._label(job)
                if labels is not None:
                    self._record.accuracy[job] = accuracy(labels, expected, drawn)

    def _worker(self, threads: int, setup: str) -> Worker:
        cache = Path(tempfile.mkdtemp(dir=self._folder))
        return self._stack.enter_context(_worker(threads, setup, cache))

    def _prepare(self, job: Job) -> Prepared | Failed:
        setup = TRAINS if job.kind == "train" else OURS
        worker = self._worker(job.threads, setup if ENGINES[job.engine].ours else RIVAL)
        try:
            answer = worker.request("prepare", job=asdict(job))
        except WorkerError as error:
            worker.close()
            return Failed(job, str(error))
        self._workers[job] = worker
        self._record.prepared.setdefault(job, answer)
        return Prepared(job, answer["build_s"] + answer["compile_s"])

    def _measure_peak(self, workers: dict[int, Worker], threads: int, precision: str) -> None:
        if threads not in workers:
            return
        try:
            found = Peak(**workers[threads].request("peak", precision=precision))
        except WorkerError as error:
            workers.pop(threads).close()
            line = f"no peak of {threads} threads in {precision}: {error}"
            self._record.warnings.append(line)
        else:
            self._record.peaks.setdefault((threads, precision), []).append(found)

    def _run(self, job: Job, turn: int) -> Sample:
        answer = self._workers[job].request("run")
        latencies, peak = tuple(answer["latencies"]), answer["peak_memory_mib"]
        return Sample(job, self._number, turn, Usage(**answer["usage"]), peak, latencies)

    def _label(self, job: Job) -> Any:
        """Return the labels of the sample scan by a job's engine; None if it fails."""
        path = self._folder / "labels.npy"
        try:
            if job not in self._workers:
                self._prepare(job)
            self._workers[job].request("label", path=str(path))
        except (WorkerError, KeyError) as error:
            self._record.warnings.append(f"no labels by {job.label}: {error}")
            return None
        return np.load(path)


@contextmanager
def _worker(threads: int, setup: str, cache: Path) -> Iterator[Worker]:
    worker = Worker(threads, setup, cache)
    try:
        yield worker
    finally:
        worker.close()
