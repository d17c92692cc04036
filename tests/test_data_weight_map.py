"""Weight maps (paper, Eq. 2) against SciPy's distances and Eq. 2 written out in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from musclejax import anatomy
from musclejax.data.dataset import IGNORE
from musclejax.data.weight_map import border_term, class_weights, squared_distances, weight_map
from musclejax.errors import InputError
from tests.conftest import quick_jit

W0, SIGMA = 10.0, 7.0
REACH = 42
SHAPE = (60, 71)


def random_labels(num_classes, seed, seeds=30):
    """Cells around random points, most of them background, with some unknown pixels."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (seeds, 2)) * SHAPE
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    squared = (rows - points[:, :1, None]) ** 2 + (columns - points[:, 1:, None]) ** 2
    kinds = rng.integers(0, num_classes, seeds) * (rng.random(seeds) < 0.6)
    labels = kinds[squared.argmin(0)].astype(np.uint8)
    labels[rng.integers(0, 60, 9), rng.integers(0, 71, 9)] = IGNORE
    return labels


def exact_distances(labels, num_classes):
    """Distance to each muscle by `scipy.ndimage.distance_transform_edt`; infinite if absent."""
    muscles = [labels == n for n in range(1, num_classes)]
    nowhere = np.full(labels.shape, np.inf)
    return np.array([ndimage.distance_transform_edt(~m) if m.any() else nowhere for m in muscles])


def equation_2(labels, num_classes):
    """Second term of Eq. 2, without any cutoff."""
    first, second = np.sort(exact_distances(labels, num_classes), 0)[:2]
    return W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA**2))


JITTED = {
    n: (
        quick_jit(lambda labels, n=n: squared_distances(labels, n, REACH)),
        quick_jit(lambda labels, n=n: border_term(labels, n, W0, SIGMA)),
    )
    for n in (7, 13)
}


class TestDistances:
    @pytest.mark.parametrize("num_classes", [7, 13])
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 9999), seeds=st.sampled_from([3, 30, 200]))
    def test_equal_scipys_to_the_last_bit(self, num_classes, seed, seeds):
        labels = random_labels(num_classes, seed, seeds)
        found = np.asarray(JITTED[num_classes][0](labels)).astype(int)
        expected = exact_distances(labels, num_classes) ** 2
        near = expected <= REACH**2
        np.testing.assert_array_equal(found[near], np.rint(expected[near]))
        assert (found[~near] > REACH**2).all()


class TestBorderTerm:
    @pytest.mark.parametrize("num_classes", [7, 13])
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 9999), seeds=st.sampled_from([3, 30, 200]))
    def test_equals_equation_2(self, num_classes, seed, seeds):
        labels = random_labels(num_classes, seed, seeds)
        border = JITTED[num_classes][1](labels)
        np.testing.assert_allclose(border, equation_2(labels, num_classes), atol=1e-6 * W0)

    def test_is_highest_between_muscles_that_touch(self):
        labels = np.zeros(SHAPE, np.uint8)
        labels[20:40, 10:30], labels[20:40, 30:50] = 1, 2
        border = np.asarray(JITTED[7][1](labels))
        assert np.unravel_index(border.argmax(), SHAPE)[1] in (29, 30)
        assert border.max() == pytest.approx(W0 * np.exp(-1 / (2 * SIGMA**2)))

    @pytest.mark.parametrize("present", [(), (3,)])
    def test_takes_two_muscles(self, present):
        labels = np.zeros(SHAPE, np.uint8)
        labels[10:30, 10:30] = present or 0
        assert np.asarray(JITTED[7][1](labels)).max() == 0

    def test_left_and_right_are_one_muscle(self):
        labels = np.zeros(SHAPE, np.uint8)
        labels[20:40, 10:30], labels[20:40, 32:50] = 4, 4
        assert np.asarray(JITTED[7][1](labels)).max() == 0


class TestWeightMap:
    @pytest.mark.parametrize("num_classes", [7, 13])
    def test_adds_both_terms_and_leaves_out_what_is_unknown(self, num_classes):
        labels = random_labels(num_classes, 5)
        classes = np.linspace(0.5, 9, num_classes, dtype=np.float32)
        function = quick_jit(lambda labels, classes: weight_map(labels, classes, W0, SIGMA))
        weights = np.asarray(function(labels, classes))
        known = labels != IGNORE
        expected = classes[np.where(known, labels, 0)] + equation_2(labels, num_classes)
        np.testing.assert_allclose(weights[known], expected[known], atol=1e-6 * W0)
        assert (weights[~known] == 0).all()
        assert not known.all()


class TestClassWeights:
    def test_are_inverse_frequencies(self):
        """Counted by hand: 8 background pixels, 2 of muscle 1, 1 of each other, 3 unknown."""
        slices = [
            np.array([[0, 0, 0, 0, 1, 1, 2, IGNORE]], np.uint8),
            np.array([[0, 0], [0, 0], [3, 4], [5, 6], [IGNORE, IGNORE]], np.uint8),
        ]
        weights = class_weights(slices, "leg")
        np.testing.assert_allclose(weights, [15 / 8, 15 / 2, 15, 15, 15, 15, 15])
        assert weights.dtype == np.float32

    def test_thigh_has_thirteen(self):
        every = np.arange(13, dtype=np.uint8)[None]
        np.testing.assert_allclose(class_weights([every], "thigh"), 13)

    def test_infinite_weight_names_the_muscle_and_the_remedy(self):
        labels = np.array([[0, 1, 2, 4, 6]], np.uint8)
        message = r'no pixel of GL, EDL in .*--set data\.absent="GL,EDL"'
        with pytest.raises(InputError, match=message):
            class_weights([labels], "leg")

    def test_absent_muscles_weigh_nothing(self):
        labels = np.array([[0, 1, 2, 4, 6, 6]], np.uint8)
        weights = class_weights([labels], "leg", absent=("GL", "EDL"))
        np.testing.assert_allclose(weights, [6, 6, 6, 0, 6, 0, 3])

    def test_unknown_absent_muscle(self):
        known = ", ".join(m.abbreviation for m in anatomy.REGIONS["leg"].muscles)
        with pytest.raises(InputError, match=known):
            class_weights([np.array([[0]], np.uint8)], "leg", absent=("VL",))
