"""Seconds to load a case, and batches a second.

    python benchmarks/data.py --repeats 5 -o benchmarks/data.csv

The two sample scans with painted muscles are written as a dataset in nnU-Net's layout; no other
data is needed. What is compared takes turns within one process; compiling is not counted. With
`ahead`, a thread makes batches while the main one sleeps as long as a batch takes, as a stand-in
for the training step: "waited" is what the step would have waited for a batch. Each row is one run;
the printed tables have medians.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

import musclejax
from musclejax import anatomy
from musclejax.cli.process import machine
from musclejax.config import default_config
from musclejax.data.batches import Feed, ahead, make_batch, make_feeds, training_items
from musclejax.data.dataset import Dataset, read_case, read_dataset
from musclejax.data.slices import case_slices, clean
from musclejax.data.write import write_index
from musclejax.scan.grid import labels_to_model_grid, to_model_grid
from musclejax.scan.intensity import body_mask

SAMPLES = {"thigh": "test_up", "leg": "test_low"}
WINDOWS = ((432, 432), (192, 336))
BATCH_SIZES = (1, 5)
COLUMNS = ["what", "task", "run", "slices", "read", "grid", "clean", "load"]
COLUMNS += ["window", "batch_size", "ahead", "batches", "seconds", "waited", "batches_per_second"]
COLUMNS += ["threads", "cpu", "system", "versions", "command"]
"""Seconds. Of a case: reading, resampling, cleaning labels, and `case_slices` as a whole. Of
batches: making them (or, ahead, until the last is used) and waiting for them."""


def main() -> None:
    """Measure, write the CSV, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="in each run")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/data.csv"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        datasets = {task: write_sample(Path(folder) / task, task) for task in SAMPLES}
        rows = [row for run in range(options.repeats) for row in load_rows(datasets, run + 1)]
        feeds = {(task, w): feed(datasets[task], task, w) for task in SAMPLES for w in WINDOWS}
    for (task, _), part in feeds.items():
        _make(part, task, 0, 1)
    for run in range(1, options.repeats + 1):
        rows += batch_rows(feeds, run, options.batches)
    here, command = machine(), f"python benchmarks/data.py --batches {options.batches}"
    table = pd.DataFrame(rows).assign(
        threads=here["threads"],
        **here["machine"],
        versions=" ".join(f"{k}={v}" for k, v in here["versions"].items()),
        command=command,
    )
    table[COLUMNS].to_csv(options.output, index=False, float_format="%.4g", lineterminator="\n")
    cases_read, made = (part for _, part in table.groupby(table["what"] == "batches"))
    print(cases_read.groupby("task")[["slices", "read", "grid", "clean", "load"]].median().round(3))
    keys = ["task", "window", "batch_size", "ahead"]
    print(made.groupby(keys)[["seconds", "waited", "batches_per_second"]].median().round(3))


def load_rows(datasets: dict[str, Dataset], run: int) -> Iterator[dict[str, Any]]:
    """Time what loading each case consists of, then the loading itself."""
    for task, dataset in datasets.items():
        config, case = _config(task), dataset.cases[0]
        times = [time.perf_counter()]
        volume, numbers, _ = read_case(case, dataset)
        times.append(time.perf_counter())
        _, transform = to_model_grid(volume)
        labels = labels_to_model_grid(numbers, transform)
        times.append(time.perf_counter())
        for slice_labels in labels:
            clean(slice_labels, config.data.clean_px)
        times.append(time.perf_counter())
        slices = case_slices(case, dataset, config)
        times.append(time.perf_counter())
        parts = dict(zip(("read", "grid", "clean", "load"), np.diff(times), strict=True))
        yield {"what": "case", "task": task, "run": run, "slices": len(slices), **parts}


def batch_rows(
    feeds: dict[tuple[str, tuple[int, int]], Feed], run: int, batches: int
) -> Iterator[dict[str, Any]]:
    """Time batches made one by one, then made ahead of a step that takes as long."""
    for (task, window), part in feeds.items():
        for size in BATCH_SIZES:
            start = time.perf_counter()
            for step in range(batches):
                _make(part, task, step, size)
            alone = time.perf_counter() - start
            common = {
                "what": "batches",
                "task": task,
                "run": run,
                "window": "x".join(map(str, window)),
                "batch_size": size,
                "batches": batches,
            }
            yield common | _row(False, batches, alone, alone)
            yield common | _row(True, batches, *_overlapped(part, task, size, batches, alone))


def _row(by_thread: bool, batches: int, seconds: float, waited: float) -> dict[str, Any]:
    rate = batches / seconds
    return {"ahead": by_thread, "seconds": seconds, "waited": waited, "batches_per_second": rate}


def _overlapped(
    feed: Feed, task: str, size: int, batches: int, alone: float
) -> tuple[float, float]:
    """Return seconds in all, and seconds waited for batches made by the thread."""
    start, waited = time.perf_counter(), 0.0
    with ahead(lambda step: _make(feed, task, step, size), 0, batches) as made:
        for _ in range(batches):
            asked = time.perf_counter()
            next(made)
            waited += time.perf_counter() - asked
            time.sleep(alone / batches)
    return time.perf_counter() - start, waited


def _make(feed: Feed, task: str, step: int, size: int) -> Any:
    classes = np.ones(anatomy.REGIONS[task].num_classes, np.float32)
    items, numbers = training_items(feed, step, size)
    return make_batch(feed, items, numbers, classes, _config(task))


def _config(task: str, window: tuple[int, int] = WINDOWS[0]) -> Any:
    config = default_config()
    config.task, config.data.crop_px = task, window
    config.augment.probability = 1.0
    return config


def feed(dataset: Dataset, task: str, window: tuple[int, int]) -> Feed:
    """Load a case for training on windows of some size."""
    config = _config(task, window)
    slices = case_slices(dataset.cases[0], dataset, config)
    return make_feeds({"train": slices, "validation": slices}, config)["train"]


def write_sample(folder: Path, task: str) -> Dataset:
    """Write a sample scan as a dataset of one case, a muscle in each sector of a limb."""
    source = Path(musclejax.__file__).parent / "samples" / f"{SAMPLES[task]}.nii.gz"
    scan: Any = nib.load(source)
    data = np.asarray(scan.dataobj)
    body = body_mask(data)
    labels = np.zeros(data.shape, np.uint8)
    half = data.shape[0] // 2
    for part in (np.s_[:half], np.s_[half:]):
        for z in range(data.shape[2]):
            labels[part][..., z] = _sectors(body[part][..., z], anatomy.REGIONS[task].num_classes)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    nib.save(scan, folder / "imagesTr" / "sample_0000.nii.gz")
    nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labelsTr" / "sample.nii.gz")
    write_index(folder, task, 1, None)
    return read_dataset(folder)


def _sectors(limb: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels 1 ... num_classes - 1 in sectors around the middle of a limb."""
    x, y = (n - np.average(n, weights=limb) for n in np.indices(limb.shape))
    turn = np.arctan2(y, x) / (2 * np.pi) % 1 * (num_classes - 1)
    radius = np.sqrt(limb.sum() / np.pi)
    distance = np.hypot(x, y)
    inside = (distance < 0.8 * radius) & (distance > 0.2 * radius) & (np.abs(turn % 1 - 0.5) < 0.46)
    return np.where(inside, 1 + turn.astype(np.uint8), 0)


if __name__ == "__main__":
    main()
