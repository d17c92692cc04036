"""Label maps stay what they were: over changes of the code, and over JAX 0.8, 0.10 and 0.12.

Origin of the numbers: `stored_labels/` holds the labels of five slices of each sample scan, as the
code gave them on 30 November 2026 (JAX 0.10.2 and 0.12.0, equal voxel for voxel). They change with
the bundled weights only; then, after a look at the pictures: `python tests/test_stored_labels.py`.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import musclejax
from musclejax.samples import SAMPLES

STORED = Path(__file__).parent / "stored_labels"
EVERY, FIRST = 7, 2
OTHER_PROCESSORS = 1e-4
"""Share of labeled voxels that another processor's rounding may change."""


def label(name: str) -> np.ndarray:
    """Segment every seventh slice of a sample scan."""
    scan = nib.load(SAMPLES[name])
    affine = scan.affine @ np.diag([1, 1, EVERY, 1])
    affine[:, 3] = scan.affine @ [0, 0, FIRST, 1]
    data = np.asarray(scan.dataobj)[..., FIRST::EVERY]
    return musclejax.segment(nib.Nifti1Image(data, affine)).labels


@pytest.mark.parametrize("name", SAMPLES)
def test_labels_are_those_that_were_stored(name: str) -> None:
    stored = np.asarray(nib.load(STORED / f"{name}.nii.gz").dataobj)
    labels = label(name)
    assert labels.shape == stored.shape
    assert (labels != stored).sum() <= OTHER_PROCESSORS * (stored > 0).sum()


if __name__ == "__main__":
    for sample in SAMPLES:
        kept = nib.load(STORED / f"{sample}.nii.gz").affine
        nib.save(nib.Nifti1Image(label(sample), kept), STORED / f"{sample}.nii.gz")
