"""Augmentation: against SciPy, scikit-image and imgaug, and what must hold of any draw."""

from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage.transform import PiecewiseAffineTransform

from musclejax.config import default_config
from musclejax.data import augment as jax_side
from musclejax.data import augment_imgaug
from musclejax.data.augment import Augmentation, Limbs, augment, sample_motion, shift_bounds
from musclejax.data.batches import make_batch
from musclejax.data.bspline import PAD, interpolate, to_coefficients
from musclejax.data.dataset import IGNORE, Case
from musclejax.data.sampler import make_samplers
from musclejax.data.slices import Origin, Slices
from musclejax.errors import InputError
from tests.conftest import quick_jit


def why_no_imgaug() -> str:
    """Return why imgaug cannot be imported, such as a missing libGL; empty if it can."""
    try:
        augment_imgaug.load()
    except InputError as error:
        return str(error)
    return ""


needs_imgaug = pytest.mark.skipif(bool(why_no_imgaug()), reason=why_no_imgaug())
BACKENDS = ["jax", pytest.param("imgaug", marks=needs_imgaug)]
HEIGHT, WIDTH = SIZE = (72, 96)
SPLIT = 47.5
BOXES = [[20, 51, 14, 33], [20, 51, 62, 81]]
EVERYTHING = Augmentation(enabled=True, size=SIZE, probability=1.0)
NOTHING = EVERYTHING._replace(
    rotation_deg=0.0, piecewise_scale=(0.0, 0.0), elastic_strength_px=(0.0, 0.0)
)


def limbs_at(boxes=BOXES, split=SPLIT, origin=(0, 0)):
    return Limbs(*(np.asarray(a, np.float32) for a in (split, boxes, origin)))


TOUCHING = limbs_at([[0, 71, 8, 39], [0, 71, 56, 87]])
"""Limbs that reach the border, and so never shift."""


@cache
def jitted(options):
    """`augment` with fixed ranges, compiled once a test session."""
    return quick_jit(
        lambda n, coefficients, labels, limbs: augment(
            jax.random.key(n), coefficients, labels, limbs, options
        )
    )


def run(backend, seed, image, labels, limbs, options):
    if backend == "imgaug":
        return augment_imgaug.augment(seed, image, labels, limbs, options)
    coefficients = to_coefficients(image[None])[0]
    varied = jitted(options)(seed, coefficients, labels, limbs)
    return tuple(np.asarray(a) for a in varied)


def blocks(shape=(96, 128)):
    """Labels in blocks of 16 pixels, unknown ones among them, and an image that shows them."""
    codes = np.random.default_rng(0).integers(0, 5, [n // 16 for n in shape])
    codes = codes.repeat(16, 0).repeat(16, 1)
    return codes.astype(np.float32), np.array([0, 1, 2, 12, IGNORE], np.uint8)[codes]


class TestSpline:
    @settings(max_examples=12, deadline=None)
    @given(
        shape=st.sampled_from([(9, 7), (16, 33)]),
        low=st.floats(-3, 4),
        reach=st.floats(0.1, 40),
        seed=st.integers(0, 999),
    )
    def test_equals_scipy(self, shape, low, reach, seed):
        """`scipy.ndimage.map_coordinates`, order 3; inside, on the border and outside."""
        rng = np.random.default_rng(seed)
        image = rng.normal(size=shape).astype(np.float32)
        rows, columns = rng.uniform(low, low + reach, (2, 6, 5)).astype(np.float32)
        rows[0], columns[0] = [0, shape[0] - 1, 1, 2.5, -0.01], [0, shape[1] - 1, 3, 0, 1]
        values = _interpolate(to_coefficients(image[None])[0], rows, columns)
        expected = ndimage.map_coordinates(image.astype(float), [rows, columns], order=3)
        np.testing.assert_allclose(values, expected, atol=1e-5 * np.ptp(image))

    def test_coefficients_equal_scipy(self):
        images = np.random.default_rng(1).normal(size=(2, 12, 17)).astype(np.float32)
        inner = to_coefficients(images)[:, PAD:-PAD, PAD:-PAD]
        expected = [ndimage.spline_filter(i.astype(float), 3, mode="mirror") for i in images]
        np.testing.assert_allclose(inner, expected, atol=1e-5)


_interpolate = quick_jit(interpolate)


class TestWindow:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_nothing_moves_when_disabled(self, backend):
        image, labels = blocks()
        limbs = limbs_at(np.add(BOXES, [12, 12, 20, 20]), SPLIT + 20, (12, 20))
        plain = EVERYTHING._replace(enabled=False)
        varied, varied_labels = run(backend, 3, image, labels, limbs, plain)
        np.testing.assert_allclose(varied, image[12:84, 20:116], atol=1e-5)
        np.testing.assert_array_equal(varied_labels, labels[12:84, 20:116])

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_image_and_labels_move_together(self, backend):
        image, labels = blocks()
        limbs = limbs_at(np.add(BOXES, [12, 12, 20, 20]), SPLIT + 20, (12, 20))
        for seed in range(3):
            varied, varied_labels = run(backend, seed, image, labels, limbs, EVERYTHING)
            assert set(np.unique(varied_labels)) <= {0, 1, 2, 12, IGNORE}
            assert (varied_labels == IGNORE).any()
            assert (varied_labels != labels[12:84, 20:116]).mean() > 0.02
            # Away from edges, where a cubic overshoots, the image shows what the labels say.
            codes = np.searchsorted([0, 1, 2, 12, IGNORE], varied_labels)
            inner = ndimage.maximum_filter(codes, 7) == ndimage.minimum_filter(codes, 7)
            assert inner.mean() > 0.2
            assert (np.rint(varied) == codes)[inner].mean() > 0.99

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_depends_on_the_seed_alone(self, backend):
        image, labels = blocks()
        before = image.copy(), labels.copy()
        first, again, other = (
            run(backend, seed, image, labels, limbs_at(), EVERYTHING) for seed in (5, 5, 6)
        )
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert (first[0] != other[0]).mean() > 0.5
        np.testing.assert_array_equal(image, before[0])
        np.testing.assert_array_equal(labels, before[1])

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_a_lone_limb_moves(self, backend):
        image, labels = blocks()
        lone = limbs_at([[np.nan] * 4, [20, 51, 30, 61]], -1)
        varied, varied_labels = run(backend, 1, image, labels, lone, EVERYTHING)
        assert np.isfinite(varied).all()
        assert (varied_labels != labels[:HEIGHT, :WIDTH]).mean() > 0.1


class TestMotion:
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_limbs_neither_meet_nor_leave(self, data):
        split = data.draw(st.integers(20, WIDTH - 20)) + 0.5
        ends = st.integers(0, HEIGHT - 1)
        halves = [(0, int(split)), (int(split) + 1, WIDTH - 1)]
        boxes = []
        for low, high in halves:
            rows = sorted(data.draw(st.tuples(ends, ends)))
            boxes.append(rows + sorted(data.draw(st.tuples(*[st.integers(low, high)] * 2))))
        low, high = (np.asarray(b) for b in _shift_bounds(limbs_at(boxes, split)))
        assert (low <= 0).all()
        assert (high >= 0).all()
        first, last = np.array(boxes)[:, 0::2], np.array(boxes)[:, 1::2]
        assert (first + low >= 0).all()
        assert (last + high <= [HEIGHT - 1, WIDTH - 1]).all()
        assert last[0, 1] + high[0, 1] <= split <= first[1, 1] + low[1, 1]
        # The paper's bound: the shortest distance to the border, both ways.
        shortest = min(first.min(), HEIGHT - 1 - last[:, 0].max(), WIDTH - 1 - last[:, 1].max())
        assert max(-low.min(), high.max()) == shortest

    def test_a_limb_at_the_border_stays(self):
        np.testing.assert_array_equal(_shift_bounds(TOUCHING), np.zeros((2, 2, 2)))

    def test_a_lone_limb_has_the_whole_window(self):
        low, high = _shift_bounds(limbs_at([[np.nan] * 4, [20, 51, 30, 61]], -1))
        np.testing.assert_array_equal(high[1], [20, 20])
        np.testing.assert_array_equal(low[1], [-20, -20])

    def test_ranges(self):
        keys = jax.random.split(jax.random.key(0), 400)
        small = EVERYTHING._replace(elastic_sigma_px=(1.0, 1.0))
        motion = quick_jit(jax.vmap(lambda key: sample_motion(key, limbs_at(), small)))(keys)
        degrees = np.rad2deg(motion.angle).ravel()
        assert stats.kstest(degrees, stats.uniform(-7, 14).cdf).pvalue > 0.01
        assert abs(np.corrcoef(motion.angle.T)[0, 1]) < 0.15  # limbs turn independently
        high = np.asarray(_shift_bounds(limbs_at())[1])
        assert np.abs(motion.shift).max() <= high.max() == 14
        shifts = motion.shift[:, :, 0].ravel()
        assert stats.kstest(shifts, stats.uniform(-14, 28).cdf).pvalue > 0.01
        # Points inside the window: SD = scale x height, scale uniform in 0.1 ... 1 percent.
        moves = np.asarray(motion.nodes)[:, 1:3, 1:3, 0] / HEIGHT
        expected = np.sqrt((0.001**2 + 0.001 * 0.01 + 0.01**2) / 3)
        assert moves.std() == pytest.approx(expected, rel=0.1)

    def test_each_step_happens_as_often_as_asked(self):
        keys = jax.random.split(jax.random.key(1), 400)
        some = EVERYTHING._replace(probability=0.3, elastic_sigma_px=(1.0, 1.0))
        motion = quick_jit(jax.vmap(lambda key: sample_motion(key, limbs_at(), some)))(keys)
        for part in motion:
            happened = (np.asarray(part).reshape(400, -1) != 0).any(1)
            assert happened.mean() == pytest.approx(0.3, abs=0.08)


_shift_bounds = quick_jit(lambda limbs: shift_bounds(limbs, SIZE))


class TestFields:
    def test_piecewise_equals_scikit_image(self):
        """Each cell is two triangles; which diagonal parts them is free."""
        rng = np.random.default_rng(2)
        nodes = rng.normal(scale=2, size=(4, 4, 2)).astype(np.float32)
        y, x = np.meshgrid(np.linspace(0, HEIGHT, 4), np.linspace(0, WIDTH, 4), indexing="ij")
        source = np.stack([x, y], -1).reshape(-1, 2)
        target = source + nodes[..., ::-1].reshape(-1, 2)
        transform = PiecewiseAffineTransform.from_estimate(source, target)
        rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
        points = np.stack([columns, rows], -1).reshape(-1, 2)
        expected = (transform(points) - points)[:, ::-1].reshape(*SIZE, 2)
        falling = np.stack(_piecewise(rows, columns, nodes), -1)
        rising = np.stack(_piecewise(rows, WIDTH - columns, nodes[:, ::-1]), -1)
        apart = [np.abs(field - expected).max(-1) for field in (falling, rising)]
        assert np.minimum(*apart).max() < 1e-4
        assert max(a.mean() for a in apart) > 0.01  # the diagonals do differ
        at_nodes = np.stack(_piecewise(y.astype(np.float32), x.astype(np.float32), nodes), -1)
        np.testing.assert_allclose(at_nodes, nodes, atol=1e-5)

    @needs_imgaug
    @pytest.mark.parametrize(("alpha", "sigma"), [(20.0, 5.0), (10.0, 7.3), (20.0, 10.0)])
    def test_elastic_field_is_as_strong_and_as_smooth_as_imgaugs(self, alpha, sigma):
        shape, draws = (128, 160), 40
        options = EVERYTHING._replace(
            size=shape, elastic_strength_px=(alpha, alpha), elastic_sigma_px=(sigma, sigma)
        )
        field = quick_jit(lambda key: jax_side._elastic_field(key, options))
        ours = np.concatenate([field(jax.random.key(n)) for n in range(draws)])
        imgaug = augment_imgaug.load()
        theirs = np.concatenate(
            [
                imgaug.augmenters.ElasticTransformation._generate_shift_maps(
                    shape, alpha, sigma, imgaug.random.RNG(n)
                )
                for n in range(draws)
            ]
        )
        assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
        for lag in (2, 5, 10, 20):
            along = [_correlation(f, lag) for f in (ours, theirs)]
            across = _correlation(ours.transpose(0, 2, 1), lag)
            assert along[0] == pytest.approx(along[1], abs=0.04)
            assert across == pytest.approx(along[1], abs=0.04)


_piecewise = quick_jit(lambda r, c, nodes: jax_side._piecewise(r, c, nodes, SIZE))


def _correlation(fields, lag):
    a, b = fields[..., lag:].ravel(), fields[..., :-lag].ravel()
    return np.corrcoef(a, b)[0, 1]


ALONE = {
    "translation": (NOTHING, limbs_at(), np.s_[32:40:4, [22, 26, 70, 74]]),
    "rotation": (NOTHING._replace(rotation_deg=7.0), TOUCHING, np.s_[12:46:6, [14, 20, 26, 60]]),
    "piecewise": (
        NOTHING._replace(piecewise_scale=(0.001, 0.01)),
        TOUCHING,
        np.s_[6:68:5, [6, 14, 20, 26, 32, 38, 58, 64, 70, 80, 88]],
    ),
    "elastic": (
        NOTHING._replace(elastic_strength_px=(0.0, 20.0)),
        TOUCHING,
        np.s_[12:46:8, [12, 20, 28, 36, 60]],
    ),
}
"""Step -> ranges that leave this step alone; limbs; pixels that stay clear of the border and of the
line between the limbs, and (piecewise apart) of the last cell, whose edge imgaug pulls in."""


@needs_imgaug
@pytest.mark.parametrize("step", ALONE)
def test_displacements_are_distributed_as_imgaugs(step):
    """Images whose pixels say where they come from, moved by one step of either backend."""
    options, limbs, pixels = ALONE[step]
    ramps = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    labels, draws = np.zeros(SIZE, np.uint8), 80 if step == "piecewise" else 200
    ours, theirs = [], []
    coefficients = to_coefficients(ramps)
    for n in range(400):
        image, _ = jitted(options)(n, coefficients[n % 2], labels, limbs)
        ours.append((np.asarray(image) - ramps[n % 2])[pixels])
    for n in range(draws):
        ramp, rng = ramps[n % 2], np.random.default_rng(n)
        image, _ = augment_imgaug.apply_steps([step], rng, ramp, labels, limbs, options)
        theirs.append((image - ramp)[pixels])
    ours, theirs = np.array(ours), np.array(theirs)
    assert_same_distribution(ours, theirs)
    for wrong in (1.5 * ours, ours / 1.5, ours + 0.3 * ours.std()):
        with pytest.raises(AssertionError):
            assert_same_distribution(wrong, theirs)


def assert_same_distribution(ours, theirs):
    """Compare [draw, row, column] displacements; the tolerances are three times the scatter."""
    spread = float(theirs.std())
    assert spread > 0.1
    assert ours.std() == pytest.approx(spread, rel=0.2)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.15 * spread)
    levels = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]
    apart = np.quantile(ours, levels) - np.quantile(theirs, levels)
    assert np.abs(apart / spread).max() < 0.35
    # Along rows and columns of the window the spread is the same, place by place.
    places = [np.sqrt((field**2).mean((0, axis))) for field in (ours, theirs) for axis in (1, 2)]
    np.testing.assert_allclose(places[0], places[2], rtol=0.35)
    np.testing.assert_allclose(places[1], places[3], rtol=0.35)


class TestImgaugModule:
    @needs_imgaug
    def test_numpy_is_left_as_it_was(self):
        augment_imgaug.load.cache_clear()
        augment_imgaug.load()
        assert not hasattr(np, "sctypes")

    def test_an_error_names_what_to_install(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "imgaug", None)
        augment_imgaug.load.cache_clear()
        with pytest.raises(InputError, match=r"pip install 'musclejax\[imgaug\]'.*libGL"):
            augment_imgaug.load()
        augment_imgaug.load.cache_clear()
        assert not hasattr(np, "sctypes")


def small_samplers(backend, size=(64, 96), **changes):
    config = default_config()
    config.task, config.data.crop_px = "leg", size
    config.augment.backend, config.augment.probability = backend, 1.0
    config.update(changes)
    image, labels = blocks((432, 432) if config.task == "region" else (96, 128))
    labels[labels == 12] = 6
    limbs = Limbs(*(np.stack([a, a]) for a in limbs_at(np.add(BOXES, 10), SPLIT + 10, (8, 16))))
    origins = tuple(Origin(Case("a", Path("a"), Path("b"), "a"), "leg", n) for n in range(2))
    part = Slices(np.stack([image, image]), np.stack([labels, labels]), limbs, origins)
    return config, make_samplers({"train": part, "validation": part}, config)


class TestBatches:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_both_backends_fill_the_same_batch(self, backend):
        config, samplers = small_samplers(backend)
        classes = np.arange(1, 8, dtype=np.float32)
        indices, seeds = np.array([0, 1, -1]), np.array([4, 5, -1])
        batch = make_batch(samplers["train"], indices, seeds, classes, config)
        again = make_batch(samplers["train"], indices[1:], seeds[1:], classes, config)
        assert {name: (a.shape, str(a.dtype)) for name, a in batch._asdict().items()} == {
            "image": ((3, 64, 96, 1), "float32"),
            "labels": ((3, 64, 96), "int32"),
            "weights": ((3, 64, 96), "float32"),
            "mask": ((3,), "bool"),
        }
        np.testing.assert_array_equal(batch.image[1:], again.image)
        assert (batch.image[0] != batch.image[1]).mean() > 0.2  # same slice, other seed
        known = batch.weights > 0
        assert set(np.unique(batch.labels)) == {0, 1, 2, 6}
        assert 0.5 < known.mean() < 0.95
        assert (batch.weights[known] >= classes[batch.labels[known]]).all()
        plain = make_batch(samplers["validation"], indices[:1], seeds[:1], classes, config)
        expected = samplers["validation"].slices.images[0, 8:72, 16:112]
        np.testing.assert_allclose(plain.image[0, ..., 0], expected, atol=1e-5)

    def test_slices_in_one_call_are_those_of_single_calls(self, monkeypatch):
        """An accelerator gets a batch in one call; its weight maps are made in one too."""
        config, samplers = small_samplers("jax")
        classes = np.arange(1, 8, dtype=np.float32)
        indices, seeds = np.array([0, 1, -1]), np.array([4, 5, -1])
        singly = make_batch(samplers["train"], indices, seeds, classes, config)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        together = make_batch(samplers["train"], indices, seeds, classes, config)
        for a, b in zip(singly, together, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_the_classifier_sees_a_thumbnail(self, backend):
        config, samplers = small_samplers(backend, task="region")
        one = np.array([1])
        batch = make_batch(samplers["train"], one, one, np.ones(2, np.float32), config)
        assert batch.image.shape == (1, 128, 128, 1)
        assert batch.labels.tolist() == [1]
        assert batch.weights.tolist() == [1]

    def test_unknown_backend(self):
        with pytest.raises(InputError, match="jax, imgaug, none"):
            small_samplers("albumentations")
