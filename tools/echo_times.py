"""Make a test set of gradient echoes from the fat and water images of two real thighs.

    python tools/echo_times.py --data ../shared/data -o real_thighs
    musclejax evaluate --weights NAME --data real_thighs -o results

Echo times are simulated: |W + F exp(i phi)|, phi = 2 pi TE / 2.3 ms (3 T, one fat peak, no decay).
The masks are those of another group's network, without adductor longus; slices that lack a muscle
of theirs on either side are left out, as upper slices are only partly labelled there.

Source: Huashan thighs, Apache-2.0; see ../shared/data/PROVENANCE.md.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np

SUBJECTS = ("Thigh_001", "Thigh_002")
ECHOES_MS = {"te170": 1.7, "te230": 2.3, "te345": 3.45, "te460": 4.6}
LABELS = ("SAR", "RF", "VL", "VI", "VM", "AM", "GRA", "BFL", "ST", "SM", "BFS")
PERIOD_MS = 2.3
LEAST_PX = 10
"""Pixels of a muscle in a slice, both sides together, below which it counts as missing."""


def main() -> None:
    """Write the dataset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    rows = ["case,subject,time_point,region,severity,split"]
    for name in ("imagesTs", "labelsTs"):
        (args.output / name).mkdir(parents=True, exist_ok=True)
    for subject in SUBJECTS:
        source = args.data / "huashan_thigh" / subject
        fat, water = (nib.load(f"{source}_000{channel}.nii.gz") for channel in (0, 1))
        images = {"water": water.get_fdata()}
        for name, echo in ECHOES_MS.items():
            phase = np.exp(2j * np.pi * echo / PERIOD_MS)
            images[name] = np.abs(water.get_fdata() + fat.get_fdata() * phase)
        masks = nib.load(f"{source}_seg.nii.gz")
        labels = fully_labelled(np.asanyarray(masks.dataobj))
        for name, image in images.items():
            case = f"{subject}_{name}"
            save(image.astype(np.float32), water, args.output / "imagesTs" / f"{case}_0000.nii.gz")
            save(labels.astype(np.uint8), water, args.output / "labelsTs" / f"{case}.nii.gz")
            rows.append(f"{case},{subject},{name},thigh,,test")
    (args.output / "cases.csv").write_text("\n".join(rows) + "\n")
    index = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{name: n for n, name in enumerate(LABELS, 1)}},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }
    (args.output / "dataset.json").write_text(json.dumps(index, indent=2) + "\n")


def fully_labelled(labels: np.ndarray) -> np.ndarray:
    """Return the labels of slices that show all muscles; 0 elsewhere, which counts for nothing."""
    counts = np.stack([(labels == n).sum((0, 1)) for n in range(1, len(LABELS) + 1)])
    return np.where((counts >= LEAST_PX).all(0), labels, 0)


def save(array: np.ndarray, like: nib.Nifti1Image, path: Path) -> None:
    """Write an array on the grid of another image."""
    nib.save(nib.Nifti1Image(array, like.affine), path)


if __name__ == "__main__":
    main()
