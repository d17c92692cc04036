"""AMSGrad as Keras computes it, L2 in the gradient, and the plateau rule."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from musclejax.errors import InputError
from musclejax.training.losses import is_kernel


class AmsgradState(NamedTuple):
    """Steps done, first moment, second moment, and (AMSGrad) the largest second moment so far."""

    steps: Int[Array, ""]
    first: Any
    second: Any
    largest: Any


def optimiser(settings: ConfigDict, l2: float) -> optax.GradientTransformation:
    """Return the optimiser for a learning rate of 1; `fit` scales its updates.

    Args:
        settings: `config.optim`.
        l2: Factor of the sum of squares of all kernels, in the reduction of the loss.
    """
    return optax.chain(
        add_kernel_l2(l2),
        keras_amsgrad(settings.beta1, settings.beta2, settings.epsilon, amsgrad=settings.amsgrad),
    )


def add_kernel_l2(l2: float) -> optax.GradientTransformation:
    """Add the gradient of l2 * sum of squares to the gradient of every kernel.

    Coupled: the penalty goes through the moments of Adam, as a penalty in the loss does (2021
    code), other than in AdamW.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def add(path: tuple, gradient: Array, value: Array) -> Array:
            return gradient + 2 * l2 * value if is_kernel(path) else gradient

        return jax.tree.map_with_path(add, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def keras_amsgrad(
    beta1: float, beta2: float, epsilon: float, *, amsgrad: bool
) -> optax.GradientTransformation:
    """Scale gradients as Keras's Adam does, with or without AMSGrad.

    Keras keeps the largest *uncorrected* second moment and corrects the step for both biases;
    `optax.scale_by_amsgrad` corrects first and keeps the largest of that, which differs from step
    two on.

    Source: 2021 code (Keras's default); Reddi et al. 2018.
    """

    def init(params: Any) -> AmsgradState:
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(3)]
        return AmsgradState(jnp.zeros((), jnp.int32), *zeros)

    def update(updates: Any, state: AmsgradState, params: Any = None) -> tuple[Any, AmsgradState]:
        done = state.steps + 1
        first = optax.tree.update_moment(updates, state.first, beta1, 1)
        second = optax.tree.update_moment(updates, state.second, beta2, 2)
        largest = jax.tree.map(jnp.maximum, state.largest, second) if amsgrad else second
        t = done.astype(jnp.float32)
        correction = jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
        scaled = jax.tree.map(
            lambda m, v: -correction * m / (jnp.sqrt(v) + epsilon), first, largest
        )
        return scaled, AmsgradState(done, first, second, largest)

    return optax.GradientTransformation(init, update)


DECAYS = ("none", "cosine")


class Plateau(NamedTuple):
    """Memory of the plateau rule: lowest validation loss, epochs since, learning-rate factor."""

    best: float = float("inf")
    wait: int = 0
    factor: float = 1.0


def after_epoch(plateau: Plateau, loss: float, settings: ConfigDict) -> Plateau:
    """Return the memory after one more epoch; the factor falls when patience has run out.

    Args:
        plateau: The memory so far.
        loss: Validation loss of the epoch.
        settings: `config.plateau`.

    Source: paper (halving after 4 epochs without improvement); what counts as one: Keras's
    ReduceLROnPlateau.
    """
    if loss < plateau.best - settings.min_delta:
        return plateau._replace(best=loss, wait=0)
    if plateau.wait + 1 < settings.patience:
        return plateau._replace(wait=plateau.wait + 1)
    return plateau._replace(wait=0, factor=plateau.factor * settings.factor)


def learning_rate(plateau: Plateau, settings: ConfigDict, done: float = 0.0) -> float:
    """Return the learning rate in force.

    Args:
        plateau: Memory of the plateau rule.
        settings: `config.optim`.
        done: Share of the epochs that are done.

    Raises:
        InputError: If `optim.decay` does not exist.
    """
    if settings.decay not in DECAYS:
        raise InputError("optim.decay", repr(settings.decay), ", ".join(DECAYS))
    decay = 0.5 * (1 + math.cos(math.pi * done)) if settings.decay == "cosine" else 1.0
    return float(settings.learning_rate * plateau.factor * decay)
