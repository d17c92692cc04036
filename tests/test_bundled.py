"""The weights that ship tell thigh from leg on the real sample scans."""

from pathlib import Path

import pytest

from musclejax.inference.segment import classify
from musclejax.models.weights import load_weights
from musclejax.scan.grid import to_model_grid
from musclejax.scan.volume import load


@pytest.mark.parametrize(("name", "region"), [("test_up", "thigh"), ("test_low", "leg")])
def test_the_region_of_the_sample_scans(name: str, region: str, thigh_path: Path) -> None:
    slices, _ = to_model_grid(load(thigh_path.with_name(f"{name}.nii.gz")))
    found = classify(load_weights("phantom").networks["region"], slices)
    assert found[region] > 0.8
