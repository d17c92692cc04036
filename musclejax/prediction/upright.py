"""Whether a scan lies upside down: its front where its header says that the back is.

Networks have learned from people whose front is in front. Where it is not, they still find limbs
full of muscle, but scatter the muscles over them, and are less certain. So a few slices are
predicted again as a mirror of front and back shows them, and the two outcomes are compared.

Scans that the network is certain of (0.94) are not checked, as none of them lies upside down: of
twelve real scans of limbs, front and back exchanged or turned by 180 degrees, whole ones reach a
confidence of 0.88 at most, and 1,680 stacks of one to four of their slices 0.93.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage as ndi

from musclejax.loops import result_of
from musclejax.models.network import Network
from musclejax.prediction.batches import SlicePrediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.result import Segmentation
from musclejax.prediction.windows import predict_in_windows_steps
from musclejax.scan.intensity import normalize
from musclejax.scan.volume import Volume

SLICES = 4
"""Number of slices that are compared, at even distances."""
CERTAIN = 0.94
"""Mean probability of a scan's labels from which on it is not checked."""
FEW = 7
"""Scans of fewer slices are short: they may all be of a level that no network knows."""
CLEARLY_BETTER = {"short": 0.1, "long": 0.05}
MIN_COHERENCE = {"short": 0.85, "long": 0.75}
"""A scan lies upside down if its mirror image is more coherent than the scan by the first, and at
least as coherent as the second. Source of all three: ours, chosen on twelve real scans of limbs and
on all stacks of one to ten of their slices, upright and upside down (tests/test_input_upright.py):
no upright one is taken for upside down, and none that lies upside down is left without a warning.
"""
PARTS = 2
"""A muscle has one part per limb in a slice."""

WARNING = (
    "the scan lies upside down: its labels were made with front and back exchanged, and left and "
    "right may be exchanged too; correct the orientation in its header"
)
UNDECIDED = (
    "front and back may be exchanged: the labels do not tell; see on the picture that the front "
    "lies on top, and correct the orientation in the header if it does not"
)
Judgement = Literal["upright", "upside down", "undecided"]


def is_uncertain(result: Segmentation, options: SegmentOptions) -> bool:
    """Return whether the network is less certain of a scan than of nearly all that lie upright.

    The geometry of 2021, random weights, and scans without any muscle are left as they are.
    """
    if result.levels is not None and not result.levels.in_range.any():
        return False
    certain = result.quality is None or result.quality.confidence >= CERTAIN
    return options.geometry == "world" and result.trained and not certain


def judge(given: float, mirrored: float, slices: int) -> Judgement:
    """Return whether a scan lies upright, upside down, or whether that remains open.

    Open is a mirror image that is more coherent, but not clearly, and a scan that is incoherent
    either way. A short scan that the network is uncertain of is never taken for upright.

    Args:
        given: Coherence of the scan as it is.
        mirrored: Of its mirror image.
        slices: Number of slices of the scan.
    """
    length = "short" if slices < FEW else "long"
    if mirrored >= max(given + CLEARLY_BETTER[length], MIN_COHERENCE[length]):
        return "upside down"
    coherent = max(given, mirrored) >= MIN_COHERENCE["long"]
    is_upright = given >= mirrored and coherent and length == "long"
    return "upright" if is_upright else "undecided"


def exchange_front_and_back(volume: Volume) -> Volume:
    """Return the volume with its array reversed from front to back, its header as it was."""
    return replace(volume, data=np.flip(volume.data, _front_axis(volume)))


def exchange_back(result: Segmentation, volume: Volume) -> Segmentation:
    """Return the result of `exchange_front_and_back(volume)` as one of the volume."""
    axis = _front_axis(volume)

    def back(array: np.ndarray) -> np.ndarray:
        return np.flip(array, axis)

    return replace(
        result,
        volume=volume,
        labels=back(result.labels),
        confidence=back(result.confidence),
        sides=replace(result.sides, voxels=back(result.sides.voxels)),
        covered=back(result.covered),
        probabilities=None if result.probabilities is None else back(result.probabilities),
        warnings=(WARNING, *result.warnings),
    )


def measure_coherence(
    network: Network,
    slices: Float[np.ndarray, "z r c"],
    body: Bool[np.ndarray, "z r c"],
    options: SegmentOptions,
) -> float:
    """Return the mean confidence of a network's labels, scattered ones counted as 0.

    A label is scattered outside the `PARTS` largest parts of its muscle in the slice.
    """
    scaled = normalize(slices, network.config.intensity)
    found: list[SlicePrediction] = []

    def take(z: int, part: SlicePrediction, inside: tuple[slice, slice]) -> None:
        found.append(part)

    once = replace(options, tta=False)
    result_of(predict_in_windows_steps(network, scaled, body, once, take))
    labeled = sum(int((part.labels > 0).sum()) for part in found)
    kept = sum(in_large_parts(part.labels, part.confidence) for part in found)
    return kept / STEPS / max(1, labeled)


def in_large_parts(labels: UInt8[np.ndarray, "r c"], confidence: UInt8[np.ndarray, "r c"]) -> float:
    """Return the sum of the confidence over the largest parts of every muscle."""
    total = 0.0
    for number, box in enumerate(ndi.find_objects(labels), 1):
        if box is not None:
            parts, _ = ndi.label(labels[box] == number)
            by_part = np.bincount(parts.ravel(), confidence[box].ravel())[1:]
            total += float(np.sort(by_part)[-PARTS:].sum())
    return total


def _front_axis(volume: Volume) -> int:
    """Return the array axis that runs most nearly from front to back."""
    return int(np.flatnonzero(volume.orientation[:, 0] == 1)[0])
