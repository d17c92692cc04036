"""Seconds per stage and peak memory of `musclejax segment` on the two sample scans.

    python benchmarks/segment.py --repeats 5 -o benchmarks/segment.csv

Every run is a process of its own, as a user's is; variants and scans take turns, so that a noisy
minute of the machine hits all of them. The paper's network has random weights, because what a
network costs does not depend on what it has learnt (but noise is slower to compress and to draw, so
"save" is overstated); the compact one is the bundled `preview`. Each row is one run; the printed
table has medians.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

import musclejax

SAMPLES = ("test_up", "test_low")
WEIGHTS = {"paper": "random", "compact8": "preview"}
"""Variant -> its weights: random ones are made here, the others are bundled."""
COLUMNS = [
    "variant",
    "weights",
    "scan",
    "run",
    "slices",
    "wall",
    "startup",
    "load",
    "resample",
    "classify",
    "network",
    "restore",
    "save",
    "total",
    "network_share",
    "slices_per_second",
    "peak_rss_mib",
    "batch_size",
    "threads",
    "cpu",
    "system",
    "versions",
    "command",
]
"""Seconds by stage; wall is the whole process, total the scan, network_share network / total."""


def main() -> None:
    """Run, write the CSV, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/segment.csv"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for variant, weights in WEIGHTS.items():
            if weights == "random":
                _musclejax("weights", "init", "--variant", variant, "-o", work / weights)
        rows = [
            _measure(work, variant, scan, run)
            for run in range(options.repeats + 1)
            for scan in SAMPLES
            for variant in WEIGHTS
        ]
    table = pd.DataFrame(rows)[COLUMNS]
    table.to_csv(options.output, index=False, float_format="%.4g", lineterminator="\n")
    # Run 0 may compile; users of the second run and later find compiled functions in the cache.
    later = table[table["run"] > 0].groupby(["variant", "scan"]).median(numeric_only=True)
    shown = ["wall", "total", "network", "network_share", "save", "peak_rss_mib"]
    print(later[shown].round(2).to_string())


def _measure(work: Path, variant: str, scan: str, run: int) -> dict[str, object]:
    path = Path(musclejax.__file__).parent / "samples" / f"{scan}.nii.gz"
    weights_name = WEIGHTS[variant]
    weights = work / "random" if weights_name == "random" else weights_name
    start = time.perf_counter()
    _musclejax("segment", path, "-o", work / "out", "--weights", weights, "--overwrite")
    wall = time.perf_counter() - start
    record = json.loads((work / "out" / f"{scan}_run.json").read_text())
    seconds = record["seconds"]
    slices = record["shape"][2]
    return {
        "variant": variant,
        "weights": weights_name,
        "scan": scan,
        "run": run,
        "slices": slices,
        "wall": wall,
        **seconds,
        "network_share": seconds["network"] / seconds["total"],
        "slices_per_second": slices / seconds["network"],
        "peak_rss_mib": record["peak_memory_mib"],
        "batch_size": record["batch_size"],
        "threads": record["threads"],
        "cpu": record["machine"]["cpu"],
        "system": record["machine"]["system"],
        "versions": " ".join(f"{k}={v}" for k, v in record["versions"].items()),
        "command": f"musclejax segment {scan}.nii.gz -o OUT --weights {weights_name} --overwrite",
    }


def _musclejax(*arguments: object) -> None:
    command = [sys.executable, "-m", "musclejax", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
