"""Optimizer, losses and metrics against NumPy, Keras and the paper's formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclejax.config import default_config
from musclejax.training.losses import data_loss, is_kernel, kernel_penalty, weighted_cross_entropy
from musclejax.training.metrics import Counts, count_pixels, hard_dice, soft_dice
from musclejax.training.optim import (
    after_epoch,
    initial_plateau,
    keras_adam,
    keras_amsgrad,
    learning_rate,
    moments_of,
    optimizer,
)
from musclejax.training.progress import Totals, summarize


def keras_steps(gradients: np.ndarray, start: np.ndarray, rate: float, amsgrad: bool) -> np.ndarray:
    """Ten steps of Keras's Adam in NumPy, from its documentation (keras.optimizers.Adam)."""
    m = v = largest = np.zeros_like(start)
    w = start.copy()
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        largest = np.maximum(largest, v)
        second = largest if amsgrad else v
        w = w - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(second) + 1e-7)
    return w


def our_steps(gradients: np.ndarray, start: np.ndarray, rate: float, amsgrad: bool) -> np.ndarray:
    transform = (keras_amsgrad if amsgrad else keras_adam)(0.9, 0.999, 1e-7)
    update = jax.jit(transform.update)
    w = jnp.asarray(start)
    state = transform.init(w)
    for g in gradients:
        updates, state = update(jnp.asarray(g), state)
        w = w + rate * updates
    return np.asarray(w)


GRADIENTS = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32) * np.float32(
    [1e-3, 1, 100, 1, 1, 1]
)
# A large gradient first: then the running maximum differs from the running mean.
GRADIENTS[0, 3] = 50
START = np.linspace(-1, 1, 6, dtype=np.float32)


@pytest.mark.parametrize("amsgrad", [True, False])
def test_ten_steps_are_those_of_keras(amsgrad: bool) -> None:
    ours = our_steps(GRADIENTS, START, 0.01, amsgrad)
    np.testing.assert_allclose(ours, keras_steps(GRADIENTS, START, 0.01, amsgrad), rtol=2e-5)


@pytest.mark.parametrize("amsgrad", [True, False])
def test_ten_steps_of_keras_itself(amsgrad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras 3 on JAX: the same optimizer as the 2021 code's `Adam(amsgrad=True)`."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    import keras

    variable = keras.Variable(START)
    adam = keras.optimizers.Adam(0.01, amsgrad=amsgrad)
    for g in GRADIENTS:
        adam.apply([jnp.asarray(g)], [variable])
    ours = our_steps(GRADIENTS, START, 0.01, amsgrad)
    np.testing.assert_allclose(ours, np.asarray(variable.value), rtol=2e-5)


def test_optax_by_default_computes_another_amsgrad() -> None:
    """Why the second moment is not corrected: the difference is far above rounding."""
    transform = optax.scale_by_amsgrad(0.9, 0.999, 1e-7)
    w = jnp.asarray(START)
    state = transform.init(w)
    for g in GRADIENTS:
        updates, state = transform.update(jnp.asarray(g), state)
        w = w - 0.01 * updates
    assert np.abs(np.asarray(w) - keras_steps(GRADIENTS, START, 0.01, True)).max() > 1e-3


def parameters() -> dict:
    rng = np.random.default_rng(1)
    return {
        "unit": {
            "kernel": jnp.asarray(rng.normal(size=(3, 3, 2, 2)), jnp.float32),
            "bias": jnp.ones(2),
            "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        }
    }


def test_l2_is_the_gradient_of_the_penalty_on_kernels_only() -> None:
    params = parameters()
    config = default_config().optim
    gradient = jax.grad(lambda p: 0.01 * kernel_penalty(p))(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    coupled, none = (optimizer(moments_of(config), l2) for l2 in (0.01, 0.0))
    with_l2, _ = coupled.update(zeros, coupled.init(params), params)
    in_loss, _ = none.update(gradient, none.init(params), params)
    for a, b in zip(jax.tree.leaves(with_l2), jax.tree.leaves(in_loss), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    moved = {jax.tree_util.keystr(k) for k, u in jax.tree.leaves_with_path(with_l2) if u.any()}
    assert moved == {"['unit']['kernel']"}
    kernels = [k for k, _ in jax.tree.leaves_with_path(params) if is_kernel(k)]
    assert len(kernels) == 1
    np.testing.assert_allclose(
        kernel_penalty(params), (np.asarray(params["unit"]["kernel"]) ** 2).sum(), rtol=1e-6
    )


def batch(seed: int, classes: int = 4) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(3 * rng.normal(size=(3, 5, 6, classes)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, classes, (3, 5, 6)), jnp.int32)
    weights = jnp.asarray(rng.uniform(0, 9, (3, 5, 6)) * rng.integers(0, 2, (3, 5, 6)), jnp.float32)
    return logits, labels, weights, jnp.array([True, True, False])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_loss_is_equation_1(seed: int) -> None:
    logits, labels, weights, mask = batch(seed)
    p = np.exp(np.asarray(logits, np.float64))
    p = np.take_along_axis(p / p.sum(-1, keepdims=True), np.asarray(labels)[..., None], -1)[..., 0]
    expected = -(np.asarray(weights) * np.log(p))[np.asarray(mask)].sum()
    total = weighted_cross_entropy(logits, labels, weights, mask)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    mean = data_loss(logits, labels, weights, mask, "cross_entropy", "mean")
    np.testing.assert_allclose(mean, expected / labels.size, rtol=1e-5)


def test_sum_and_mean_have_the_same_minimum() -> None:
    """The mean with l2 / pixels is the sum with l2, divided by the pixels: same gradient's sign."""
    logits, labels, weights, mask = batch(0)

    def objective(w: jax.Array, reduction: str, l2: float) -> jax.Array:
        scaled = logits * w
        return data_loss(scaled, labels, weights, mask, "cross_entropy", reduction) + l2 * w**2

    w, pixels = jnp.float32(0.7), labels.size
    by_sum = jax.grad(objective)(w, "sum", 0.5)
    by_mean = jax.grad(objective)(w, "mean", 0.5 / pixels)
    np.testing.assert_allclose(by_sum / pixels, by_mean, rtol=1e-4)


def test_dice_joins_the_loss_as_an_option() -> None:
    logits, labels, weights, mask = batch(3)
    plain, joined = (
        data_loss(logits, labels, weights, mask, kind, "mean")
        for kind in ("cross_entropy", "dice_cross_entropy")
    )
    known = (weights > 0) & mask[:, None, None]
    dice = 1 - soft_dice(jax.nn.softmax(logits), labels, known)[1:].mean()
    np.testing.assert_allclose(joined - plain, dice * weights.sum() / labels.size, rtol=1e-4)


def test_soft_dice_is_the_2021_formula() -> None:
    logits, labels, weights, _ = batch(4)
    known = weights > 0
    p = np.asarray(jax.nn.softmax(logits), np.float64) * np.asarray(known)[..., None]
    y = np.eye(4)[np.asarray(labels)] * np.asarray(known)[..., None]
    expected = 2 * (p * y).sum((0, 1, 2)) / (p.sum((0, 1, 2)) + y.sum((0, 1, 2)) + 1e-6)
    np.testing.assert_allclose(
        soft_dice(jax.nn.softmax(logits), labels, known), expected, rtol=1e-5
    )


def test_hard_dice_is_the_papers_formula() -> None:
    logits, labels, weights, _ = batch(5)
    known = np.asarray(weights > 0)
    counts = count_pixels(logits, labels, jnp.asarray(known))
    found, true = np.asarray(logits.argmax(-1))[known], np.asarray(labels)[known]
    for k, dice in enumerate(hard_dice(counts)):
        tp, fp = ((found == k) & (true == k)).sum(), ((found == k) & (true != k)).sum()
        fn = ((found != k) & (true == k)).sum()
        np.testing.assert_allclose(dice, 2 * tp / (fp + 2 * tp + fn))
    nothing = hard_dice(Counts(*(np.array([3, 0]) for _ in range(3))))
    np.testing.assert_array_equal(nothing, [1.0, np.nan])


def test_the_mean_over_muscles_leaves_out_what_no_reference_shows() -> None:
    """GM is found and rightly nowhere, TA is missed, EDL is in neither, and PE is half right."""
    both = [9, 4, 0, 4, 0, 0, 2]
    predicted, reference = [9, 4, 5, 4, 0, 0, 4], [9, 4, 0, 4, 7, 0, 4]
    config = default_config()
    config.task = "leg"
    totals = Totals(batches=1, rows=1, counts=(both, predicted, reference))
    found = summarize("validation", totals, config)
    assert found["validation_dsc"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert found["validation_dsc_GM"] is found["validation_dsc_EDL"] is None
    assert (found["validation_dsc_TA"], found["validation_dsc_PE"]) == (0, 0.5)


def test_plateau_halves_after_four_epochs_without_improvement() -> None:
    """Against Keras's ReduceLROnPlateau(factor=0.5, patience=4), traced by hand."""
    rule, scales = default_config().plateau, []
    plateau = initial_plateau(rule)
    for loss in (9, 8, 8, 8, 8, 8, 7, 7, 7.00005, 7, 7, 6, 6):
        plateau = after_epoch(plateau, float(loss), rule)
        scales.append(plateau.scale)
    assert scales == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert plateau.best_value == 6


# Keras calls np.array on its own variable.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_plateau_is_that_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's own callback over a hundred random losses."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    import keras

    losses = np.random.default_rng(2).uniform(1, 2, 100).cumsum() ** -0.5
    losses = losses + np.random.default_rng(3).uniform(0, 0.2, 100)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0))
    callback = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=4)
    callback.set_model(model)
    callback.on_train_begin()
    rule = default_config().plateau
    plateau = initial_plateau(rule)
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        plateau = after_epoch(plateau, float(loss), rule)
        assert plateau.scale == pytest.approx(float(model.optimizer.learning_rate))
    assert plateau.scale < 0.01


def test_without_a_least_change_any_lower_loss_counts() -> None:
    rule = default_config().plateau
    rule.min_delta = 0.0
    plateau = initial_plateau(rule)
    for loss in (4.0, 3.9999998, 3.9999995, 3.9999993, 3.999999, 3.9999988):
        plateau = after_epoch(plateau, loss, rule)
        assert (plateau.scale, plateau.plateau_count) == (1.0, 0)


def test_the_rate_falls_by_a_cosine_if_told_so() -> None:
    config = default_config()
    plateau = initial_plateau(config.plateau)._replace(scale=0.5)
    assert learning_rate(plateau, config.optim, 7, 10) == 0.5 * config.optim.learning_rate
    config.optim.decay = "cosine"
    rates = [learning_rate(plateau, config.optim, epoch, 8) for epoch in (0, 2, 4, 8, 9)]
    expected = [0.5 * (1 + np.cos(np.pi * epoch / 8)) for epoch in (0, 2, 4, 8, 8)]
    expected = np.array(expected) * 0.5 * config.optim.learning_rate
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-12)
