"""Signs that a scan is not what the weights know: told in words, from what can be measured."""

from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import UInt8

from musclejax.scan.grid import lps_spacing_mm, to_lps
from musclejax.scan.intensity import body_mask
from musclejax.scan.volume import Volume

# All of these: ours. Eight real scans of limbs raise no doubt, nine foreign ones each do
# (`tools/foreign_scans.py`, docs/weights/signs.csv); confidence tells other planes apart, 0.85
# against 0.70.
MIN_REGION_PROBABILITY = 0.7
MIN_CONFIDENCE = 0.77
LIMB_AREA_CM2 = (20.0, 420.0)
MIN_MUSCLE_SHARE = 0.15
MAX_ANISOTROPY = 2.5
AIR_IN_CT = -500.0


class Signs(NamedTuple):
    """What is measured.

    Attributes:
        region_probability: The classifier's for its choice; None if it was not asked.
        confidence: Mean probability of the muscles' labels by the network alone; 0 if there are
            none.
        limb_area_cm2: Median cross-section of a limb over slices that show the body.
        muscle_share: Labelled share of the body, over slices with labels.
        anisotropy: Larger over smaller pixel spacing within an axial slice.
        lowest: Lowest intensity.
    """

    region_probability: float | None
    confidence: float
    limb_area_cm2: float
    muscle_share: float
    anisotropy: float
    lowest: float


def measure(
    volume: Volume,
    labels: UInt8[np.ndarray, "i j k"],
    confidence: float,
    region_probability: float | None,
    limbs: int,
) -> Signs:
    """Measure the signs of a segmented scan.

    Args:
        volume: The scan.
        labels: Its label map.
        confidence: The network's, as in `Signs`.
        region_probability: The classifier's; None if the region was given.
        limbs: In view: 1 or 2.
    """
    orientation = to_lps(volume)
    body = body_mask(nib.apply_orientation(volume.data, orientation))
    muscle = nib.apply_orientation(labels, orientation) > 0
    x_mm, y_mm, _ = lps_spacing_mm(volume)
    area = body.sum((0, 1)) * x_mm * y_mm / 100 / limbs
    shown = muscle.any((0, 1))
    return Signs(
        region_probability,
        confidence,
        float(np.median(area[area > 1])) if (area > 1).any() else 0.0,
        float(muscle.sum() / max(1, body[..., shown].sum())),
        max(x_mm, y_mm) / min(x_mm, y_mm),
        float(volume.data.min()),
    )


def doubts(signs: Signs) -> list[str]:
    """Return a line for each sign that speaks against the labels."""
    low, high = LIMB_AREA_CM2
    probability = signs.region_probability
    found = {
        f"the classifier is not sure of the region (probability {probability or 0:.2f})": (
            probability is not None and probability < MIN_REGION_PROBABILITY
        ),
        f"the network is not sure of its labels (mean probability {signs.confidence:.2f})": (
            signs.confidence < MIN_CONFIDENCE
        ),
        f"a limb's cross-section is {signs.limb_area_cm2:.0f} cm2, not {low:.0f} to {high:.0f}": (
            not low <= signs.limb_area_cm2 <= high
        ),
        f"only {signs.muscle_share:.0%} of the body is labelled muscle": (
            signs.muscle_share < MIN_MUSCLE_SHARE
        ),
        f"axial pixels are {signs.anisotropy:.1f} times as long as wide: are the slices axial?": (
            signs.anisotropy > MAX_ANISOTROPY
        ),
        f"the lowest intensity is {signs.lowest:.0f}, as in CT": signs.lowest < AIR_IN_CT,
    }
    reasons = [text for text, holds in found.items() if holds]
    if not reasons:
        return []
    return [f"this may not be a scan that the weights know: {'; '.join(reasons)}"]
