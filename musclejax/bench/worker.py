"""The process that measures one configuration: lines of JSON in, lines of JSON out.

Requests are {"do": "prepare", "job": {...}}, {"do": "run"} and {"do": "matmul", "precision": ...};
the end of the input ends the process.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from musclejax.bench.job import ENGINES, Job

MIN_SECONDS = 0.2
"""A repeat calls as often as it takes to fill this: the clock and the caches settle."""
MATMUL_SIZES = (1024, 2048, 3072)


def serve() -> None:
    """Answer requests until the input ends; whatever a framework prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    call: Callable[[], object] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["do"]:
                case "prepare":
                    call, answer = _prepare(Job(**request["job"]))
                case "run":
                    assert call is not None
                    answer = _run(call)
                case "matmul":
                    answer = {"gflops": matmul_peak(request["precision"])}
                case unknown:
                    answer = {"error": f"no request {unknown!r}"}
        except Exception as error:
            # The parent tells the user in one line; the other configurations go on.
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        _send(answers, answer)


def limit_threads(threads: int) -> None:
    """Bind the process to its first processors; must run before a framework is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _send(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _prepare(job: Job) -> tuple[Callable[[], object], dict[str, Any]]:
    """Build, call once, and once more unheeded: engines may still settle."""
    from musclejax.bench.workload import prepare

    start = time.perf_counter()
    call = prepare(job)
    built = time.perf_counter()
    call()
    first = time.perf_counter()
    call()
    settled = time.perf_counter() - first
    return call, {
        "compile_s": max(0.0, first - built - settled),
        "build_s": built - start,
        "versions": _versions(job.engine),
    }


def _run(call: Callable[[], object]) -> dict[str, Any]:
    calls, start = 0, time.perf_counter()
    while not calls or time.perf_counter() - start < MIN_SECONDS:
        call()
        calls += 1
    seconds = (time.perf_counter() - start) / calls
    return {"seconds": seconds, "peak_memory_mib": peak_memory_mib()}


def matmul_peak(precision: str) -> float:
    """Return GFLOP/s of the best matrix product of XLA here; bfloat16 sums in float32."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.dot(a, b, preferred_element_type=jnp.float32)

    best = 0.0
    for size in MATMUL_SIZES:
        a = jnp.ones((size, size), precision)
        dot(a, a).block_until_ready()
        for _ in range(4):
            start = time.perf_counter()
            dot(a, a).block_until_ready()
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def peak_memory_mib() -> float | None:
    """Return the largest resident memory of this process so far; None where Linux does not tell.

    Imports, weights and compilation are in it, as they are for a user.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(kib) / 1024, 1)


def _versions(engine: str) -> dict[str, str]:
    found = {}
    for package in ENGINES[engine].versioned:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
