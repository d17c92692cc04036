"""Windows around the limbs: they hold the body, come in few sizes, and change nothing within."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.anatomy import SLICE_PX
from musclejax.loops import result_of
from musclejax.models.network import Network
from musclejax.models.variants import VARIANTS
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction import tta
from musclejax.prediction.batches import Prediction, SlicePrediction, predict_labels
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.tta import Totals
from musclejax.prediction.windows import STEP_PX, find_windows, paste, predict_in_windows_steps

LEAST = (96, 144)
PLAIN = SegmentOptions(tta=False, engine="jax", precision="float32")


@pytest.fixture(scope="module")
def network(weights_folder: Path) -> Network:
    weights: Weights = load_weights(weights_folder)
    network = weights.networks["thigh"]
    config = network.config.copy_and_resolve_references()
    config.data.crop_px = LEAST
    return replace(network, config=config)


def predict_in_windows(
    network: Network, slices: np.ndarray
) -> tuple[Totals, dict[int, SlicePrediction]]:
    """Return the totals, and the slices with their windows put back."""
    found: dict[int, SlicePrediction] = {}

    def take(z: int, part: SlicePrediction, inside: tuple[slice, slice]) -> None:
        found[z] = paste(part, inside)

    steps = predict_in_windows_steps(network, slices, slices > 0, PLAIN, take)
    return result_of(steps), found


def body(*boxes: tuple[int, int, int, int] | None) -> np.ndarray:
    mask = np.zeros((len(boxes), SLICE_PX, SLICE_PX), bool)
    for shown, box in zip(mask, boxes, strict=True):
        if box:
            top, bottom, left, right = box
            shown[top:bottom, left:right] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.integers(0, SLICE_PX - 20), st.integers(20, SLICE_PX)] * 2),
        min_size=1,
        max_size=3,
    )
)
def test_the_body_is_in_the_window(ends: list[tuple[int, int, int, int]]) -> None:
    boxes = [(t, min(SLICE_PX, t + h), c, min(SLICE_PX, c + w)) for t, h, c, w in ends]
    size, corners = find_windows(body(*boxes), LEAST)
    for (top, bottom, left, right), corner in zip(boxes, corners, strict=True):
        for first, last, begin, length in (
            (top, bottom, corner[0], size[0]),
            (left, right, corner[1], size[1]),
        ):
            assert 0 <= begin <= SLICE_PX - length
            # The body's box leaves out half a percent of its pixels at either end.
            assert begin <= first + 0.005 * SLICE_PX + 1
            assert begin + length >= last - 0.005 * SLICE_PX - 1
    for length, least in zip(size, LEAST, strict=True):
        assert length in (least, SLICE_PX) or (length % STEP_PX == 0 and length > least)


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_are_some_that_the_variant_takes(name: str) -> None:
    multiple = VARIANTS[name].size_multiple
    least = (2 * multiple, 2 * multiple)
    step = math.lcm(STEP_PX, multiple)
    for extent in (1, 2 * multiple, 2 * multiple + 1, SLICE_PX - 1, SLICE_PX):
        size, _ = find_windows(body((0, extent, 0, extent)), least, step)
        assert size[0] % multiple == 0
        assert size[0] >= 0.99 * extent - 1


def test_an_empty_slice_and_an_empty_scan() -> None:
    size, corners = find_windows(body((10, 60, 20, 90), None), LEAST)
    assert size == LEAST
    assert corners.tolist() == [[0, 0], [(SLICE_PX - 96) // 2, (SLICE_PX - 144) // 2]]
    assert find_windows(body(None), LEAST).size == LEAST


def test_within_a_window_it_is_the_network_and_beyond_it_is_air(network: Network) -> None:
    rng = np.random.default_rng(0)
    slices = np.zeros((2, SLICE_PX, SLICE_PX), np.float32)
    slices[0, 100:190, 200:330] = rng.uniform(0.5, 1, (90, 130))
    slices[1, 300:380, 20:120] = rng.uniform(0.5, 1, (80, 100))
    predicted, found = predict_in_windows(network, slices)
    cut = np.stack([slices[0, 97:193, 193:337], slices[1, 292:388, 0:144]])
    expected = predict_labels(network, cut)
    assert expected.probabilities is not None
    muscle = expected.confidence[expected.labels > 0]
    assert (predicted.confidence, predicted.tta_slices) == (pytest.approx(muscle.mean() / STEPS), 0)
    for z, (r, c) in enumerate([(97, 193), (292, 0)]):
        inside = np.zeros(slices.shape[1:], bool)
        inside[r : r + 96, c : c + 144] = True
        for whole, part in zip(found[z], expected, strict=True):
            np.testing.assert_array_equal(whole[inside], part[z].reshape(-1, *part.shape[3:]))
        assert not found[z].labels[~inside].any()
        assert (found[z].confidence[~inside] == STEPS).all()
        assert (found[z].probabilities[~inside] == [STEPS] + [0] * 12).all()
        assert found[z].labels.any()


def test_no_muscle_is_no_confidence(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(network: Network, images: np.ndarray, *_: Any) -> Prediction:
        background = np.zeros((*images.shape, 13), np.uint8)
        background[..., 0] = STEPS
        return Prediction(background[..., 1], background[..., 0], background)

    monkeypatch.setattr(tta, "predict_batch", nothing)
    slices = np.zeros((1, SLICE_PX, SLICE_PX), np.float32)
    slices[0, 200:260, 200:280] = 1
    assert predict_in_windows(network, slices)[0].confidence == 0


def test_a_network_of_whole_slices_sees_whole_slices(network: Network) -> None:
    config = network.config.copy_and_resolve_references()
    config.data.crop_px = (SLICE_PX, SLICE_PX)
    slices = np.zeros((1, SLICE_PX, SLICE_PX), np.float32)
    slices[0, 200:260, 200:280] = 1
    whole = replace(network, config=config)
    found = predict_in_windows(whole, slices)[1][0]
    np.testing.assert_array_equal(found.labels, predict_labels(whole, slices).labels[0])
    # So much more air changes the prediction of this network: the two differ.
    windowed = predict_in_windows(network, slices)[1][0]
    assert (found.labels != windowed.labels).any()
