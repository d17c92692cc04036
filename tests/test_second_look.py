"""A second look at limbs of which the network is not sure: real anatomy, networks of the tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from musclejax.errors import InputError
from musclejax.inference import atlas, second_look
from musclejax.inference.engines import STEPS
from musclejax.inference.predictor import Prediction
from musclejax.inference.second_look import DOUBTFUL, SURE, find_splits, look_again, turn
from musclejax.models.weights import Network, Weights, load_weights
from musclejax.phantom.templates import read_tissues
from musclejax.phantom.tissues import MUSCLES, UNKNOWN

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


def certain(labels: np.ndarray, probability: float = 0.9) -> np.ndarray:
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
    assert len(thighs.tissues) == len(read_tissues("thigh", "train")[0])
    with pytest.raises(InputError, match="arm"):
        atlas.load_atlas("arm")


def test_other_people_tell_where_a_strangers_muscles_are(
    thighs: atlas.Atlas, stranger: np.ndarray
) -> None:
    """Whatever the size and the turn of the limb, but for its side."""
    smaller = ndi.affine_transform(stranger, np.diag([1.25, 1.2]), [-24, -18], order=0)
    turned = ndi.rotate(stranger, 20, order=0, reshape=False)
    for labels in (stranger, smaller, turned):
        found = atlas.expect(thighs, certain(labels))
        assert found is not None
        np.testing.assert_allclose(found.shares.sum(-1), 1, atol=1e-5)
        assert dsc(found.shares.argmax(-1), labels) > 0.83
        mirrored = atlas.expect(thighs, certain(labels[:, ::-1]))
        assert mirrored is not None
        assert mirrored.fit < found.fit - 0.2


def test_shares_follow_a_limb_that_is_moved(thighs: atlas.Atlas, stranger: np.ndarray) -> None:
    here = atlas.expect(thighs, certain(stranger))
    there = atlas.expect(thighs, certain(np.roll(stranger, (4, -4), (0, 1))))
    assert here is not None
    assert there is not None
    moved = np.roll(here.shares, (4, -4), (0, 1))[20:-20, 20:-20]
    np.testing.assert_allclose(there.shares[20:-20, 20:-20], moved, atol=1e-3)
    assert there.fit == pytest.approx(here.fit, abs=1e-3)


def test_the_atlas_tells_how_far_a_limb_is_turned_and_turning_straightens_it(
    thighs: atlas.Atlas, stranger: np.ndarray
) -> None:
    as_it_lies = atlas.expect(thighs, certain(stranger))
    assert as_it_lies is not None
    middle = np.argwhere(stranger > 0).mean(0)
    for degrees in (-20.0, 15.0):
        turned = np.round(turn(certain(stranger, 0.99), -degrees, middle), 4)
        found = atlas.expect(thighs, turned)
        assert found is not None
        assert found.degrees - as_it_lies.degrees == pytest.approx(degrees, abs=6)
        back = turn(turned, degrees, middle)
        assert dsc(back.argmax(-1), stranger) > 0.97
        assert dsc(turned.argmax(-1), stranger) < 0.8
    # What was turned from down the rows to along the columns points right.
    right = np.zeros((9, 9), np.float32)
    right[4, 5:8] = 1
    np.testing.assert_allclose(turn(right, 90.0, np.array([4.0, 4.0])), right.T, atol=1e-6)


def test_little_muscle_tells_nothing(thighs: atlas.Atlas) -> None:
    labels = np.zeros((240, 200), np.uint8)
    assert atlas.expect(thighs, certain(labels)) is None
    labels[40:60, 50:90] = 3
    labels[90:120, 50:90] = 5
    assert atlas.expect(thighs, certain(labels)) is None


@pytest.mark.parametrize("muscles", [4, 12])
@pytest.mark.parametrize("pattern", ["confetti", "stripes", "line"])
def test_what_looks_like_no_limb_is_no_error(
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
    found = atlas.expect(thighs, certain(labels))
    assert found is not None
    np.testing.assert_allclose(found.shares.sum(-1), 1, atol=1e-5)
    assert np.isfinite(found.fit)


def test_a_template_that_does_not_know_says_anything() -> None:
    codes = np.array([[UNKNOWN, 3, 22], [2, 2, 3]], np.uint8)
    shares = atlas._shares(codes, np.array([0.5, 0.5]), 4)
    np.testing.assert_allclose(shares[0], [0.125, 0.125, 0.625, 0.125])
    np.testing.assert_allclose(shares[1:], [[0, 0, 0.5, 0.5], [0.5, 0, 0, 0.5]])


def test_affine_maps_are_found_and_few_points_give_similarities() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 200, (1, 12, 2))
    turned = 1.2 * np.array([[0.8, 0.6], [-0.6, 0.8]])
    weights = rng.uniform(0.5, 2, (1, 12))
    maps = atlas._affine(points, points[0] @ turned + [5, -9], weights)
    np.testing.assert_allclose(maps.linear[0], turned, atol=1e-9)
    np.testing.assert_allclose(maps.shift[0], [5, -9], atol=1e-6)
    # Two points and more on a line do not tell how wide a limb is.
    line = np.stack([np.arange(12.0), 3 * np.arange(12.0)], -1)[None]
    maps = atlas._affine(line, line[0] @ turned, weights)
    np.testing.assert_allclose(maps.linear[0], turned, atol=1e-9)


@pytest.fixture(scope="module")
def weights(weights_folder: Path) -> Weights:
    """What they say is never asked for here."""
    return load_weights(weights_folder)


class Scan:
    """Two thighs with the same muscles, and a network that says what their images are made of.

    A pixel is its label, and a hundred for each slice before.
    """

    def __init__(self, stranger: np.ndarray, sure: float, slices: int = 2) -> None:
        self.truth = np.concatenate([stranger, stranger[:, ::-1]], 1)
        wrong = self.truth.copy()
        # Half of a muscle is taken for its neighbour, in the right limb.
        rows = np.flatnonzero((stranger == BICEPS).any(1))
        half = np.zeros_like(wrong, bool)
        half[: int(rows.mean()), :240] = True
        wrong[(wrong == BICEPS) & half] = SEMITENDINOSUS
        self.wrong = wrong
        # The first slice is sure.
        self.sure = [0.99] + (slices - 1) * [sure]
        self.images = np.stack([wrong + 100 * n for n in range(slices)]).astype(np.float32)
        self.said = self.say(self.images)
        self.asked: list[int] = []

    def say(self, images: np.ndarray) -> np.ndarray:
        every = []
        for image in images:
            number, label = divmod(np.round(image).astype(int), 100)
            every.append(certain(label, self.sure[number.max()]))
        return np.round(STEPS * np.stack(every)).astype(np.uint8)

    def prediction(self, probabilities: np.ndarray) -> Prediction:
        labels = probabilities.argmax(-1).astype(np.uint8)
        return Prediction(labels, probabilities.max(-1), probabilities)

    def predict(self, network: object, images: np.ndarray, **options: object) -> Prediction:
        self.asked += (images[:, 0, 0] // 100).astype(int).tolist()
        return self.prediction(self.say(images))

    def look(
        self, network: Network, monkeypatch: pytest.MonkeyPatch, **options: Any
    ) -> tuple[Prediction, int]:
        body = np.zeros((len(self.said), *self.truth.shape), bool)
        body[:, 10:230, 10:230] = body[:, 10:230, 250:470] = True
        splits = find_splits(body, np.zeros(len(body), int))
        assert splits is not None
        assert (np.abs(splits - 240) < 3).all()
        monkeypatch.setattr(second_look, "predict_labels", self.predict)
        found = self.prediction(self.said.copy())
        return found, look_again(network, self.images, found, splits, **options)


def test_where_the_network_is_sure_nothing_changes(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(stranger, SURE + 0.01)
    found, twice = scan.look(weights.networks["thigh"], monkeypatch)
    assert (twice, scan.asked) == (0, [])
    np.testing.assert_array_equal(found.labels[1], scan.wrong)


def test_where_it_is_not_the_atlas_mends_what_no_limb_looks_like(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(stranger, DOUBTFUL - 0.25)
    found, twice = scan.look(weights.networks["thigh"], monkeypatch)
    assert twice == 1
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
    ("batch_size", "asked", "followed"),
    [
        (1, [1, 1, 1, 2, 2, 2], [1, 1]),
        (2, [1, 2, 1, 2, 1, 2], [2]),
        (3, [1, 2, 1, 1, 2, 1, 2], [2]),
        (8, [1, 2, 1, 1, 2, 1, 2], [2]),
    ],
)
def test_as_many_are_asked_again_as_fill_a_batch(
    batch_size: int,
    asked: list[int],
    followed: list[int],
    weights: Weights,
    stranger: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more than there are slices: that is what the first batch had.

    Each is asked about mirrored, and then turned and both in one.
    """
    scan, told = Scan(stranger, DOUBTFUL - 0.25, slices=3), []
    _, twice = scan.look(
        weights.networks["thigh"],
        monkeypatch,
        batch_size=batch_size,
        extend=lambda more: told.append(-more),
        advance=told.append,
    )
    assert (twice, scan.asked) == (2, asked)
    assert told == [-2, *followed]


def test_legs_have_no_atlas_and_get_the_mean_of_both_looks(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(stranger, DOUBTFUL - 0.25)
    before, scan.said = scan.said, scan.said.copy()
    monkeypatch.setattr(scan, "predict", lambda *_, **__: scan.prediction(before[1:] * 0))
    found, _ = scan.look(weights.networks["leg"], monkeypatch)
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.probabilities[1], np.round(before[1] / 2))


def test_a_limb_of_unknown_side_is_laid_out_both_ways(
    weights: Weights, stranger: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = np.zeros((1, 240, 240), bool)
    body[:, 10:230, 10:230] = True
    assert find_splits(body, np.zeros(1, int)) is None
    scan, results = Scan(stranger, 0.5), []
    scan.sure = [DOUBTFUL - 0.3]
    monkeypatch.setattr(second_look, "predict_labels", scan.predict)
    for labels in (stranger, stranger[:, ::-1]):
        images = labels[None].astype(np.float32)
        found = scan.prediction(scan.say(images))
        assert look_again(weights.networks["thigh"], images, found, None) == 1
        results.append(found.labels[0])
        assert dsc(found.labels[0], labels) > 0.9
    np.testing.assert_array_equal(results[0], results[1][:, ::-1])
