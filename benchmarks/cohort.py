"""The cost of distribution: one cohort on one process and on Dask clusters of this machine.

    python benchmarks/cohort.py --scans 8 --repeats 3 -o benchmarks/cohort.csv

Copies of a sample scan are segmented with the bundled weights by one process, by a
cluster of several workers with one processor each, and by a cluster of one worker with all of
them. Each worker is bound to its processors with `taskset`. Every run is a command of its own;
the three take turns, so that a noisy minute of the machine hits all of them. Clusters stay up
between runs, as a site's do, and have segmented a scan for each worker before the first run. Each
row is one run, "wall" the seconds of its command; the printed table has medians.
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

import pandas as pd

from musclejax.cluster import connect
from musclejax.samples import SAMPLES

SCAN = SAMPLES["test_up"]
PATIENCE_S = 120
"""How long a cluster may take to come up."""


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
        places: dict[str, list[str]] = {"one process": []}
        for bound in ([[p] for p in processors], [processors]):
            name = f"{len(bound)} workers, {len(bound[0])} threads each"
            scheduler = stack.enter_context(_cluster(work / f"{len(bound)}", bound))
            places[name] = ["--scheduler", str(scheduler)]
        for extra in places.values():
            _segment(work / "warm", work, extra)
        rows = [
            {"place": name, "run": run, **_measure(work, options.scans, extra)}
            for run in range(1, options.repeats + 1)
            for name, extra in places.items()
        ]
    table = pd.DataFrame(rows)
    table.to_csv(options.output, index=False, float_format="%.4g", lineterminator="\n")
    medians = table.groupby("place", sort=False)
    print(medians[["wall", "scans_per_hour", "seconds_per_scan"]].median().round(2).to_string())


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


def _segment(scans: Path, work: Path, extra: list[str]) -> float:
    """Return the seconds that the command took."""
    command = [sys.executable, "-m", "musclejax", "segment", str(scans), "-o", str(work / "out")]
    start = time.perf_counter()
    subprocess.run([*command, "--overwrite", *extra], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _measure(work: Path, count: int, extra: list[str]) -> dict[str, object]:
    wall = _segment(work / "cohort", work, extra)
    records = [
        json.loads((work / "out" / f"scan{number}_run.json").read_text()) for number in range(count)
    ]
    last = records[-1]
    versions = {**last["versions"], "distributed": version("distributed")}
    return {
        "scans": count,
        "wall": wall,
        "scans_per_hour": 3600 * count / wall,
        "seconds_per_scan": sum(r["seconds"]["total"] for r in records) / count,
        "peak_rss_mib": max(r["peak_memory_mib"] for r in records),
        "workers": len({r.get("worker", {}).get("address") for r in records}),
        "threads": last["threads"],
        "cpu": last["machine"]["cpu"],
        "system": last["machine"]["system"],
        "versions": " ".join(f"{k}={v}" for k, v in versions.items()),
        "command": " ".join(["musclejax segment COHORT -o OUT --overwrite", *extra[:1]]),
    }


if __name__ == "__main__":
    main()
