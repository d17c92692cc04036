"""Images a second of augmentation and weight maps: one compiled function against imgaug and SciPy.

    python benchmarks/augment.py --repeats 5 -o benchmarks/augment.csv

Every run is a process of its own and times one way of doing it, over and over, on one slice of a
sample scan with painted muscles at 432 x 432; all ways take turns. Every step happens to every
image. Compiling and importing are not counted. OpenBLAS has one thread: with more, scikit-image's
many small products in imgaug's piecewise affine wait for one another and take up to twice as long.
Each row is one run; the printed table has medians.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

import musclejax
from musclejax.cli.process import machine
from musclejax.config import default_config
from musclejax.data.augment import Limbs, augment, augmentation
from musclejax.data.augment_imgaug import STEPS, apply_steps
from musclejax.data.slices import find_limbs
from musclejax.data.spline import to_coefficients
from musclejax.data.weight_map import weight_map
from musclejax.scan.grid import to_model_grid
from musclejax.scan.intensity import body_mask, normalise
from musclejax.scan.volume import load_nifti

CLASSES, W0, SIGMA_PX = 13, 10.0, 7.0
AUGMENTATIONS = {"jax": STEPS, "imgaug": STEPS, **{f"imgaug {s}": (s,) for s in STEPS}}
"""Way -> the steps it does."""
WEIGHT_MAPS = ("weights jax", "weights scipy")
PACKAGES = ("imgaug", "opencv-python", "scikit-image")
COLUMNS = ["way", "run", "images", "seconds", "images_per_second"]
COLUMNS += ["threads", "cpu", "system", "versions", "command"]
"""Seconds are those of all images of a run together."""


def main() -> None:
    """Run every way in turn, write the CSV, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=30, help="in each run")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/augment.csv"))
    parser.add_argument("--way", choices=(*AUGMENTATIONS, *WEIGHT_MAPS), help="time this one here")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.images)))
        return
    rows = [
        {"run": run, **_in_a_process(way, options.images)}
        for run in range(1, options.repeats + 1)
        for way in (*AUGMENTATIONS, *WEIGHT_MAPS)
    ]
    table = pd.DataFrame(rows)[COLUMNS]
    table.to_csv(options.output, index=False, float_format="%.4g", lineterminator="\n")
    medians = table.groupby("way", sort=False)["images_per_second"].median()
    print(pd.DataFrame({"images_per_second": medians, "ms_an_image": 1000 / medians}).round(1))


def _in_a_process(way: str, images: int) -> dict[str, Any]:
    arguments = ["benchmarks/augment.py", "--way", way, "--images", str(images)]
    command = [sys.executable, str(Path(__file__)), *arguments[1:]]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    result: dict[str, Any] = json.loads(run.stdout)
    return {**result, "command": f"python {' '.join(arguments)}".replace(way, f'"{way}"')}


def measure(way: str, images: int) -> dict[str, Any]:
    """Time one way on this many images, after one that is not counted."""
    make = weight_maps(way) if way in WEIGHT_MAPS else augmentations(way)
    make(0)
    start = time.perf_counter()
    for number in range(1, images + 1):
        make(number)
    seconds = time.perf_counter() - start
    here = machine()
    versions = {**here["versions"], **{name: version(name) for name in PACKAGES}}
    return {
        "way": way,
        "images": images,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "threads": here["threads"],
        **here["machine"],
        "versions": " ".join(f"{k}={v}" for k, v in versions.items()),
    }


def augmentations(way: str) -> Callable[[int], object]:
    """Return what augments the slice, given a number to seed it."""
    config = default_config()
    config.augment.probability = 1.0
    settings = augmentation(config, enabled=True)
    image, labels, limbs = painted_slice()
    if way == "jax":
        jitted = jax.jit(augment, static_argnames="settings")
        coefficients = to_coefficients(image[None])[0]
        return lambda number: jax.block_until_ready(
            jitted(jax.random.key(number), coefficients, labels, limbs, settings)
        )
    steps = AUGMENTATIONS[way]
    return lambda number: apply_steps(
        steps, np.random.default_rng(number), image, labels, limbs, settings
    )


def weight_maps(way: str) -> Callable[[int], object]:
    """Return what makes the slice's weight map; the number is of no account."""
    _, labels, _ = painted_slice()
    classes = np.ones(CLASSES, np.float32)
    if way == "weights scipy":
        return lambda number: scipy_weights(labels, classes)
    jitted = jax.jit(lambda labels, classes: weight_map(labels, classes, W0, SIGMA_PX))
    return lambda number: jax.block_until_ready(jitted(labels, classes))


def scipy_weights(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Make the weight map of Eq. 2 from SciPy's distances, as one would write it."""
    distances = [distance_transform_edt(labels != n) for n in range(1, CLASSES)]
    first, second = np.partition(distances, 1, axis=0)[:2]
    border = W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA_PX**2))
    return np.asarray(classes[labels] + border)


def painted_slice() -> tuple[np.ndarray, np.ndarray, Limbs]:
    """Return the middle slice of the thighs, a muscle in each twelfth of a limb, and the limbs."""
    path = Path(musclejax.__file__).parent / "samples" / "test_up.nii.gz"
    slices, _ = to_model_grid(load_nifti(path))
    middle = len(slices) // 2
    limbs = find_limbs(body_mask(slices), slices.shape[1:])
    limbs = Limbs(*(np.asarray(field[middle]) for field in limbs))
    image = normalise(slices, default_config().intensity)[middle]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    labels = np.zeros(image.shape, np.uint8)
    for top, bottom, left, right in np.asarray(limbs.boxes):
        y = (2 * rows - top - bottom) / (bottom - top)
        x = (2 * columns - left - right) / (right - left)
        turn = np.arctan2(y, x) / (2 * np.pi) % 1 * (CLASSES - 1)
        inside = (np.hypot(y, x) < 0.8) & (np.hypot(y, x) > 0.2) & (np.abs(turn % 1 - 0.5) < 0.46)
        labels[inside] = 1 + turn[inside].astype(np.uint8)
    return image, labels, limbs


if __name__ == "__main__":
    main()
