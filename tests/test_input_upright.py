"""Scans that lie upside down: noticed, labeled as their mirror image, and reported."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import musclejax
from musclejax.loops import Stage
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction import segment as room
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.segment import segment, segment_steps
from musclejax.prediction.upright import (
    UNDECIDED,
    WARNING,
    exchange_front_and_back,
    in_large_parts,
    is_uncertain,
    judge,
)
from musclejax.samples import SAMPLES
from musclejax.scan.volume import Volume
from tests.events import run
from tests.test_grid import ORIENTATIONS, reoriented

# Coherence of every real scan in ../shared/data/PROVENANCE.md: as it is, with front and back
# exchanged, and turned by 180 degrees; by the bundled weights of 30 November 2026, four slices.
COHERENCE = {
    "test_up": (0.959, 0.820, 0.825),
    "test_low": (0.974, 0.709, 0.708),
    "thighA, TE 3.45 ms": (0.932, 0.787, 0.750),
    "thighA, TE 4.60 ms": (0.954, 0.747, 0.782),
    "thighB": (0.875, 0.692, 0.675),
    "calfA": (0.978, 0.652, 0.657),
    "Thigh_001, fat": (0.825, 0.747, 0.768),
    "Thigh_001, water": (0.861, 0.747, 0.763),
    "Thigh_002, fat": (0.772, 0.670, 0.672),
    "Thigh_002, water": (0.799, 0.677, 0.715),
    "wholeleg 3, calf": (0.908, 0.741, 0.725),
    "wholeleg 4, calf to knee": (0.859, 0.727, 0.713),
}
UNKNOWN = {
    "wholeleg 1, feet": (0.643, 0.721, 0.722),
    "wholeleg 7, hip": (0.743, 0.762, 0.765),
}
"""No network knows these: they are left as they are, the feet with a warning."""


@pytest.mark.parametrize("name", COHERENCE)
def test_the_rule_on_real_scans(name: str) -> None:
    upright, *others = COHERENCE[name]
    for other in others:
        assert judge(upright, other, 10) == "upright"
        assert judge(other, upright, 10) == "upside down"


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_network_knows_is_never_turned(name: str) -> None:
    upright, *others = UNKNOWN[name]
    for other in others:
        assert judge(upright, other, 10) == "undecided"
        assert judge(other, upright, 10) != "upside down"


@pytest.mark.parametrize(
    ("given", "mirrored", "slices", "expected"),
    [
        # By the same weights. Upright:
        (0.72, 0.80, 3, "undecided"),  # Thigh_002, below the hip, severely diseased
        (0.71, 0.80, 4, "undecided"),  # wholeleg 4, the knee
        (0.72, 0.77, 5, "undecided"),  # the same
        (0.94, 0.87, 1, "undecided"),  # test_up, near the knee: not clearly better
        (0.95, 0.75, 1, "undecided"),  # a short scan is never taken for upright
        (0.95, 0.75, 7, "upright"),
        # Upside down:
        (0.87, 0.93, 1, "undecided"),  # test_up, near the knee, taken for a leg
        (0.87, 0.96, 2, "undecided"),  # test_up, middle
        (0.76, 0.96, 2, "upside down"),  # test_up, middle
        (0.72, 0.80, 8, "upside down"),  # Thigh_002
        (0.58, 0.46, 4, "undecided"),  # Thigh_002, near the hip: neither way is coherent
    ],
)
def test_few_slices_must_be_clearer(
    given: float, mirrored: float, slices: int, expected: str
) -> None:
    assert judge(given, mirrored, slices) == expected


def test_a_label_far_from_the_two_largest_parts_of_its_muscle_is_scattered() -> None:
    """By hand: parts of 6, 4 and 2 pixels of muscle 1, and one of 3 pixels of muscle 2."""
    labels = np.zeros((9, 9), np.uint8)
    labels[0:2, 0:3], labels[4:6, 0:2], labels[8, 0:2], labels[8, 6:9] = 1, 1, 1, 2
    confidence = np.full(labels.shape, 100, np.uint8)
    confidence[8, 6:9] = 200
    assert in_large_parts(labels, confidence) == (6 + 4) * 100 + 3 * 200


def test_front_and_back_are_exchanged_by_the_header(thigh_path: Path) -> None:
    """In every order of axes the same voxels change places, and twice makes the scan again."""
    volume = musclejax.load(thigh_path)
    volume = Volume(volume.data[::4, ::5, ::6], volume.affine, "coarse")
    expected = exchange_front_and_back(volume)
    np.testing.assert_array_equal(expected.lps.data, volume.lps.data[:, ::-1])
    np.testing.assert_array_equal(exchange_front_and_back(expected).data, volume.data)
    for orientation in ORIENTATIONS[::7]:
        other = exchange_front_and_back(reoriented(volume, orientation))
        np.testing.assert_array_equal(other.data, nib.apply_orientation(expected.data, orientation))


def test_the_result_is_that_of_the_mirror_image(
    thigh_path: Path, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights are certain of nothing; what the check finds is set here."""
    whole = musclejax.load(thigh_path)
    middle = Volume(np.ascontiguousarray(whole.data[:, :, 15:16]), whole.affine, "middle")
    volume = reoriented(middle, ORIENTATIONS[9])
    options = SegmentOptions(region="thigh", batch_size=1, tta=False, probabilities=True)
    trained = Weights("w", load_weights(weights_folder).networks)
    monkeypatch.setattr(room, "judge", lambda *_: "upright")
    mirrored = segment(exchange_front_and_back(volume), trained, options)
    assert not {WARNING, UNDECIDED} & {*mirrored.warnings}
    monkeypatch.setattr(room, "judge", lambda *_: "upside down")
    result, events = run(segment_steps(volume, trained, options))
    assert [e.name for e in events if isinstance(e, Stage)].count("check") == 1
    assert result.warnings == (WARNING, *mirrored.warnings)
    assert result.volume is volume
    (axis,) = np.flatnonzero(volume.orientation[:, 0] == 1)
    for name in ("labels", "confidence", "covered", "probabilities"):
        expected = np.flip(getattr(mirrored, name), axis)
        np.testing.assert_array_equal(getattr(result, name), expected)
    np.testing.assert_array_equal(result.sides.voxels, np.flip(mirrored.sides.voxels, axis))
    # Who is checked: not random weights, not the geometry of 2021, not what is certain.
    assert is_uncertain(mirrored, options)
    assert not is_uncertain(replace(mirrored, trained=False), options)
    assert not is_uncertain(mirrored, replace(options, geometry="2021"))
    assert mirrored.quality is not None
    certain = replace(mirrored, quality=mirrored.quality._replace(confidence=0.95))
    assert not is_uncertain(certain, options)


def test_a_calf_that_was_taken_for_a_thigh() -> None:
    """Turned by 180 degrees, its classifier's probability of thigh was 1.00. The stored labels."""
    image = nib.load(SAMPLES["test_low"])
    stored = nib.load(Path(__file__).parent / "stored_labels" / "test_low.nii.gz")
    data = np.asarray(image.dataobj, np.float32)[::-1, ::-1, 2:30:7]
    volume = Volume(np.ascontiguousarray(data), stored.affine, "turned")
    result = segment(volume, options=SegmentOptions(tta=False, precision="float32"))
    assert (result.region, result.warnings[0]) == ("leg", WARNING)
    labels = np.asarray(stored.dataobj)[::-1, ::-1, :4]
    both = (labels > 0) & (result.labels > 0)
    assert both.sum() > 0.95 * (labels > 0).sum()
    assert (labels == result.labels)[both].mean() > 0.95


def test_a_slice_that_does_not_tell() -> None:
    """A slice near the knee, turned by 180 degrees, was labeled as a leg without a word."""
    image = nib.load(SAMPLES["test_up"])
    data = np.asarray(image.dataobj, np.float32)[..., 1:2]
    for flip, region, warned in ((1, "thigh", False), (-1, "leg", True)):
        volume = Volume(np.ascontiguousarray(data[::flip, ::flip]), image.affine, "slice")
        result = segment(volume, options=SegmentOptions(tta=False, precision="float32"))
        assert result.region == region
        assert (UNDECIDED in result.warnings) == warned
