"""One session: a process for each configuration, all of them taking turns."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from musclejax.bench.job import ENGINES, RATED, Job, groups

WORKER = (sys.executable, "-m", "musclejax.cli.bench_worker")
ROOM = 0.9
"""Share of the free memory that a group of processes may be expected to take."""
SEED = 0


@dataclass(frozen=True)
class Sample:
    """One repeat.

    Attributes:
        job: What was measured.
        group: Jobs of one group took turns; ratios are taken within it.
        round: Number of the turn, from 1.
        seconds: Of the repeat.
        peak_memory_mib: Of its process until then.
        stages: Seconds by stage, where they are known.
    """

    job: Job
    group: int
    round: int
    seconds: float
    peak_memory_mib: float | None = None
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """All that a session has measured.

    Attributes:
        samples: Every repeat.
        prepared: What each job's process said of its preparation: seconds, versions.
        peaks: GFLOP/s of the best matrix product by (threads, precision).
    """

    samples: list[Sample]
    prepared: dict[Job, dict[str, Any]]
    peaks: dict[tuple[int, str], float]


@dataclass(frozen=True)
class Hooks:
    """How a caller follows.

    Attributes:
        advance: Called with a job's name after its preparation and after each repeat.
        say: Called with a line that must be seen.
        note: Called with a line that is of use where no progress bar is.
        keep: Called with all that is measured so far, after each round.
    """

    advance: Callable[[str], None] = lambda what: None
    say: Callable[[str], None] = lambda line: None
    note: Callable[[str], None] = lambda line: None
    keep: Callable[[Record], object] = lambda record: None


class WorkerError(RuntimeError):
    """A worker could not do what it was asked to; the message is one line."""


class Worker:
    """A process that measures, and the conversation with it."""

    def __init__(self, threads: int, ours: bool, cache: Path) -> None:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            # Empty at first, so that what compiles is counted.
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

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Ask and wait for the answer.

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
            raise WorkerError(f"its process ended with code {process.wait()}{self._last_words()}")
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

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return f" ({lines[-1][:200]})" if lines else " (out of memory?)"


@contextmanager
def _caches() -> Any:
    with tempfile.TemporaryDirectory(prefix="musclejax-bench-") as folder:
        yield Path(folder)


def measure(jobs: Sequence[Job], repeats: int, hooks: Hooks) -> Record:
    """Measure jobs that workers can do; one that fails is said and left out."""
    record = Record([], {}, {})
    with _caches() as folder:
        rated = [j for j in jobs if j.kind in RATED]
        for threads, precision in dict.fromkeys((j.threads, j.precision) for j in rated):
            peak = _matmul_peak(threads, precision, folder)
            record.peaks[threads, precision] = peak
            hooks.note(f"best matrix product, {threads} threads, {precision}: {peak:.0f} GFLOP/s")
        parts = list(groups(jobs, ROOM * free_memory_mib()))
        if len(parts) > 1:
            hooks.say(f"memory for all at once is lacking: {len(parts)} groups, one by one")
        for number, group in enumerate(parts, 1):
            hooks.note(f"group {number} of {len(parts)}: " + "; ".join(j.label for j in group))
            _measure_group(record, number, group, repeats, folder, hooks)
    return record


def _measure_group(
    record: Record, number: int, group: list[Job], repeats: int, folder: Path, hooks: Hooks
) -> None:
    """Prepare every worker of the group, then call each once a round, in shuffled order."""
    order = random.Random(SEED)
    with ExitStack() as stack:
        workers: dict[Job, Worker] = {}
        for place, job in enumerate(group):
            cache = folder / f"{number}-{place}"
            worker = Worker(job.threads, ENGINES[job.engine].ours, cache)
            stack.callback(worker.close)
            try:
                answer = worker.ask("prepare", job=asdict(job))
            except WorkerError as error:
                worker.close()
                hooks.say(f"{job.label}: failed, left out: {error}")
                continue
            workers[job] = worker
            record.prepared.setdefault(job, answer)
            hooks.advance(job.label)
            seconds = answer["build_s"] + answer["compile_s"]
            hooks.note(f"{job.label}: ready after {seconds:.1f} s")
        for turn in range(1, repeats + 1):
            for job in order.sample(list(workers), len(workers)):
                try:
                    answer = workers[job].ask("run")
                except WorkerError as error:
                    hooks.say(f"{job.label}: failed in round {turn}: {error}")
                    workers.pop(job).close()
                    continue
                sample = Sample(job, number, turn, answer["seconds"], answer["peak_memory_mib"])
                record.samples.append(sample)
                hooks.advance(job.label)
            if record.samples:
                hooks.keep(record)
            hooks.note(f"round {turn} of {repeats} is done")


def _matmul_peak(threads: int, precision: str, folder: Path) -> float:
    worker = Worker(threads, True, folder / f"peak-{threads}-{precision}")
    try:
        return float(worker.ask("matmul", precision=precision)["gflops"])
    finally:
        worker.close()


def free_memory_mib() -> float:
    """Return the memory that is free for new processes; 8 GB where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 8192.0
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024
