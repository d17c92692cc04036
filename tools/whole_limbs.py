"""Make test sets of whole synthetic limbs, hip to foot, of a person whom no network trained on.

    python tools/whole_limbs.py -o whole
    musclejax evaluate --weights NAME --data whole/thigh -o results --all-slices

Each scan starts from both limbs of the Visible Human Male (held out) at even levels, and is varied
as a person, a disease and a scanner are. Slices without any muscle of the region are among them.

Source: ours; the anatomy is CC BY 4.0, see musclejax/data/anatomy/README.md.
"""

import argparse
from pathlib import Path

import jax
import nibabel as nib
import numpy as np

from musclejax.anatomy import REGIONS, SLICE_PX, SLICE_SPACING_MM
from musclejax.data.dataset import IGNORE
from musclejax.data.write import write_cases, write_index
from musclejax.phantom.disease import disease_of
from musclejax.phantom.scene import Limbs
from musclejax.phantom.slice import Keys, Settings, sample_slice
from musclejax.phantom.templates import Anatomy, choose, load_anatomy

PERSON = "VHM"
LEVELS = {"thigh": np.arange(1.06, -0.2, -0.06), "leg": np.arange(2.28, 0.8, -0.06)}
"""From the feet up: 26 mm apart in the thigh, 23 mm in the leg."""
SPACING_MM = {"thigh": 26.0, "leg": 23.0}
SEVERITY = ("mild", "severe")
SETTINGS = Settings((SLICE_PX, SLICE_PX), Limbs(alone=0.0, other_person=0.0))


def main() -> None:
    """Write the datasets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-n", "--scans", type=int, default=6, help="of each region")
    options = parser.parse_args()
    for region in REGIONS:
        folder = options.output / region
        for name in ("imagesTs", "labelsTs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        anatomy, rows = load_anatomy(region, "held_out"), []
        for number in range(options.scans):
            severity = SEVERITY[number % 2]
            case = f"{region}_{PERSON}_{number + 1}"
            write(folder, case, *sample(anatomy, severity, number), SPACING_MM[region])
            row = {"case": case, "subject": PERSON, "time_point": number + 1, "region": region}
            rows.append({**row, "severity": severity, "split": "test"})
        write_cases(folder, rows)
        write_index(folder, region, 0, None)
        print(f"{folder}: {len(rows)} scans of {len(LEVELS[region])} slices")


def sample(anatomy: Anatomy, severity: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels of one scan, [slice, row, column] from the feet up."""
    limbs = [limb for limb in anatomy.limbs if limb.subject == PERSON]
    person = jax.random.fold_in(jax.random.key(28), number)
    visit, disease = jax.random.fold_in(person, 1000), disease_of(anatomy.region, severity)
    slices = []
    for place, level in enumerate(LEVELS[anatomy.region]):
        pair = np.array([limb.at(np.array([level]))[0] for limb in limbs])
        height = np.float32(np.interp(level, limbs[0].levels[::-1], limbs[0].heights[::-1]))
        keys = Keys(person, visit, *(jax.random.fold_in(visit, 2 * place + n) for n in (0, 1)))
        slices.append(sample_slice(choose(anatomy.tiles, pair), height, keys, disease, SETTINGS))
    image, labels = (np.stack([np.asarray(s[n]) for s in slices]) for n in (0, 1))
    unknown = REGIONS[anatomy.region].num_classes  # "ignore" of `write_index`
    return image, np.where(labels == IGNORE, unknown, labels)


def write(folder: Path, case: str, image: np.ndarray, labels: np.ndarray, spacing: float) -> None:
    """Write one scan and its label map."""
    affine = np.diag([-SLICE_SPACING_MM, -SLICE_SPACING_MM, spacing, 1])
    for name, array in (("imagesTs/{}_0000", image), ("labelsTs/{}", labels)):
        stack = array.transpose(2, 1, 0).astype(np.float32 if array is image else np.uint8)
        nib.save(nib.Nifti1Image(stack, affine), folder / f"{name.format(case)}.nii.gz")


if __name__ == "__main__":
    main()
