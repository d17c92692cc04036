"""The optimizer of the paper as Keras computes it, made of optax's parts; the learning rate."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from optax.contrib import ReduceLROnPlateauState as Plateau

from musclejax.training.losses import is_kernel

Number = Float[Array, ""] | float | np.floating
"""One number, on the device or not."""
DECAYS = ("none", "cosine")
"""Values of `config.optim.decay`."""
_LEAST_DELTA = float(np.finfo(np.float32).tiny)
"""Stands for 0, which optax refuses as the only tolerance."""


class Moments(NamedTuple):
    """The moments of the optimizer: AMSGrad or Adam, and their settings; see `config.optim`."""

    amsgrad: bool
    beta1: float
    beta2: float
    epsilon: float


def moments_of(settings: ConfigDict) -> Moments:
    """Return the moments of `config.optim`."""
    numbers = (float(settings[name]) for name in Moments._fields[1:])
    return Moments(bool(settings.amsgrad), *numbers)


def optimizer(moments: Moments, l2: Number) -> optax.GradientTransformation:
    """Return the optimizer for a learning rate of 1; `train_step` scales its updates.

    L2 is coupled: its gradient passes through the moments, as that of a penalty in the loss does
    (2021 code), other than in AdamW.

    Args:
        moments: Of the optimizer.
        l2: Factor of the sum of squares of all kernels, in the reduction of the loss.
    """
    keras = keras_amsgrad if moments.amsgrad else keras_adam
    return optax.chain(optax.add_decayed_weights(2 * l2, mask=kernel_mask), keras(*moments[1:]))


def kernel_mask(params: Any) -> Any:
    """Return which parameters are kernels."""
    return jax.tree.map_with_path(lambda path, _: is_kernel(path), params)


def keras_amsgrad(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """Return minus the step of Keras's Adam with AMSGrad, for a learning rate of 1.

    m sqrt(1 - beta2^t) / (1 - beta1^t) / (sqrt(largest v) + epsilon): Keras keeps the largest
    *uncorrected* second moment v and corrects the step for both biases.

    Source: 2021 code (Keras's default); Reddi et al. 2018.
    """

    def correction(done: Array) -> Float[Array, ""]:
        t = (done + 1).astype(jnp.float32)
        return -jnp.sqrt(1 - beta2**t) / (1 - beta1**t)

    moments = optax.scale_by_amsgrad(
        beta1, beta2, epsilon, bias_correction_mu=False, bias_correction_nu=False
    )
    return optax.chain(moments, optax.scale_by_schedule(correction))


def keras_adam(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """Return minus the step of Keras's Adam, for a learning rate of 1.

    Keras adds epsilon to the root of the *uncorrected* second moment. In terms of optax, which
    corrects first, that is epsilon / sqrt(1 - beta2^t).

    Source: Keras's default; Kingma and Ba 2015, end of section 2.
    """

    def corrected_epsilon(done: Array) -> Float[Array, ""]:
        return epsilon / jnp.sqrt(1 - beta2 ** (done + 1).astype(jnp.float32))

    adam = optax.inject_hyperparams(optax.scale_by_adam, static_args=("b1", "b2", "eps_root"))
    return optax.chain(adam(beta1, beta2, corrected_epsilon), optax.scale(-1.0))


def initial_plateau(settings: ConfigDict) -> Plateau:
    """Return the state of the plateau rule before the first epoch, in numbers of Python."""
    return _to_python(_rule(*_arguments(settings)).init(np.float32(0)))


def after_epoch(plateau: Plateau, loss: float, settings: ConfigDict) -> Plateau:
    """Return the state after one more epoch; its scale falls when patience has run out.

    Args:
        plateau: The state so far.
        loss: Validation loss of the epoch.
        settings: `config.plateau`.

    Source: paper (halving after 4 epochs without improvement); an improvement is defined as in
    Keras's ReduceLROnPlateau.
    """
    return _to_python(_reduce(plateau, loss, _arguments(settings)))


def learning_rate(plateau: Plateau, settings: ConfigDict, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch.

    Args:
        plateau: State of the plateau rule.
        settings: `config.optim`.
        epoch: Epochs done.
        epochs: Epochs of the whole run.
    """
    decay = 1.0
    if settings.decay == "cosine":
        decay = float(optax.cosine_decay_schedule(1.0, max(1, epochs))(epoch))
    return float(settings.learning_rate * plateau.scale * decay)


def _arguments(settings: ConfigDict) -> tuple[float, int, float]:
    least = max(float(settings.min_delta), _LEAST_DELTA)
    return float(settings.factor), int(settings.patience), least


def _rule(factor: float, patience: int, min_delta: float) -> optax.GradientTransformationExtraArgs:
    return optax.contrib.reduce_on_plateau(factor, patience, rtol=0.0, atol=min_delta)


@partial(jax.jit, static_argnums=2)
def _reduce(plateau: Plateau, loss: Array, arguments: tuple[float, int, float]) -> Plateau:
    return _rule(*arguments).update((), plateau, value=loss)[1]


def _to_python(plateau: Plateau) -> Plateau:
    """Return the state as numbers that JSON can hold; float32 becomes float exactly."""
    return Plateau(*(np.asarray(number).item() for number in plateau))
