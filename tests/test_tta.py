"""Test-time augmentation of uncertain slices."""

import numpy as np
import pytest

from musclejax.loops import Advance
from musclejax.models.initialization import initialize
from musclejax.prediction import tta
from musclejax.prediction.batches import Prediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.tta import CERTAIN, MIN_PX, augment_steps, find_uncertain
from tests.events import run

SIDE = 16


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


def test_uncertain_slices_are_found() -> None:
    predicted = predicted_of([CERTAIN + 0.01, CERTAIN - 0.01, 0.6])
    assert find_uncertain(predicted).tolist() == [1, 2]
    assert SIDE * SIDE // 2 > MIN_PX
    predicted.labels[2, 3:] = 0  # 24 pixels
    assert find_uncertain(predicted).tolist() == [1]


def test_uncertain_slices_get_the_mean_with_their_mirror_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hand: 0.55 for muscle 1 and, in the mirror, 0.75 for muscle 2: 0.6 for muscle 2."""
    predicted = predicted_of([0.99, 0.55, 0.55, 0.55])
    images = np.arange(4 * SIDE * SIDE, dtype=np.float32).reshape(4, SIDE, SIDE)
    asked = []

    def predict(_: object, shown: np.ndarray, __: object) -> Prediction:
        asked.append(shown)
        found = predicted_of([0.75] * len(shown), label=2)
        return Prediction(*(array[:, :, ::-1] for array in found))

    monkeypatch.setattr(tta, "predict_labels", predict)
    network, options = initialize("leg", "compact4"), SegmentOptions(batch_size=2)
    before = predicted.labels.copy()
    count, events = run(augment_steps(network, images, predicted, options))
    assert (count, events) == (3, [Advance(4, 7), Advance(6, 7), Advance(7, 7)])
    np.testing.assert_array_equal(asked[0], images[1:3, :, ::-1])
    np.testing.assert_array_equal(asked[1], images[[3, 3], :, ::-1])  # no other shape is compiled
    np.testing.assert_array_equal(predicted.labels[0], before[0])
    half = np.s_[1:, :, : SIDE // 2]
    assert (predicted.labels[half] == 2).all()
    np.testing.assert_allclose(predicted.confidence[half] / STEPS, 0.6, atol=0.01)
    np.testing.assert_array_equal(predicted.confidence, predicted.probabilities.max(-1))
