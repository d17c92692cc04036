"""Measure what a second look and each step of `musclejax.inference.clean` do for the scores.

    python tools/tidying.py --weights NAME --data real/echoes real/thigh_levels -o tidying.csv

A row per dataset, with and without a second look, and set of steps: mean DSC over slices and 95 %
Hausdorff distance over cases.

Source: ours.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from musclejax.anatomy import REGIONS
from musclejax.data.dataset import Dataset, read_dataset
from musclejax.evaluation.run import evaluate, from_folders
from musclejax.inference.clean import STEPS, clean
from musclejax.inference.segment import segment
from musclejax.models.weights import Weights, load_weights
from musclejax.scan.volume import load_nifti, save_labels

EVERY = tuple(STEPS)
CHOICES = {False: ((), EVERY), True: ((), *((name,) for name in STEPS), EVERY)}
"""Whether to look twice -> sets of steps."""
Way = tuple[bool, tuple[str, ...]]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_DIR")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="datasets")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file")
    args = parser.parse_args()
    weights, rows = load_weights(args.weights), []
    for data in args.data:
        with tempfile.TemporaryDirectory() as name:
            ways = [(look, steps) for look, choices in CHOICES.items() for steps in choices]
            folders = {way: Path(name) / str(number) for number, way in enumerate(ways)}
            write_all(read_dataset(data, 0), weights, folders)
            for (look, steps), folder in folders.items():
                found = evaluate(from_folders(data, folder))
                assert found is not None
                row = {
                    "data": f"{data.parent.name}/{data.name}",
                    "second_look": look,
                    "steps": " + ".join(steps) or "none",
                }
                row["dsc"] = found.comparison.slices["dsc"].mean()
                row["hd95_mm"] = found.comparison.cases["hd95_mm"].mean()
                rows.append(row)
                print(row, flush=True)
        pd.DataFrame(rows).round(4).to_csv(args.output, index=False)


def write_all(dataset: Dataset, weights: Weights, folders: dict[Way, Path]) -> None:
    """Segment every case in both ways and write its labels after each choice of steps."""
    for folder in folders.values():
        folder.mkdir()
    for case in dataset.cases:
        volume = load_nifti(case.image)
        found = {
            look: segment(volume, weights, region=case.region, second_look=look, tidy=False)
            for look in CHOICES
        }
        for (look, steps), folder in folders.items():
            own = found[look]
            labels = clean(own.labels, own.sides.voxels, volume.axial_axis, own.anatomy, steps)
            path = folder / f"{case.name}_labels.nii.gz"
            save_labels(path, labels, volume, REGIONS[case.region])


if __name__ == "__main__":
    main()
