"""Judge weights again on a dataset's scans under noise, shading and other changes.

    python tools/robustness.py --weights NAME --data real/echoes -o robustness.csv

Every scan is changed in each of the ways of `CHANGES`, segmented, and compared with its labels,
which are resampled or cut alike. The table has a row per change: mean DSC over muscles and slices,
and the difference to the unchanged scans.

Source: ours.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.processing import resample_from_to, resample_to_output
from real_tests import write_case

from musclejax.data.dataset import read_dataset
from musclejax.data.write import write_cases
from musclejax.evaluation.run import evaluate, from_weights
from musclejax.models.weights import load_weights

Pair = tuple[nib.Nifti1Image, nib.Nifti1Image]
Change = Callable[[nib.Nifti1Image, nib.Nifti1Image], Pair]


def intensities(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Return a change of the image alone."""

    def apply(image: nib.Nifti1Image, labels: nib.Nifti1Image) -> Pair:
        array = change(image.get_fdata(dtype=np.float32)).astype(np.float32)
        return nib.Nifti1Image(array, image.affine), labels

    return apply


def noise(share: float) -> Change:
    """Return the magnitude with complex noise of that share of the brightest tissue."""

    def apply(array: np.ndarray) -> np.ndarray:
        sigma = share * np.percentile(array[array > array.mean()], 99)
        parts = np.random.default_rng(0).normal(0, sigma, (2, *array.shape))
        return np.hypot(array + parts[0], parts[1])

    return intensities(apply)


def shading(axis: int, ratio: float) -> Change:
    """Return the image under a gain that grows by `ratio` from one side to the other."""

    def apply(array: np.ndarray) -> np.ndarray:
        ramp = np.linspace(-0.5, 0.5, array.shape[axis])
        shape = [-1 if n == axis else 1 for n in range(3)]
        return array * np.exp(np.log(ratio) * ramp).reshape(shape)

    return intensities(apply)


def scaled(factor: float) -> Change:
    """Return the image with all intensities times `factor`."""
    return intensities(lambda array: array * factor)


def spacing(mm: float) -> Change:
    """Return image and labels with pixels of that size within slices."""

    def apply(image: nib.Nifti1Image, labels: nib.Nifti1Image) -> Pair:
        image, labels = (nib.as_closest_canonical(part) for part in (image, labels))
        step = float(image.header.get_zooms()[2])
        coarse = resample_to_output(image, (mm, mm, step), order=3)
        found = resample_from_to(labels, (coarse.shape, coarse.affine), order=0)
        return coarse, nib.Nifti1Image(np.asarray(found.dataobj).astype(np.uint8), found.affine)

    return apply


def one_limb(image: nib.Nifti1Image, labels: nib.Nifti1Image) -> Pair:
    """Return the half of image and labels with the patient's right limb."""
    image, labels = (nib.as_closest_canonical(part) for part in (image, labels))
    # RAS: x grows toward the patient's right.
    half = slice(image.shape[0] // 2, None)
    return image.slicer[half], labels.slicer[half]


CHANGES: dict[str, Change] = {
    "none": lambda image, labels: (image, labels),
    "noise 3 %": noise(0.03),
    "noise 6 %": noise(0.06),
    "shading left to right, 3 times": shading(0, 3.0),
    "shading front to back, 3 times": shading(1, 3.0),
    "intensity 50 %": scaled(0.5),
    "intensity 150 %": scaled(1.5),
    "pixels of 0.7 mm": spacing(0.7),
    "pixels of 2 mm": spacing(2.0),
    "one limb": one_limb,
}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_DIR")
    parser.add_argument("--data", type=Path, required=True, help="dataset in nnU-Net's raw layout")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file")
    args = parser.parse_args()
    weights, rows = load_weights(args.weights), []
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_changed(args.data, Path(folder), change)
            slices = evaluate(from_weights(weights, Path(folder))).comparison.slices
        rows.append(
            {"change": name, "scans": slices["case"].nunique(), "dsc": slices["dsc"].mean()}
        )
        rows[-1]["difference"] = rows[-1]["dsc"] - rows[0]["dsc"]
        print(f"{name}: {rows[-1]['dsc']:.3f}", flush=True)
        pd.DataFrame(rows).round(4).to_csv(args.output, index=False)


def write_changed(source: Path, folder: Path, change: Change) -> None:
    """Write a dataset with every scan and its labels changed."""
    dataset = read_dataset(source, 0)
    rows = []
    for case in dataset.cases:
        image, labels = change(nib.load(case.image), nib.load(case.labels))
        numbers = np.asanyarray(labels.dataobj)
        rows.append(write_case(folder, case.name, "", image, numbers, case.region))
    write_cases(folder, rows)
    shutil.copyfile(source / "dataset.json", folder / "dataset.json")


if __name__ == "__main__":
    main()
