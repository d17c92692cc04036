"""A process for each configuration, all of them taking turns."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from musclejax.bench.engines import ENGINES
from musclejax.bench.job import RATED, Job, groups
from musclejax.bench.record import (
    Event,
    Failed,
    GroupBegins,
    Prepared,
    Record,
    RoundDone,
    Sample,
    Sampled,
)
from musclejax.system import free_memory_mib

WORKER = (sys.executable, "-m", "musclejax.app.bench_worker")
MEMORY_SHARE = 0.9
"""Share of the free memory that the processes of a group may be expected to take."""
FREE_MIB = 8192.0
"""Free memory to count on where the system does not report it."""
SEED = 0


class WorkerError(RuntimeError):
    """A worker could not fulfil a request; the message is one line."""


class Worker:
    """A process that measures, and the conversation with it."""

    def __init__(self, threads: int, ours: bool, cache: Path) -> None:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            # Empty at first, so that compilation is counted.
            "JAX_COMPILATION_CACHE_DIR": str(cache),
        }
        if not ours:
            # With more, the many small products of imgaug's piecewise affine wait for one another.
            environment["OPENBLAS_NUM_THREADS"] = "1"
        command = [*WORKER, str(threads), "ours" if ours else "rival"]
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


def measure_steps(jobs: Sequence[Job], repeats: int) -> Generator[Event, None, Record]:
    """Measure jobs in workers; one that fails is reported and left out."""
    record = Record()
    with tempfile.TemporaryDirectory(prefix="musclejax-bench-") as name:
        folder = Path(name)
        rated = [(j.threads, j.precision) for j in jobs if j.kind in RATED]
        for threads, precision in dict.fromkeys(rated):
            record.peaks[threads, precision] = _matmul_peak(threads, precision, folder)
        parts = list(groups(jobs, MEMORY_SHARE * (free_memory_mib() or FREE_MIB)))
        for number, group in enumerate(parts, 1):
            yield GroupBegins(number, len(parts), group)
            yield from _measure_group(record, number, group, repeats, folder)
    return record


def _matmul_peak(threads: int, precision: str, folder: Path) -> float:
    with _worker(threads, True, folder / f"peak-{threads}-{precision}") as worker:
        return float(worker.request("matmul", precision=precision)["gflops"])


@contextmanager
def _worker(threads: int, ours: bool, cache: Path) -> Iterator[Worker]:
    worker = Worker(threads, ours, cache)
    try:
        yield worker
    finally:
        worker.close()


def _measure_group(
    record: Record, number: int, group: list[Job], repeats: int, folder: Path
) -> Iterator[Event]:
    """Prepare every worker of the group, then call each once per round, in shuffled order."""
    order = random.Random(SEED)
    workers: dict[Job, Worker] = {}
    with ExitStack() as stack:
        for place, job in enumerate(group):
            cache = folder / f"{number}-{place}"
            worker = stack.enter_context(_worker(job.threads, ENGINES[job.engine].ours, cache))
            try:
                answer = worker.request("prepare", job=asdict(job))
            except WorkerError as error:
                worker.close()
                yield Failed(job, str(error))
                continue
            workers[job] = worker
            record.prepared.setdefault(job, answer)
            yield Prepared(job, answer["build_s"] + answer["compile_s"])
        for turn in range(1, repeats + 1):
            for job in order.sample(list(workers), len(workers)):
                try:
                    answer = workers[job].request("run")
                except WorkerError as error:
                    workers.pop(job).close()
                    yield Failed(job, f"in round {turn}: {error}")
                    continue
                sample = Sample(job, number, turn, answer["seconds"], answer["peak_memory_mib"])
                record.samples.append(sample)
                yield Sampled(sample)
            yield RoundDone(turn, record)
