"""Write cohorts of synthetic scans as datasets in nnU-Net's raw layout."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from musclejax import anatomy
from musclejax.data.write import save_slices, write_cases, write_index
from musclejax.phantom.cohort import Scan, cases, draw_scan
from musclejax.phantom.slice import IGNORE, Settings
from musclejax.phantom.templates import load_anatomy

_GAIN = 1000.0
"""Stored intensity of healthy muscle, about."""


def write_phantoms(
    folder: Path,
    region: str,
    scans: Sequence[Scan],
    seed: int,
    settings: Settings,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Draw scans and write them; those that are there are left as they are.

    Training people start from templates of the group "train", test people from those held out.

    Args:
        folder: Dataset to write.
        region: "thigh" or "leg".
        scans: From `phantom.cohort.plan`.
        seed: Of the cohort.
        settings: Size and ranges.
        advance: Called after each scan.
    """
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
            image, label, step_mm = draw_scan(people[group], scan, seed, settings)
            known = np.where(label == IGNORE, len(anatomy.REGIONS[region].muscles) + 1, label)
            stored = np.clip(np.round(_GAIN * image), 0, 32767).astype(np.int16)
            save_slices(images / f"{scan.name}_0000.nii.gz", stored, step_mm)
            save_slices(labels / f"{scan.name}.nii.gz", known.astype(np.uint8), step_mm)
        advance()
    write_cases(folder, cases(scans, region))
    write_index(folder, region, sum(not s.split for s in scans), None)
