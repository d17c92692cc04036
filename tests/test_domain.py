"""A scan that the weights do not know is told by what can be measured."""

import numpy as np
import pytest

from musclejax.inference.domain import Signs, doubts, measure
from musclejax.scan.volume import Volume

GOOD = Signs(0.99, 0.9, 150.0, 0.5, 1.0, 0.0)


def test_good_signs_raise_no_doubt() -> None:
    assert doubts(GOOD) == []
    assert doubts(GOOD._replace(region_probability=None)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"region_probability": 0.6}, "not sure of the region (probability 0.60)"),
        ({"confidence": 0.5}, "not sure of its labels (mean probability 0.50)"),
        ({"limb_area_cm2": 700.0}, "cross-section is 700 cm2"),
        ({"limb_area_cm2": 8.0}, "cross-section is 8 cm2"),
        ({"muscle_share": 0.03}, "only 3% of the body"),
        ({"anisotropy": 4.0}, "are the slices axial?"),
        ({"lowest": -1024.0}, "as in CT"),
    ],
)
def test_a_bad_sign_is_told(change: dict[str, float], said: str) -> None:
    (line,) = doubts(GOOD._replace(**change))
    assert said in line


def test_signs_are_measured_in_millimetres() -> None:
    image = np.zeros((60, 40, 5), np.float32)
    labels = np.zeros(image.shape, np.uint8)
    for first in (5, 35):
        image[first : first + 20, 10:30] = 100
        labels[first : first + 10, 10:30] = 3
    volume = Volume(image, np.diag([2.0, 5.0, 10.0, 1.0]), "scan")
    signs = measure(volume, labels, 0.8, 0.9, limbs=2)
    assert signs.limb_area_cm2 == pytest.approx(20 * 20 * 2 * 5 / 100)
    assert signs.confidence == 0.8
    assert signs.muscle_share == pytest.approx(0.5)
    assert signs.anisotropy == pytest.approx(2.5)
    nothing = measure(volume, np.zeros_like(labels), 0.0, None, limbs=1)
    assert nothing.muscle_share == 0
