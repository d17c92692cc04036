"""Make the example dataset `huashan_thigh` from two published scans and their masks.

    python examples/make_huashan.py DOWNLOADED examples/huashan_thigh

Source: github.com/Hirriririir/Rapid-automatic-fat-quantification-for-thigh-muscle-degeneration
(images: commit fdb97a0a, masks: ba3165cf), Apache-2.0. Changes:

- Water and fat images become one gradient-echo image at the paper's echo time of 1.7 ms:
  |W + F exp(i phi)|, phi = 2 pi 1.7 ms / 2.3 ms (one fat peak at 3 T, no T2*).
- Both are cut to the limbs, intensities rounded to 0 ... 1023.
- Muscle outside the masks (adductor longus, and much of the upper slices) is unknown, not
  background: unlabeled pixels with more water than fat get the label "ignore".
"""

import argparse
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

from musclejax.anatomy import CROSSWALKS
from musclejax.data.write import write_cases
from musclejax.files import write_json

ECHO_MS, FAT_PERIOD_MS = 1.7, 2.3
MARGIN_PX = 12
BRIGHT = 0.12
"""Share of the 99th percentile below which a pixel is air or cortex, not unknown muscle."""


def main() -> None:
    """Read two scans, write the dataset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    for folder in ("imagesTr", "labelsTr"):
        (options.output / folder).mkdir(parents=True, exist_ok=True)
    names = {name: number for number, name in CROSSWALKS["huashan"].items()}
    ignore = max(names.values()) + 1
    for case in ("Thigh_001", "Thigh_002"):
        make(options.source, options.output, case, ignore)
    index = {
        "channel_names": {"0": "gradient echo, TE 1.7 ms, from water and fat images"},
        "labels": {"background": 0, **names, "ignore": ignore},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "license": "Apache-2.0",
    }
    write_json(options.output / "dataset.json", index)
    rows = [
        {"case": "Thigh_001", "subject": "Huashan_001", "split": "train"},
        {"case": "Thigh_002", "subject": "Huashan_002", "split": "validation"},
    ]
    write_cases(options.output, rows)
    shutil.copyfile(options.source / "LICENSE-Apache-2.0.txt", options.output / "LICENSE.txt")


def make(source: Path, output: Path, case: str, ignore: int) -> None:
    """Write image and labels of one case."""
    fat, water = (nib.load(source / f"{case}_000{i}.nii.gz") for i in (0, 1))
    labels = np.asarray(nib.load(source / f"{case}_seg.nii.gz").dataobj).astype(np.uint8)
    f, w = (np.asarray(i.dataobj, np.float64) for i in (fat, water))
    echo = np.abs(w + f * np.exp(2j * np.pi * ECHO_MS / FAT_PERIOD_MS))
    white = np.percentile(echo[echo > echo.mean()], 99)
    unknown = (labels == 0) & (w > f) & (w + f > BRIGHT * white)
    labels[unknown] = ignore
    box = limbs(echo > BRIGHT * white)
    affine = fat.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(fat.affine, [box[0].start, box[1].start, 0])
    image = np.clip(np.round(echo / white * 700), 0, 1023).astype(np.int16)
    for path, array in (
        (output / "imagesTr" / f"{case}_0000.nii.gz", image),
        (output / "labelsTr" / f"{case}.nii.gz", labels),
    ):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array[box]), affine), path)


def limbs(body: np.ndarray) -> tuple[slice, slice]:
    """Return the part of the plane that shows the limbs."""
    box = []
    for axis in (0, 1):
        share = np.cumsum(body.any(2).sum(1 - axis)) / body.any(2).sum()
        first, last = np.searchsorted(share, (0.002, 0.998))
        box.append(slice(max(0, int(first) - MARGIN_PX), int(last) + MARGIN_PX))
    return box[0], box[1]


if __name__ == "__main__":
    main()
