"""Write cohorts of synthetic scans as datasets in nnU-Net's raw layout."""

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from musclejax import __version__, anatomy
from musclejax.data.dataset import IGNORE
from musclejax.data.write import save_slices, write_cases, write_index
from musclejax.files import check_manifest
from musclejax.loops import Advance
from musclejax.phantom.cohort import PROTOCOLS, Volumes, cases, plan, sample_scan
from musclejax.phantom.options import Cohort
from musclejax.phantom.templates import Anatomy, load_anatomy

MANIFEST = "phantom.json"
FAT = "fat_fraction"
"""Folder of the true fat-fraction maps, named like the scans, for `--fat-fraction`."""
_FAT_STEP = 1 / 10000
"""Fat fractions are stored in steps of this."""
_GAIN = 1000.0
"""Stored intensity of healthy muscle, about."""


def write_phantoms_steps(folder: Path, cohort: Cohort) -> Generator[Advance, None, None]:
    """Make the scans of a cohort and write them; yield after each. Existing scans stay.

    Training people start from templates of the group "train", test people from those held out.

    Args:
        folder: Dataset to write.
        cohort: People to scan; the folder's manifest records it.

    Raises:
        InputError: If the folder holds another cohort, or a dataset from elsewhere.
    """
    check_manifest(folder / MANIFEST, {"musclejax": __version__, **asdict(cohort)}, "-o")
    scans = plan(cohort)
    people: dict[str, Anatomy] = {}
    for done, scan in enumerate(scans, start=1):
        group, kind = ("held_out", "Ts") if scan.split else ("train", "Tr")
        label_path = folder / f"labels{kind}" / f"{scan.name}.nii.gz"
        if not label_path.is_file():  # written last
            if group not in people:
                people[group] = load_anatomy(cohort.region, group)
            volumes = sample_scan(people[group], scan, cohort.seed, PROTOCOLS[cohort.protocol])
            name = f"{scan.name}_0000.nii.gz"
            ignore = len(anatomy.REGIONS[cohort.region].muscles) + 1
            labels = np.where(volumes.labels == IGNORE, np.uint8(ignore), volumes.labels)
            image_path, fat_path = folder / f"images{kind}" / name, folder / FAT / name
            _write(volumes._replace(labels=labels), image_path, fat_path, label_path)
        yield Advance(done, len(scans))
    write_cases(folder, cases(scans, cohort.region))
    write_index(folder, cohort.region, sum(not s.split for s in scans), None)


def _write(volumes: Volumes, image_path: Path, fat_path: Path, label_path: Path) -> None:
    image, labels, fat, step_mm = volumes
    stored = np.clip(np.round(_GAIN * image), 0, 32767).astype(np.int16)
    save_slices(image_path, stored, step_mm)
    save_slices(fat_path, np.round(fat / _FAT_STEP).astype(np.int16), step_mm, _FAT_STEP)
    save_slices(label_path, labels, step_mm)
