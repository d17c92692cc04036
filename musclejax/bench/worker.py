"""The process that measures one configuration: lines of JSON in, lines of JSON out.

Requests are {"do": "prepare", "job": {...}}, {"do": "run"} and {"do": "matmul", "precision": ...};
the end of the input ends the process.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from musclejax.bench.engines import ENGINES
from musclejax.bench.job import Job
from musclejax.bench.peak import matmul_peak
from musclejax.bench.workloads import prepare
from musclejax.system import peak_memory_mib, versions

MIN_SECONDS = 0.2
"""A repeat calls as often as it takes to fill this: the clock and the caches settle."""


def serve() -> None:
    """Answer requests until the input ends; what a framework prints goes to standard error."""
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
            # The parent reports it in one line; the other configurations continue.
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        _send(answers, answer)


def _send(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _prepare(job: Job) -> tuple[Callable[[], object], dict[str, Any]]:
    """Build, call once, and once more without counting: engines may still settle."""
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
        "versions": versions(ENGINES[job.engine].versioned),
    }


def _run(call: Callable[[], object]) -> dict[str, Any]:
    calls, start = 0, time.perf_counter()
    while not calls or time.perf_counter() - start < MIN_SECONDS:
        call()
        calls += 1
    seconds = (time.perf_counter() - start) / calls
    return {"seconds": seconds, "peak_memory_mib": peak_memory_mib()}
