"""Test-time augmentation of uncertain slices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from musclejax.loops import Advance
from musclejax.models.initialization import initialize
from musclejax.prediction import tta
from musclejax.prediction.batches import Prediction, SlicePrediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.tta import CERTAIN, MIN_PX, Totals, is_uncertain, predict_steps
from tests.events import run

SIDE = 16
HALF = np.s_[:, : SIDE // 2]


def predicted_of(certainty: list[float], label: int = 1) -> Prediction:
    """Return slices whose left half has a label of some probability, the rest of two others."""
    probabilities = np.zeros((len(certainty), SIDE, SIDE, 3), np.uint8)
    probabilities[..., 0] = STEPS
    for one, certain in zip(probabilities, certainty, strict=True):
        one[:, : SIDE // 2] = 0
        one[:, : SIDE // 2, label] = round(certain * STEPS)
        one[:, : SIDE // 2, 3 - label] = STEPS - round(certain * STEPS)
    return Prediction(
        probabilities.argmax(-1).astype(np.uint8), probabilities.max(-1), probabilities
    )


def test_slices_are_uncertain_by_the_confidence_in_their_muscles() -> None:
    def muscle(certain: float, pixels: int = MIN_PX) -> np.ndarray:
        return np.full(pixels, round(certain * STEPS), np.uint8)

    assert not is_uncertain(muscle(CERTAIN + 0.01))
    assert is_uncertain(muscle(CERTAIN - 0.01))
    assert not is_uncertain(muscle(0.5, MIN_PX - 1))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], int]]:
    """What the network is asked for: the first pixel of every image, and the batch's size.

    A slice's first pixel is its number, its last one its certainty; seen in a mirror, muscle 2 is
    there with 0.75.
    """
    asked: list[tuple[list[float], int]] = []

    def predict(_: Any, images: np.ndarray, size: int, __: Any) -> Prediction:
        asked.append((images[:, 0, 0].tolist(), size))
        parts = []
        for image in images:
            mirrored = image[0, 0] == 0.5
            part = predicted_of([0.75 if mirrored else float(image[-1, -1])], 2 if mirrored else 1)
            parts.append([array[0][:, :: -1 if mirrored else 1] for array in part])
        return Prediction(*map(np.stack, zip(*parts, strict=True)))

    monkeypatch.setattr(tta, "predict_batch", predict)
    return asked


def slices_of(certainty: list[float]) -> np.ndarray:
    slices = np.full((len(certainty), SIDE, SIDE), 0.5, np.float32)
    slices[:, 0, 0] = np.arange(len(certainty)) + 1
    slices[:, -1, -1] = certainty
    return slices


def predict(certainty: list[float], **options: Any) -> tuple[Totals, list, dict]:
    found: dict[int, SlicePrediction] = {}
    take: Callable[[int, SlicePrediction], object] = found.__setitem__
    network = initialize("leg", "compact4")
    steps = predict_steps(network, slices_of(certainty), SegmentOptions(**options), take)
    totals, events = run(steps)
    return totals, events, found


def test_uncertain_slices_get_the_mean_with_their_mirror_image(asked: list) -> None:
    """By hand: 0.55 for muscle 1 and, in the mirror, 0.75 for muscle 2: 0.6 for muscle 2."""
    totals, events, found = predict([0.99, 0.55, 0.55, 0.99], batch_size=4)
    assert totals == (pytest.approx((0.99 + 0.55) / 2, abs=0.002), 2)
    assert sorted(found) == [0, 1, 2, 3]
    for z, label, certain in ((0, 1, 0.99), (1, 2, 0.6), (2, 2, 0.6), (3, 1, 0.99)):
        assert (found[z].labels[HALF] == label).all()
        np.testing.assert_allclose(found[z].confidence[HALF] / STEPS, certain, atol=0.01)
        np.testing.assert_array_equal(found[z].confidence, found[z].probabilities.max(-1))
    assert events == [Advance(4, 6), Advance(6, 6)]


def test_mirror_images_fill_the_next_batch(asked: list) -> None:
    """No batch but the last one has room left, and at most a batch of predictions waits."""
    totals, events, _ = predict([0.5, 0.99, 0.5, 0.99, 0.5], batch_size=2)
    assert asked == [([1, 2], 2), ([0.5, 3], 2), ([0.5, 4], 2), ([5], 2), ([0.5], 2)]
    assert totals.tta_slices == 3
    assert events[-1] == Advance(8, 8)
    assert [event.done for event in events] == [2, 4, 6, 7, 8]


def test_without_augmentation_every_slice_is_seen_once(asked: list) -> None:
    totals, _, found = predict([0.5] * 3, batch_size=2, tta=False)
    assert asked == [([1, 2], 2), ([3], 2)]
    assert totals == (pytest.approx(0.5, abs=0.003), 0)
    assert len(found) == 3
