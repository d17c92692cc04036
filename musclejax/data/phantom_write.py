"""Write cohorts of synthetic scans as datasets in nnU-Net's raw layout."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np

from musclejax import __version__, anatomy
from musclejax.data.claim import claim
from musclejax.data.write import save_slices, write_cases, write_index
from musclejax.phantom.cohort import PROTOCOLS, Cohort, cases, draw_scan, plan
from musclejax.phantom.slice import IGNORE
from musclejax.phantom.templates import load_anatomy

RECORD = "phantom.json"
_GAIN = 1000.0
"""Stored intensity of healthy muscle, about."""


def write_phantoms(
    folder: Path, cohort: Cohort, advance: Callable[[], None] = lambda: None
) -> None:
    """Draw scans and write them; those that are there are left as they are.

    Training people start from templates of the group "train", test people from those held out.

    Args:
        folder: Dataset to write.
        cohort: Whom to draw; the folder keeps a record of it.
        advance: Called after each scan.

    Raises:
        InputError: If the folder holds another cohort, or a dataset from elsewhere.
    """
    claim(folder / RECORD, {"musclejax": __version__, **asdict(cohort)}, "-o")
    region, settings = cohort.region, PROTOCOLS[cohort.protocol]
    scans = plan(cohort)
    people = {}
    for scan in scans:
        test = bool(scan.split)
        images, labels = (
            folder / f"{kind}{'Ts' if test else 'Tr'}" for kind in ("images", "labels")
        )
        if not (labels / f"{scan.name}.nii.gz").is_file():  # written last
            group = "held_out" if test else "train"
            if group not in people:
                found = load_anatomy(region, group)
                # Once, not with each slice: a hundred megabytes.
                people[group] = replace(found, tiles=jax.device_put(found.tiles))
            image, label, step_mm = draw_scan(people[group], scan, cohort.seed, settings)
            known = np.where(label == IGNORE, len(anatomy.REGIONS[region].muscles) + 1, label)
            stored = np.clip(np.round(_GAIN * image), 0, 32767).astype(np.int16)
            save_slices(images / f"{scan.name}_0000.nii.gz", stored, step_mm)
            save_slices(labels / f"{scan.name}.nii.gz", known.astype(np.uint8), step_mm)
        advance()
    write_cases(folder, cases(scans, region))
    write_index(folder, region, sum(not s.split for s in scans), None)
