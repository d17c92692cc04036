"""One training step and one validation step, jitted, on one process or several."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

from musclejax.data.batches import Batch
from musclejax.errors import InputError
from musclejax.models.cpu import onednn
from musclejax.models.network import Module, build
from musclejax.models.spec import CONVOLUTIONS, PRECISIONS, NetworkSpec
from musclejax.models.variants import find
from musclejax.training.average import eval_variables, move_average
from musclejax.training.losses import KINDS, REDUCTIONS, data_loss, kernel_penalty
from musclejax.training.metrics import Counts, count_pixels, soft_dice
from musclejax.training.optim import DECAYS, Moments, Number, moments_of, optimizer

_FLOAT32 = "Leave models.precision at float32; oneDNN: pip install 'musclejax[onednn]'."


class TrainState(NamedTuple):
    """All that a step changes; a checkpoint holds it.

    Attributes:
        step: Steps done.
        params: Trainable parameters.
        batch_stats: Running means and variances; empty without batch norm.
        opt_state: State of the optimizer.
        average: Moving average of the variables ("params", "batch_stats"); empty without
            `optim.ema_decay`.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any


class StepMetrics(NamedTuple):
    """Figures of one batch, summed so that batches add up.

    Attributes:
        data_loss: Loss without L2, as the configuration reduces it.
        penalty: The L2 term.
        soft_dsc: Soft Dice over the batch, averaged over all classes with background; for the
            classifier 0.
        counts: Pixels (slices, for the classifier) of each class, for hard Dice and accuracy.
        rows: Number of rows without padding.
    """

    data_loss: Float[Array, ""]
    penalty: Float[Array, ""]
    soft_dsc: Float[Array, ""]
    counts: Counts
    rows: Int[Array, ""]


class Rates(NamedTuple):
    """Numbers of a step that may change without another compilation: trials of a search share one.

    Attributes:
        learning_rate: Of this step.
        dropout: Share of the image's pixels that is dropped.
        l2: Factor of the penalty.
        ema_decay: Of the moving average.
        seed: Of the dropout.
    """

    learning_rate: Number
    dropout: Number
    l2: Number
    ema_decay: Number
    seed: Int[Array, ""] | np.integer


class Steps(NamedTuple):
    """Jitted functions of one configuration.

    Attributes:
        train: (state, batch, learning rate) -> (state, metrics); the state is donated.
        validate: (state, batch) -> metrics.
        to_global: Rows of a batch made by this process -> the batch of all processes.
        place: Anything on the host -> the same on every device.
    """

    train: Callable[[TrainState, Batch, Array], tuple[TrainState, StepMetrics]]
    validate: Callable[[TrainState, Batch], StepMetrics]
    to_global: Callable[[Batch], Batch]
    place: Callable[[Any], Any]


def spec_of(config: ConfigDict) -> NetworkSpec:
    """Return the variant of a configuration with its momentum and form of the layers.

    Raises:
        InputError: If the variant does not exist, or `models.convolutions` or `models.precision` is
            not known or not available here.
    """
    return replace(
        find(config.variant),
        dropout=0.0,  # `train_step` drops pixels
        momentum=float(config.optim.batch_norm_momentum),
        # The fast forms are fast on a CPU.
        reference=bool(config.models.reference) or jax.default_backend() != "cpu",
        convolutions=convolutions(config),
        precision=precision(config),
        rematerialize=jax.device_count() == 1,
    )


def convolutions(config: ConfigDict) -> str:
    """Return the library of a configuration's 3x3 convolutions here: "xla" or "onednn".

    Raises:
        InputError: If there is no such library, or it is not available here.
    """
    chosen, reason = str(config.models.convolutions), onednn.unavailable_reason()
    if chosen not in ("auto", *CONVOLUTIONS):
        raise InputError.choice("models.convolutions", chosen, ("auto", *CONVOLUTIONS))
    # XLA cannot split a foreign call over devices.
    if jax.device_count() > 1:
        reason = "several devices"
    if chosen == "auto":
        return "xla" if reason else "onednn"
    if chosen == "onednn" and reason:
        remedy = "Run: pip install 'musclejax[onednn]', or leave models.convolutions at auto."
        accepted = "oneDNN and one device, a CPU"
        raise InputError("models.convolutions=onednn", reason, accepted, remedy)
    return chosen


def precision(config: ConfigDict) -> str:
    """Return the precision of a configuration's activations: "float32" or "bfloat16".

    Raises:
        InputError: If there is no such precision, or it is not available here.
    """
    chosen, by = str(config.models.precision), convolutions(config)
    if chosen not in PRECISIONS:
        raise InputError.choice("models.precision", chosen, PRECISIONS)
    if chosen == "float32":
        return chosen
    reason = onednn.bfloat16_unavailable_reason()
    if not reason and by != "onednn":
        reason = "convolutions by XLA"
    if not reason and config.models.reference:
        reason = "models.reference=True"
    if reason:
        accepted = "oneDNN, one device, and a processor with avx512_bf16 or AMX"
        raise InputError("models.precision=bfloat16", reason, accepted, _FLOAT32)
    return chosen


def initial_state(config: ConfigDict, variables: dict[str, Any], pixels: int) -> TrainState:
    """Return the state before the first step.

    Args:
        config: Settings.
        variables: "params" and, with batch norm, "batch_stats".
        pixels: Pixels of a batch.
    """
    params = jax.tree.map(jnp.asarray, variables["params"])
    stats = jax.tree.map(jnp.asarray, variables.get("batch_stats", {}))
    opt_state = optimizer(moments_of(config.optim), l2_factor(config, pixels)).init(params)
    average = {}
    if config.optim.ema_decay:
        # Copies: a step donates its state, and no buffer can be given away twice.
        average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": stats})
    return TrainState(jnp.zeros((), jnp.int32), params, stats, opt_state, average)


def l2_factor(config: ConfigDict, pixels: int) -> float:
    """Return the factor of the sum of squares that goes with the reduction of the loss."""
    return float(config.optim.l2) / (pixels if config.loss.reduction == "mean" else 1)


def make_steps(config: ConfigDict, pixels: int) -> Steps:
    """Return the functions of a configuration, to be compiled at their first call.

    Args:
        config: Settings.
        pixels: Pixels of a batch (slices, for the classifier).

    Raises:
        InputError: If a setting of the loss or the schedule does not exist.
    """
    for name, value, known in (
        ("loss.kind", config.loss.kind, KINDS),
        ("loss.reduction", config.loss.reduction, REDUCTIONS),
        ("optim.decay", config.optim.decay, DECAYS),
    ):
        if value not in known:
            raise InputError.choice(name, value, known)
    optim, l2 = config.optim, l2_factor(config, pixels)
    compiled = _compile(
        spec_of(config),
        config.task,
        moments_of(optim),
        (config.loss.kind, config.loss.reduction),
        drops=bool(optim.dropout),
    )
    rates = Rates(
        learning_rate=np.float32(0),
        dropout=np.float32(optim.dropout),
        l2=np.float32(l2),
        ema_decay=np.float32(optim.ema_decay),
        seed=np.uint32(int(config.seed) % 2**32),  # as `jax.random.key` takes it
    )
    return Steps(
        lambda state, batch, rate: compiled.train(state, batch, rates._replace(learning_rate=rate)),
        lambda state, batch: compiled.validate(state, batch, rates),
        partial(_to_global, compiled.rows),
        compiled.place,
    )


class _Compiled(NamedTuple):
    """Jitted functions that the configurations share that differ in `Rates` only."""

    train: Callable[[TrainState, Batch, Rates], tuple[TrainState, StepMetrics]]
    validate: Callable[[TrainState, Batch, Rates], StepMetrics]
    rows: NamedSharding
    place: Callable[[Any], Any]


@lru_cache(maxsize=8)
def _compile(
    spec: NetworkSpec, task: str, moments: Moments, loss: tuple[str, str], *, drops: bool
) -> _Compiled:
    mesh = Mesh(np.asarray(jax.devices()), ("batch",))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("batch",), ()))
    module = build(spec, task)
    # Figures of validation are those of prediction, which is in float32.
    validated = build(replace(spec, precision="float32"), task)
    jit = partial(jax.jit, out_shardings=everywhere)
    return _Compiled(
        jit(partial(train_step, module, moments, loss, drops), donate_argnums=0),
        jit(partial(validation_step, validated, loss)),
        rows,
        lambda tree: jax.tree.map(
            lambda a: jax.make_array_from_process_local_data(everywhere, np.asarray(a)), tree
        ),
    )


def _to_global(rows: NamedSharding, batch: Batch) -> Batch:
    if jax.process_count() == 1:
        return jax.device_put(batch, rows)  # arrays that are on the device stay there
    return jax.tree.map(partial(jax.make_array_from_process_local_data, rows), batch)


def train_step(
    module: Module,
    moments: Moments,
    loss: tuple[str, str],
    drops: bool,
    state: TrainState,
    batch: Batch,
    rates: Rates,
) -> tuple[TrainState, StepMetrics]:
    """Take one step downhill; every statistic is one of the whole batch, on however many devices.

    Args:
        module: The network.
        moments: Of the optimizer.
        loss: Kind and reduction.
        drops: Whether pixels are dropped at all; random numbers cost time.
        state: Before the step; with `average` if there is a moving average.
        batch: From `make_batch`.
        rates: Of this step.
    """
    image = jnp.asarray(batch.image)
    if drops:
        key = jax.random.fold_in(jax.random.key(rates.seed), state.step)
        image = drop_pixels(image, rates.dropout, key)

    def objective(params: Any) -> tuple[Array, tuple[Array, Any]]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, changed = module.apply(variables, image, train=True, mutable=["batch_stats"])
        return _data_loss(logits, batch, loss), (logits, changed)

    gradient = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, changed)), gradients = gradient(state.params)
    transform = optimizer(moments, rates.l2)
    updates, opt_state = transform.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + rates.learning_rate * u, state.params, updates)
    metrics = _metrics(value, rates.l2 * kernel_penalty(state.params), logits, batch)
    stats = changed.get("batch_stats", {})
    average = state.average
    if average:
        now = {"params": params, "batch_stats": stats}
        average = move_average(average, now, state.step, rates.ema_decay)
    return TrainState(state.step + 1, params, stats, opt_state, average), metrics


def drop_pixels(
    image: Float[Array, "b h w 1"], rate: Number, key: PRNGKeyArray
) -> Float[Array, "b h w 1"]:
    """Return an image with a share of its pixels 0 and the others larger by as much.

    Source: paper, section "Network architecture" (input dropout).
    """
    kept = jax.random.bernoulli(key, 1 - rate, image.shape)
    return jnp.where(kept, image / (1 - rate), 0)


def validation_step(
    module: Module, loss: tuple[str, str], state: TrainState, batch: Batch, rates: Rates
) -> StepMetrics:
    """Return the figures of one batch, from the network as it would be used."""
    variables = eval_variables(state._asdict())
    logits = jnp.asarray(module.apply(variables, batch.image, train=False))
    value = _data_loss(logits, batch, loss)
    return _metrics(value, rates.l2 * kernel_penalty(state.params), logits, batch)


def _data_loss(logits: Array, batch: Batch, loss: tuple[str, str]) -> Array:
    labels, weights, mask = map(jnp.asarray, batch[1:])
    return data_loss(logits, labels, weights, mask, *loss)


def _metrics(value: Array, penalty: Array, logits: Array, batch: Batch) -> StepMetrics:
    labels, weights, mask = map(jnp.asarray, batch[1:])
    known = (weights > 0) & mask.reshape(-1, *[1] * (labels.ndim - 1))
    soft = jnp.zeros(())
    if labels.ndim > 1:
        soft = soft_dice(jax.nn.softmax(logits), labels, known).mean()
    return StepMetrics(value, penalty, soft, count_pixels(logits, labels, known), mask.sum())
