"""The process that measures one configuration: lines of JSON in, lines of JSON out.

Requests are {"do": "prepare", "job": {...}}, {"do": "run"}, {"do": "label", "path": ...}, which
writes the labels of the sample scan, and {"do": "peak", "precision": ...}; the end of the input
ends the process.
"""

import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np

from musclejax.bench.engines import ENGINES
from musclejax.bench.job import Job
from musclejax.bench.meter import own_processors, read, usage
from musclejax.bench.workloads import Call, load_module, prepare
from musclejax.system import peak_memory_mib, versions

MIN_SECONDS = 0.5
"""A repeat calls as often as it takes to fill this: the clocks, also those of processors, and the
caches settle."""


def serve() -> None:
    """Answer requests until the input ends; what a framework prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job: Job | None = None
    call: Call | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["do"]:
                case "prepare":
                    job = Job(**request["job"])
                    call, answer = _prepare(job)
                case "run":
                    assert call is not None
                    answer = _run(call)
                case "label":
                    np.save(request["path"], load_module("sample").label_sample(job))
                    answer = {}
                case "peak":
                    answer = load_module("peak").measure_peak(request["precision"])._asdict()
                case unknown:
                    answer = {"error": f"no request {unknown!r}"}
        except Exception as error:
            # The parent reports it in one line; the other configurations continue.
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        _send(answers, answer)


def _send(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _prepare(job: Job) -> tuple[Call, dict[str, Any]]:
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


def _run(call: Call) -> dict[str, Any]:
    processors = own_processors()
    latencies: list[float] = []
    before = read(processors)
    while not latencies or time.perf_counter() - before.wall < MIN_SECONDS:
        start = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - start)
    taken = usage(before, read(processors), len(latencies))
    return {
        "usage": taken._asdict(),
        "latencies": latencies,
        "peak_memory_mib": peak_memory_mib(),
    }
