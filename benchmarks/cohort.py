"""How throughput grows with processors and processes, and what distribution costs.

    python benchmarks/cohort.py --scans 20 --repeats 3 -o benchmarks/cohort.csv

Copies of a sample scan are segmented with the bundled weights: by one process on one processor
and on all, by a process for each processor in one output folder, and by Dask clusters of this
machine. Each process and worker is bound to its processors with `taskset`. Every run is a command
of its own; all take turns, so that a noisy minute of the machine hits all of them. Clusters stay
up between runs, as a site's do, and have segmented a scan for each worker before the first run.
Each row is one run, "wall" the seconds of its command; the printed tables have medians, and what
the model of docs/scaling.md predicts from the first two rows for larger machines.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from musclejax.cluster import connect
from musclejax.samples import SAMPLES

SCAN = SAMPLES["test_up"]
PATIENCE_S = 120
"""How long a cluster may take to come up."""
LARGER = (2, 8, 32, 128)
"""Numbers of processors to predict for."""
PER_PROCESS = (1, 2, 4, 8)
"""Processors of a process to predict for."""


class Place(NamedTuple):
    """Where a cohort is segmented: a command for each set of processors, with some options."""

    name: str
    bound: list[list[int]]
    options: tuple[str, ...] = ()


def main() -> None:
    """Run, write the CSV, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/cohort.csv"))
    options = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        _copy(work / "warm", len(processors))  # a scan for each worker
        _copy(work / "cohort", options.scans)
        singles = [[p] for p in processors]
        places = [
            Place("one process, 1 thread", singles[:1]),
            Place(f"one process, {len(processors)} threads", [processors]),
            Place(f"{len(processors)} processes, 1 thread each", singles),
        ]
        for bound in (singles, [processors]):
            name = f"{len(bound)} Dask workers, {len(bound[0])} threads each"
            scheduler = stack.enter_context(_cluster(work / f"{len(bound)}", bound))
            places.append(Place(name, [processors], ("--scheduler", str(scheduler))))
        for place in places:
            _segment(work / "warm", work, place)
        rows = [
            {"place": place.name, "run": run, **_measure(work, options.scans, place)}
            for run in range(1, options.repeats + 1)
            for place in places
        ]
    table = pd.DataFrame(rows)
    table.to_csv(options.output, index=False, float_format="%.4g", lineterminator="\n")
    medians = table.groupby("place", sort=False)[_FIGURES].median()
    print(medians.round(2).to_string())
    one, several = medians.seconds_per_scan.iloc[:2]
    print(predicted(one, several, len(processors)).round(0).to_string())


_FIGURES = ["wall", "cpu_s", "scans_per_hour", "seconds_per_scan", "peak_rss_mib"]


def predicted(one: float, all_of_them: float, threads: int) -> pd.DataFrame:
    """Return scans per hour by processors of the machine and of each process.

    A scan takes serial + parallel / threads seconds; processes do not slow each other.

    Args:
        one: Seconds of a scan with one thread.
        all_of_them: The same with `threads` threads.
        threads: 2 or more.
    """
    parallel = (one - all_of_them) / (1 - 1 / threads)
    serial = one - parallel
    per_hour = {
        f"{own} each": {
            cores: cores // own * 3600 / (serial + parallel / own)
            for cores in LARGER
            if own <= cores
        }
        for own in PER_PROCESS
    }
    return pd.DataFrame(per_hour).rename_axis("processors")


def _copy(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        shutil.copy(SCAN, folder / f"scan{number}.nii.gz")


@contextmanager
def _cluster(folder: Path, bound: list[list[int]]) -> Iterator[Path]:
    """Yield the file of a scheduler whose workers are bound to those processors, one each."""
    folder.mkdir()
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    joined = ["--scheduler-file", str(file), "--no-dashboard"]
    worker = [*dask, "worker", *joined, "--nthreads", "1", "--local-directory", str(folder)]
    commands = [[*dask, "scheduler", "--port", "0", *joined]]
    commands += [["taskset", "-c", ",".join(map(str, cores)), *worker] for cores in bound]
    with (folder / "log").open("w") as log:
        processes = [subprocess.Popen(c, stdout=log, stderr=log) for c in commands]
        try:
            _wait(file, len(bound))
            yield file
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def _wait(file: Path, workers: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while not file.is_file() and time.monotonic() < end:
        time.sleep(0.1)
    with connect(str(file)) as client:
        client.wait_for_workers(workers, timeout=PATIENCE_S)


def _segment(scans: Path, work: Path, place: Place) -> tuple[float, float]:
    """Return the seconds that the commands took together, and those of all their processors."""
    shutil.rmtree(work / "out", ignore_errors=True)
    command = [sys.executable, "-m", "musclejax", "segment", str(scans), "-o", str(work / "out")]
    start, before = time.perf_counter(), os.times()
    running = [
        subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *command, *place.options],
            stdout=subprocess.DEVNULL,
        )
        for cores in place.bound
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"a command failed: {place.name}")
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return time.perf_counter() - start, cpu


def _measure(work: Path, count: int, place: Place) -> dict[str, object]:
    wall, cpu = _segment(work / "cohort", work, place)
    records = [
        json.loads((work / "out" / f"scan{number}_run.json").read_text()) for number in range(count)
    ]
    last = records[-1]
    versions = {**last["versions"], "distributed": version("distributed")}
    return {
        "scans": count,
        "wall": wall,
        "cpu_s": cpu,
        "scans_per_hour": 3600 * count / wall,
        "seconds_per_scan": sum(r["seconds"]["total"] for r in records) / count,
        "peak_rss_mib": max(r["peak_memory_mib"] for r in records),
        "workers": len({r.get("worker", {}).get("address") for r in records}),
        "threads": last["threads"],
        "cpu": last["machine"]["cpu"],
        "system": last["machine"]["system"],
        "versions": " ".join(f"{k}={v}" for k, v in versions.items()),
        "command": " ".join(["musclejax segment COHORT -o OUT", *place.options[:1]]),
    }


if __name__ == "__main__":
    main()
