"""The out-of-distribution check: does a scan resemble those that the weights were trained on?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from musclejax.scan.slices import planes
from musclejax.scan.volume import Volume

# All of these: ours. None of eight real scans of limbs is flagged, each of nine foreign ones is
# (`tools/foreign_scans.py`); confidence separates other planes, 0.85 against 0.70.
MIN_REGION_PROBABILITY = 0.7
MIN_CONFIDENCE = 0.77
LIMB_AREA_CM2 = (20.0, 420.0)
MIN_MUSCLE_SHARE = 0.15
MAX_ANISOTROPY = 2.5
AIR_IN_CT = -500.0
OUTSIDE = "this scan may be out of distribution"
"""Start of the warning."""


class Quality(NamedTuple):
    """Measurements of the out-of-distribution check.

    Attributes:
        region_probability: The classifier's for its choice; None if the region was given.
        confidence: Mean probability of the muscles' labels by the network alone; 0 if there are
            none.
        limb_area_cm2: Median cross-section of a limb over slices that show the body.
        muscle_share: Labeled share of the body, over slices with labels.
        anisotropy: Larger over smaller pixel spacing within an axial slice.
        lowest: Lowest intensity.
    """

    region_probability: float | None
    confidence: float
    limb_area_cm2: float
    muscle_share: float
    anisotropy: float
    lowest: float


def measure_quality(
    volume: Volume,
    labels: UInt8[np.ndarray, "i j k"],
    confidence: float,
    region_probability: float | None,
    limbs: int,
) -> Quality:
    """Measure a segmented scan for the out-of-distribution check.

    Args:
        volume: The scan.
        labels: Its label map.
        confidence: The network's, as in `Quality`.
        region_probability: The classifier's; None if the region was given.
        limbs: In view: 1 or 2.
    """
    x_mm, y_mm, _ = volume.lps.spacing_mm
    body = volume.lps.projections.y.sum(0)
    muscle = np.array([np.count_nonzero(p) for p in planes(volume.lps.from_file(labels))])
    area = body * x_mm * y_mm / 100 / limbs
    return Quality(
        region_probability,
        confidence,
        float(np.median(area[area > 1])) if (area > 1).any() else 0.0,
        float(muscle.sum() / max(1, int(body[muscle > 0].sum()))),
        max(x_mm, y_mm) / min(x_mm, y_mm),
        float(volume.data.min()),
    )


def quality_flags(quality: Quality) -> list[str]:
    """Return a line per measurement that is outside its accepted range."""
    low, high = LIMB_AREA_CM2
    probability = quality.region_probability
    flags = {
        f"the classifier is uncertain of the region (probability {probability or 0:.2f})": (
            probability is not None and not probability >= MIN_REGION_PROBABILITY
        ),
        f"the network is uncertain of its labels (mean probability {quality.confidence:.2f})": (
            not quality.confidence >= MIN_CONFIDENCE  # NaN is no confidence either
        ),
        f"a limb's cross-section is {quality.limb_area_cm2:.0f} cm2, not {low:.0f} to {high:.0f}": (
            not low <= quality.limb_area_cm2 <= high
        ),
        f"only {quality.muscle_share:.0%} of the body is labeled muscle": (
            quality.muscle_share < MIN_MUSCLE_SHARE
        ),
        f"axial pixels are {quality.anisotropy:.1f} times as long as wide: are the slices axial?": (
            quality.anisotropy > MAX_ANISOTROPY
        ),
        f"the lowest intensity is {quality.lowest:.0f}, as in CT": quality.lowest < AIR_IN_CT,
    }
    return [text for text, holds in flags.items() if holds]


def out_of_distribution_warning(quality: Quality) -> str:
    """Return one line with all quality flags; empty if there is none."""
    flags = quality_flags(quality)
    return f"{OUTSIDE}: {'; '.join(flags)}" if flags else ""
