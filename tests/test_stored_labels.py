"""Label maps and tables stay what they were: over changes of the code, and over JAX 0.8 to 0.12.

Origin of the numbers: `stored_labels/` holds the labels of five slices of each sample scan, and the
table of their muscles, as the code gave them in float32 on 30 November 2026 (JAX 0.10.2 and 0.12.0,
equal voxel for voxel). They change with the bundled weights only; then, after a look at the
pictures: `python tests/test_stored_labels.py`.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import musclejax
from musclejax.samples import SAMPLES

STORED = Path(__file__).parent / "stored_labels"
EVERY, FIRST = 7, 2
OTHER_PROCESSORS = 1e-4
"""Share of labeled voxels that another processor's rounding may change."""


TABLE = ("muscle", "side", "voxels", "volume_ml", "max_area_cm2", "slices", "truncated")


def label(name: str) -> musclejax.Segmentation:
    """Segment every seventh slice of a sample scan."""
    scan = nib.load(SAMPLES[name])
    affine = scan.affine @ np.diag([1, 1, EVERY, 1])
    affine[:, 3] = scan.affine @ [0, 0, FIRST, 1]
    data = np.asarray(scan.dataobj)[..., FIRST::EVERY]
    plain = musclejax.SegmentOptions(precision="float32")  # on every processor
    return musclejax.segment(nib.Nifti1Image(data, affine), options=plain)


@pytest.mark.parametrize("name", SAMPLES)
def test_labels_and_table_are_those_that_were_stored(name: str) -> None:
    stored = np.asarray(nib.load(STORED / f"{name}.nii.gz").dataobj)
    result = label(name)
    assert result.labels.shape == stored.shape
    assert (result.labels != stored).sum() <= OTHER_PROCESSORS * (stored > 0).sum()
    table, before = measure(result), pd.read_csv(STORED / f"{name}_muscles.csv")
    pd.testing.assert_frame_equal(table, before, check_dtype=False, rtol=10 * OTHER_PROCESSORS)


def measure(result: musclejax.Segmentation) -> pd.DataFrame:
    table = musclejax.measure_muscles(result)
    return table.loc[table["kind"] == "muscle", [*TABLE]].round(3)


if __name__ == "__main__":
    for sample in SAMPLES:
        kept = nib.load(STORED / f"{sample}.nii.gz").affine
        found = label(sample)
        nib.save(nib.Nifti1Image(found.labels, kept), STORED / f"{sample}.nii.gz")
        measure(found).to_csv(STORED / f"{sample}_muscles.csv", index=False)
