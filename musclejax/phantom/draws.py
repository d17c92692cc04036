"""Random numbers of many keys, drawn together: XLA takes 0.1 s to compile each single draw."""

import math
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Key, PRNGKeyArray

_LEAST = np.nextafter(np.float32(-1), np.float32(0))
"""Lowest number that `jax.random.normal` transforms."""


def folded(key: PRNGKeyArray, *numbers: int) -> Key[Array, " n"]:
    """Return the keys that `jax.random.fold_in` makes of one and some numbers."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.array(numbers))


class Draws:
    """Numbers of some keys, each used in turn: those of `jax.random`.

    Args:
        keys: Keys, [n].
        most: Numbers of the longest draw.
    """

    def __init__(self, keys: Key[Array, " n"], most: int) -> None:
        """Draw for all keys; the numbers of a short draw are the first of a long one."""
        self.keys = keys
        drawn = jax.vmap(lambda key: jax.random.uniform(key, (most,)))(keys)
        spread = jnp.maximum(_LEAST, drawn * (1 - _LEAST) + _LEAST)
        normal = np.float32(math.sqrt(2)) * jax.lax.erf_inv(spread)
        # Else XLA computes all this again for every use.
        self._drawn, self._normal = jax.lax.optimization_barrier((drawn, normal))
        self._turns = count()

    def key(self) -> PRNGKeyArray:
        """Return the next key itself."""
        return self.keys[next(self._turns)]

    def uniform(self, low: ArrayLike = 0.0, high: ArrayLike = 1.0, *shape: int) -> Array:
        """Return what `jax.random.uniform` draws with the next key."""
        drawn = self._drawn[next(self._turns), : math.prod(shape)].reshape(shape)
        low, high = jnp.float32(low), jnp.float32(high)
        return jnp.maximum(low, drawn * (high - low) + low)

    def normal(self, *shape: int) -> Array:
        """Return what `jax.random.normal` draws with the next key."""
        return self._normal[next(self._turns), : math.prod(shape)].reshape(shape)
