"""Moving average of a network's variables over the steps: a steadier network than the last one."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from musclejax.training.optim import Number


def eval_variables(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables to validate and export: the average where there is one.

    Args:
        state: A `TrainState` as a mapping, as a checkpoint holds it.
    """
    chosen = state.get("average") or {name: state[name] for name in ("params", "batch_stats")}
    return {name: tree for name, tree in chosen.items() if tree}


def move_average(average: Any, variables: Any, step: Int[Array, ""], decay: Number) -> Any:
    """Return the average with one more step's variables in it.

    Early steps keep less, so that the start is soon forgotten: (1 + step) / (10 + step).

    Source: Polyak and Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    moved: Any = optax.incremental_update(variables, average, 1 - kept)
    return moved
