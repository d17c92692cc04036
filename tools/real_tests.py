"""Make the test sets of real scans, in nnU-Net's raw layout: a folder for each.

    python tools/real_tests.py --data ../shared/data -o real
    musclejax evaluate --weights NAME --data real/upper_third \
        --fat-fraction real/upper_third/fat_fraction -o results

echoes: gradient echoes from the fat and water images of two thighs, |W + F exp(i phi)|,
phi = 2 pi TE / 2.3 ms (3 T, one fat peak, no decay). The masks are those of another group's
network, without adductor longus; slices that lack a muscle of theirs on either side are left out,
as upper slices are only partly labeled there.
thigh_levels, leg_levels, upper_third: the annotated slices of `tests/annotations`, drawn by this
project's developers; see `tools/anatomy/annotate_thigh.py` and `annotate_leg.py`. Muscle that
nobody can name is 255.
In each folder `fat_fraction` has the maps F / (F + W) of the two thighs, for --fat-fraction;
nothing is known where there is no signal.

Source: Huashan thighs, Apache-2.0; QMRITools, BSD-3; MuscleMap, MIT.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from musclejax.anatomy import REGIONS
from musclejax.data.write import write_cases, write_index
from musclejax.scan.volume import scan_name

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = ("Thigh_001", "Thigh_002")
ECHOES_MS = {"te170": 1.7, "te230": 2.3, "te345": 3.45}
PERIOD_MS = 2.3
ECHO = "te345"
"""Contrast on which slices of the two thighs are annotated."""
THEIR_LABELS = ("SAR", "RF", "VL", "VI", "VM", "AM", "GRA", "BFL", "ST", "SM", "BFS")
"""Numbers from 1 in the masks of the two thighs."""
LEAST_PX = 10
"""Pixels of a muscle of one side in a slice below which it counts as missing."""
SCANS = {
    "test_up.nii.gz": "thigh",
    "test_low.nii.gz": "leg",
    "musclemap_dixon/thighA_siemens_TE3.45.nii.gz": "thigh",
    "musclemap_dixon/thighA_siemens_TE4.60.nii.gz": "thigh",
    "musclemap_dixon/thighB_siemens_TE3.45.nii.gz": "thigh",
    "musclemap_dixon/calfA_siemens_TE3.45.nii.gz": "leg",
}
"""Scans without labels -> their region; slices of some are annotated."""
WHOLE_LEG = "qmritools_wholeleg/wholeleg_stack_{}.nii.gz"
"""Stacks of one more person; slices of some are annotated."""
SIGNAL = 0.05
"""Share of the 99th percentile of fat and water together below which their quotient is noise."""
UNKNOWN = 255
"""Muscle that nobody can name, in annotated slices."""
LEVELS = {"thigh_levels": "thigh", "leg_levels": "leg", "upper_third": "thigh"}
"""Test set of annotated slices -> its region."""


def main() -> None:
    """Write the datasets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    write_echoes(args.data, args.output / "echoes")
    for name, region in LEVELS.items():
        write_annotated(args.data, args.output / name, region)


def write_echoes(data: Path, folder: Path) -> None:
    """Write two thighs at four contrasts, with the slices that are fully labeled."""
    rows = []
    for subject in SUBJECTS:
        source = data / "huashan_thigh" / subject
        masks = np.asanyarray(nib.load(f"{source}_seg.nii.gz").dataobj)
        labels = to_our_numbers(fully_labeled(masks))
        for name, image in echoes(source).items():
            rows.append(write_case(folder, subject, name, image, labels, "thigh"))
            write_map(folder, rows[-1]["case"], source)
    finish(folder, "thigh", rows, THEIR_LABELS)


def echoes(source: Path) -> dict[str, nib.Nifti1Image]:
    """Return the water image and one for each echo time."""
    fat, water = (nib.load(f"{source}_000{channel}.nii.gz") for channel in (0, 1))
    found = {"water": water.get_fdata()}
    for name, echo in ECHOES_MS.items():
        phase = np.exp(2j * np.pi * echo / PERIOD_MS)
        found[name] = np.abs(water.get_fdata() + fat.get_fdata() * phase)
    return {
        name: nib.Nifti1Image(array.astype(np.float32), water.affine)
        for name, array in found.items()
    }


def fully_labeled(labels: np.ndarray) -> np.ndarray:
    """Return the labels of slices that show all muscles; 0 elsewhere, which counts for nothing."""
    halves = np.array_split(labels, 2)  # along x: right and left limb
    numbers = range(1, len(THEIR_LABELS) + 1)
    counts = np.stack([(half == n).sum((0, 1)) for half in halves for n in numbers])
    return np.where((counts >= LEAST_PX).all(0), labels, 0)


def to_our_numbers(labels: np.ndarray) -> np.ndarray:
    """Return the same labels in the numbers of `musclejax.anatomy`."""
    ours = {muscle.abbreviation: muscle.number for muscle in REGIONS["thigh"].muscles}
    table = np.array([0, *(ours[name] for name in THEIR_LABELS)], np.uint8)
    return table[labels]


def write_annotated(data: Path, folder: Path, region: str) -> None:
    """Write the scans of a set with their annotated slices; all other slices are 0."""
    rows, names = [], (*SCANS, *(WHOLE_LEG.format(k) for k in (3, 4, 7)))
    scans = {scan_name(data / path): data / path for path in names}
    drawn = ROOT / "tests" / "annotations" / folder.name.removesuffix("_levels")
    for path in sorted(drawn.glob("*.nii.gz")):
        subject = scan_name(path).removesuffix(f"_{ECHO}")
        labels = np.asanyarray(nib.load(path).dataobj).astype(np.uint8)
        labels[labels == UNKNOWN] = REGIONS[region].num_classes  # "ignore" of `write_index`
        if subject in scans:
            scan, echo = nib.load(scans[subject]), ""
        else:
            scan, echo = echoes(data / "huashan_thigh" / subject)[ECHO], ECHO
        rows.append(write_case(folder, subject, echo, scan, labels, region))
        if echo:
            write_map(folder, rows[-1]["case"], data / "huashan_thigh" / subject)
    finish(folder, region, rows, [m.abbreviation for m in REGIONS[region].muscles])


def write_case(
    folder: Path,
    subject: str,
    variation: str,
    image: nib.Nifti1Image,
    labels: np.ndarray,
    region: str,
) -> dict[str, str]:
    """Write a scan and its labels; return its row of `cases.csv`."""
    case = f"{subject}_{variation}" if variation else subject
    for name in ("imagesTs", "labelsTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / "imagesTs" / f"{case}_0000.nii.gz")
    nib.save(nib.Nifti1Image(labels, image.affine), folder / "labelsTs" / f"{case}.nii.gz")
    return {
        "case": case,
        "subject": subject,
        "time_point": variation,
        "region": region,
        "split": "test",
    }


def write_map(folder: Path, case: str, source: Path) -> None:
    """Write the fat-fraction map of one of the two thighs, named like its scan."""
    images = [nib.load(f"{source}_000{channel}.nii.gz") for channel in (0, 1)]
    fat, water = (image.get_fdata() for image in images)
    total = fat + water
    seen = total > SIGNAL * np.percentile(total, 99)
    fraction = np.divide(fat, total, out=np.full(total.shape, np.nan), where=seen)
    (folder / "fat_fraction").mkdir(exist_ok=True)
    fat_map = nib.Nifti1Image(fraction.astype(np.float32), images[0].affine)
    nib.save(fat_map, folder / "fat_fraction" / f"{case}_0000.nii.gz")


def finish(folder: Path, region: str, rows: list[dict[str, str]], named: Sequence[str]) -> None:
    """Write `cases.csv` and `dataset.json`; muscles that are not named are not compared."""
    write_cases(folder, rows)
    write_index(folder, region, 0, None)
    path = folder / "dataset.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    kept = {"background", "ignore", *named}
    index["labels"] = {name: n for name, n in index["labels"].items() if name in kept}
    path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
