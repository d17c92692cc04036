"""Muscles that touch are told apart, as they are drawn, by people with and without color blindness.

Source: ours, with CIEDE2000 of scikit-image and the simulation of Machado, Oliveira and Fernandes
2009 (doi 10.1109/TVCG.2009.113), its matrices of severity 1.
"""

from itertools import combinations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from musclejax.anatomy import COLORS, REGIONS, Region
from musclejax.reports.pictures.overlay import blend

VISIONS = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""How linear red, green and blue are seen."""
GRAYS = (26, 102, 204)
"""Of the scan below the muscles: 0.1, 0.4 and 0.8 of white."""
TOUCHING = {
    "thigh": "VL-VM VL-VI VL-RF VL-AM VL-BFL VL-BFS VM-VI VM-RF VM-SAR VM-AM VM-SM VM-BFS "
    "VM-AL VI-RF VI-SAR VI-AM VI-BFL VI-BFS VI-AL RF-SAR SAR-GRA SAR-AM SAR-SM SAR-AL "
    "GRA-AM GRA-SM GRA-AL AM-SM AM-ST AM-BFL AM-BFS AM-AL SM-ST SM-BFL SM-BFS ST-BFL "
    "ST-BFS BFL-BFS",
    "leg": "SOL-GM SOL-GL SOL-PE GM-GL TA-EDL TA-PE EDL-PE",
}
"""Muscles that lie within 3 pixels of 1 mm of each other on a slice of any template of
musclejax/data/anatomy, any label map of 34 other thighs, or any of 7 scans as labeled by the
bundled weights."""


def drawn(colors: dict[int, tuple[int, int, int]]) -> np.ndarray:
    """Return red, green, blue, 0 to 1, of the muscles over each gray: [grays, muscles, 3]."""
    return blend(colors)[1 : len(colors), GRAYS].swapaxes(0, 1) / 255


def seen(colors: dict[int, tuple[int, int, int]], vision: str) -> np.ndarray:
    """Return CIELAB of the muscles over each gray, as people of a vision see them."""
    rgb = drawn(colors)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(VISIONS[vision]), 0, 1)
    return rgb2lab(
        np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    )


def differences(lab: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Return the CIEDE2000 of pairs of label numbers over the worst gray."""
    first, second = np.transpose(pairs) - 1
    return deltaE_ciede2000(lab[:, first], lab[:, second]).min(0)


def touching(region: Region) -> list[tuple[int, int]]:
    numbers = {m.abbreviation: m.number for m in region.muscles}
    pairs = (pair.split("-") for pair in TOUCHING[region.name].split())
    return [(numbers[a], numbers[b]) for a, b in pairs]


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("region", REGIONS.values(), ids=list(REGIONS))
def test_muscles_that_touch_differ_for_everyone(region: Region, vision: str) -> None:
    """Of the colors before, SM and BFL, ST and BFS, VI and GRA differed by 1.5 to 3.7."""
    assert differences(seen(COLORS, vision), touching(region)).min() >= 10


@pytest.mark.parametrize("region", REGIONS.values(), ids=list(REGIONS))
def test_all_muscles_of_a_region_differ(region: Region) -> None:
    pairs = list(combinations([m.number for m in region.muscles], 2))
    assert differences(seen(COLORS, "normal"), pairs).min() >= 10


def test_differences_are_those_of_the_standard() -> None:
    """Sharma, Wu, Dalal 2005, Table 1, first pair: the difference is 2.0425."""
    lab = np.array([[[50, 2.6772, -79.7751], [50, 0, -82.7485]]])
    assert differences(lab, [(1, 2)]) == pytest.approx(2.0425, abs=1e-4)
