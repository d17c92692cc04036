"""The out-of-distribution check flags scans by what can be measured."""

import numpy as np
import pytest

from musclejax.prediction.quality import (
    Quality,
    measure_quality,
    out_of_distribution_warning,
    quality_flags,
)
from musclejax.scan.volume import Volume

GOOD = Quality(0.99, 0.9, 150.0, 0.5, 1.0, 0.0)


def test_a_good_scan_is_not_flagged() -> None:
    for quality in (GOOD, GOOD._replace(region_probability=None)):
        assert quality_flags(quality) == []
        assert out_of_distribution_warning(quality) == ""


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"region_probability": 0.6}, "uncertain of the region (probability 0.60)"),
        ({"confidence": 0.5}, "uncertain of its labels (mean probability 0.50)"),
        ({"limb_area_cm2": 700.0}, "cross-section is 700 cm2"),
        ({"limb_area_cm2": 8.0}, "cross-section is 8 cm2"),
        ({"muscle_share": 0.03}, "only 3% of the body"),
        ({"anisotropy": 4.0}, "are the slices axial?"),
        ({"lowest": -1024.0}, "as in CT"),
    ],
)
def test_a_bad_measurement_is_flagged(change: dict[str, float], flag: str) -> None:
    quality = GOOD._replace(**change)
    (line,) = quality_flags(quality)
    assert flag in line
    assert line in out_of_distribution_warning(quality)


def test_quality_is_measured_in_millimeters() -> None:
    image = np.zeros((60, 40, 5), np.float32)
    labels = np.zeros(image.shape, np.uint8)
    for first in (5, 35):
        image[first : first + 20, 10:30] = 100
        labels[first : first + 10, 10:30] = 3
    volume = Volume(image, np.diag([2.0, 5.0, 10.0, 1.0]), "scan")
    quality = measure_quality(volume, labels, 0.8, 0.9, limbs=2)
    assert quality.limb_area_cm2 == pytest.approx(20 * 20 * 2 * 5 / 100)
    assert quality.confidence == 0.8
    assert quality.muscle_share == pytest.approx(0.5)
    assert quality.anisotropy == pytest.approx(2.5)
    nothing = measure_quality(volume, np.zeros_like(labels), 0.0, None, limbs=1)
    assert nothing.muscle_share == 0
