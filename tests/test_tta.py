"""Test-time augmentation of uncertain limbs: real anatomy, networks of the tests."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi

from musclejax.errors import InputError
from musclejax.loops import Advance
from musclejax.models.network import Network
from musclejax.models.weights import Weights, load_weights
from musclejax.phantom.templates import read_tissues
from musclejax.phantom.tissues import MUSCLES, UNKNOWN
from musclejax.prediction import atlas, tta
from musclejax.prediction.batches import Prediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import DEFAULTS, SegmentOptions
from musclejax.prediction.tta import CERTAIN, UNCERTAIN, augment, augment_steps, find_splits, rotate
from tests.events import run

CLASSES = MUSCLES + 1
BICEPS, SEMITENDINOSUS = 10, 9


@pytest.fixture(scope="module")
def stranger() -> np.ndarray:
    """The muscles of a mid-thigh of somebody who is not in the atlas, on a canvas of its own."""
    tissues, rows, _ = read_tissues("thigh", "held_out")
    own = [n for n, row in enumerate(rows) if row["subject"] == "HV005"]
    [middle] = [n for n in own if rows[n]["limb"] == "right" and rows[n]["level_mm"] == "152"]
    tissue = tissues[middle]
    canvas = np.zeros((240, 240), np.uint8)
    canvas[10:234, 6:230] = np.where(tissue <= MUSCLES, tissue, 0)
    return canvas


def spread(labels: np.ndarray, probability: float = 0.9) -> np.ndarray:
    """Probabilities of labels, the rest shared by the other classes."""
    hot = np.eye(CLASSES, dtype=np.float32)[labels]
    return probability * hot + (1 - probability) / (CLASSES - 1) * (1 - hot)


def dsc(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean over the muscles that are there."""
    scores = []
    for label in np.unique(expected[expected > 0]):
        a, b = found == label, expected == label
        scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def thighs() -> atlas.Atlas:
    return atlas.load_atlas("thigh")


def test_the_atlas_holds_only_people_to_learn_from(thighs: atlas.Atlas) -> None:
    assert len(thighs.tissues) == len(read_tissues("thigh", "train", whole=False)[0])
    with pytest.raises(InputError, match="arm"):
        atlas.load_atlas("arm")


def test_the_prior_finds_the_muscles_of_a_stranger(
    thighs: atlas.Atlas, stranger: np.ndarray
) -> None:
    """Whatever the size and the rotation of the limb, but for its side."""
    smaller = ndi.affine_transform(stranger, np.diag([1.25, 1.2]), [-24, -18], order=0)
    turned = ndi.rotate(stranger, 20, order=0, reshape=False)
    for labels in (stranger, smaller, turned):
        found = atlas.find_prior(thighs, spread(labels))
        assert found is not None
        np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)
        assert dsc(found.probabilities.argmax(-1), labels) > 0.83
        mirrored = atlas.find_prior(thighs, spread(labels[:, ::-1]))
        assert mirrored is not None
        assert mirrored.fit < found.fit - 0.2


def test_the_prior_follows_a_limb_that_is_moved(thighs: atlas.Atlas, stranger: np.ndarray) -> None:
    here = atlas.find_prior(thighs, spread(stranger))
    there = atlas.find_prior(thighs, spread(np.roll(stranger, (4, -4), (0, 1))))
    assert here is not None
    assert there is not None
    moved = np.roll(here.probabilities, (4, -4), (0, 1))[20:-20, 20:-20]
    np.testing.assert_allclose(there.probabilities[20:-20, 20:-20], moved, atol=1e-3)
    assert there.fit == pytest.approx(here.fit, abs=1e-3)


def test_the_prior_has_the_rotation_of_a_limb_and_rotating_straightens_it(
    thighs: atlas.Atlas, stranger: np.ndarray
) -> None:
    as_it_lies = atlas.find_prior(thighs, spread(stranger))
    assert as_it_lies is not None
    middle = np.argwhere(stranger > 0).mean(0)
    for degrees in (-20.0, 15.0):
        turned = np.round(rotate(spread(stranger, 0.99), -degrees, middle), 4)
        found = atlas.find_prior(thighs, turned)
        assert found is not None
        assert found.degrees - as_it_lies.degrees == pytest.approx(degrees, abs=6)
        back = rotate(turned, degrees, middle)
        assert dsc(back.argmax(-1), stranger) > 0.97
        assert dsc(turned.argmax(-1), stranger) < 0.8
    # Rotated from down the rows to along the columns is: it points right.
    right = np.zeros((9, 9), np.float32)
    right[4, 5:8] = 1
    np.testing.assert_allclose(rotate(right, 90.0, np.array([4.0, 4.0])), right.T, atol=1e-6)


def test_little_muscle_has_no_prior(thighs: atlas.Atlas) -> None:
    labels = np.zeros((240, 200), np.uint8)
    assert atlas.find_prior(thighs, spread(labels)) is None
    labels[40:60, 50:90] = 3
    labels[90:120, 50:90] = 5
    assert atlas.find_prior(thighs, spread(labels)) is None


@pytest.mark.parametrize("muscles", [4, 12])
@pytest.mark.parametrize("pattern", ["confetti", "stripes", "line"])
def test_a_pattern_unlike_a_limb_is_no_error(
    thighs: atlas.Atlas, muscles: int, pattern: str
) -> None:
    rng, labels = np.random.default_rng(muscles), np.zeros((240, 192), np.uint8)
    if pattern == "confetti":
        labels[:] = rng.integers(0, muscles + 1, labels.shape)
    for label in range(1, muscles + 1):
        if pattern == "stripes":
            labels[label * 16 : label * 16 + 8] = label
        elif pattern == "line":
            labels[100:108, label * 12 : label * 12 + 8] = label
    found = atlas.find_prior(thighs, spread(labels))
    assert found is not None
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)
    assert np.isfinite(found.fit)


def test_unknown_muscle_votes_for_all_classes() -> None:
    codes = np.array([[UNKNOWN, 3, 22], [2, 2, 3]], np.uint8)
    votes = atlas._vote(codes, np.array([0.5, 0.5]), 4)
    np.testing.assert_allclose(votes[0], [0.125, 0.125, 0.625, 0.125])
    np.testing.assert_allclose(votes[1:], [[0, 0, 0.5, 0.5], [0.5, 0, 0, 0.5]])


def test_affine_maps_are_found_and_few_points_give_similarities() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 200, (1, 12, 2))
    turned = 1.2 * np.array([[0.8, 0.6], [-0.6, 0.8]])
    weights = rng.uniform(0.5, 2, (1, 12))
    maps = atlas._affine(points, points[0] @ turned + [5, -9], weights)
    np.testing.assert_allclose(maps.linear[0], turned, atol=1e-9)
    np.testing.assert_allclose(maps.shift[0], [5, -9], atol=1e-6)
    # Points on a line leave the width of a limb unknown.
    line = np.stack([np.arange(12.0), 3 * np.arange(12.0)], -1)[None]
    maps = atlas._affine(line, line[0] @ turned, weights)
    np.testing.assert_allclose(maps.linear[0], turned, atol=1e-9)


@pytest.fixture(scope="module")
def weights(weights_folder: Path) -> Weights:
    """Their predictions are replaced here."""
    return load_weights(weights_folder)


class Scan:
    """Two thighs with the same muscles, and a network that reads the labels off their images.

    A pixel is its label, plus a hundred per slice before.
    """

    def __init__(self, stranger: np.ndarray, confidence: float, slices: int = 2) -> None:
        self.truth = np.concatenate([stranger, stranger[:, ::-1]], 1)
        wrong = self.truth.copy()
        # Half of a muscle is taken for its neighbor, in the right limb.
        rows = np.flatnonzero((stranger == BICEPS).any(1))
        half = np.zeros_like(wrong, bool)
        half[: int(rows.mean()), :240] = True
        wrong[(wrong == BICEPS) & half] = SEMITENDINOSUS
        self.wrong = wrong
        # The first slice is certain.
        self.confidence = [0.99] + (slices - 1) * [confidence]
        self.images = np.stack([wrong + 100 * n for n in range(slices)]).astype(np.float32)
        self.before = self.read(self.images)
        self.predicted: list[int] = []

    def read(self, images: np.ndarray) -> np.ndarray:
        every = []
        for image in images:
            number, label = divmod(np.round(image).astype(int), 100)
            every.append(spread(label, self.confidence[number.max()]))
        return np.round(STEPS * np.stack(every)).astype(np.uint8)

    def prediction(self, probabilities: np.ndarray) -> Prediction:
        labels = probabilities.argmax(-1).astype(np.uint8)
        return Prediction(labels, probabilities.max(-1), probabilities)

    def predict(self, network: object, images: np.ndarray, options: object) -> Prediction:
        self.predicted += (images[:, 0, 0] // 100).astype(int).tolist()
        return self.prediction(self.read(images))

    def augment(
        self,
        network: Network,
        monkeypatch: pytest.MonkeyPatch,
        options: SegmentOptions = DEFAULTS,
    ) -> tuple[Prediction, int, list[Advance]]:
        body = np.zeros((len(self.before), *self.truth.shape), bool)
        body[:, 10:230, 10:230] = body[:, 10:230, 250:470] = True
        splits = find_splits(body, np.zeros(len(body), int))
        assert splits is not None
        assert (np.abs(splits - 240) < 3).all()
        monkeypatch.setattr(tta, "predict_labels", self.predict)
        found = self.prediction(self.before.copy())
        steps = augment_steps(network, self.images, found, splits, options)
        return found, *run(steps)


def test_certain_limbs_do_not_change(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(stranger, CERTAIN + 0.01)
    found, slices, events = scan.augment(weights.networks["thigh"], monkeypatch)
    assert (slices, scan.predicted, events) == (0, [], [])
    np.testing.assert_array_equal(found.labels[1], scan.wrong)


def test_uncertain_limbs_are_corrected_by_the_prior(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(stranger, UNCERTAIN - 0.25)
    found, slices, _ = scan.augment(weights.networks["thigh"], monkeypatch)
    assert slices == 1
    np.testing.assert_array_equal(found.labels[0], scan.wrong)
    right, left = found.labels[1, :, :240], found.labels[1, :, 240:]
    before, after = (a[:, :240] == BICEPS for a in (scan.wrong, found.labels[1]))
    truth = stranger == BICEPS
    assert (after & truth).sum() > 1.3 * (before & truth).sum()
    assert dsc(right, stranger) > dsc(scan.wrong[:, :240], stranger)
    assert dsc(left, stranger[:, ::-1]) > 0.9
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.confidence, found.probabilities.max(-1))


@pytest.mark.parametrize(
    ("batch_size", "predicted", "done"),
    [
        (1, [1, 1, 1, 2, 2, 2], [0, 1, 2]),
        (2, [1, 2, 1, 2, 1, 2], [0, 2]),
        (3, [1, 2, 1, 1, 2, 1, 2], [0, 2]),
        (8, [1, 2, 1, 1, 2, 1, 2], [0, 2]),
    ],
)
def test_batches_are_filled_and_progress_is_reported(
    batch_size: int,
    predicted: list[int],
    done: list[int],
    weights: Weights,
    stranger: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch has no more slices than the scan: the first batch had no more.

    Each slice is predicted mirrored, and then rotated and both in one. Of five slices, three were
    done before.
    """
    scan, options = (
        Scan(stranger, UNCERTAIN - 0.25, slices=3),
        SegmentOptions(batch_size=batch_size),
    )
    _, slices, events = scan.augment(weights.networks["thigh"], monkeypatch, options)
    assert (slices, scan.predicted) == (2, predicted)
    assert events == [Advance(3 + count, 5) for count in done]


def test_legs_have_no_atlas_and_get_the_mean_of_both_predictions(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(stranger, UNCERTAIN - 0.25)
    before, scan.before = scan.before, scan.before.copy()
    monkeypatch.setattr(scan, "predict", lambda *_, **__: scan.prediction(before[1:] * 0))
    found, _, _ = scan.augment(weights.networks["leg"], monkeypatch)
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.probabilities[1], np.round(before[1] / 2))


def test_a_limb_of_unknown_side_is_compared_both_ways(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = np.zeros((1, 240, 240), bool)
    body[:, 10:230, 10:230] = True
    assert find_splits(body, np.zeros(1, int)) is None
    scan, results = Scan(stranger, 0.5), []
    scan.confidence = [UNCERTAIN - 0.3]
    monkeypatch.setattr(tta, "predict_labels", scan.predict)
    for labels in (stranger, stranger[:, ::-1]):
        images = labels[None].astype(np.float32)
        found = scan.prediction(scan.read(images))
        assert augment(weights.networks["thigh"], images, found, None) == 1
        results.append(found.labels[0])
        assert dsc(found.labels[0], labels) > 0.9
    np.testing.assert_array_equal(results[0], results[1][:, ::-1])
