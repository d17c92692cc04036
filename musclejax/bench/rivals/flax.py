"""The network in plain Flax layers and autodiff, straight from the paper: a rival of our own."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from musclejax.bench import noise
from musclejax.models.spec import NetworkSpec

LEARNING_RATE, L2 = 1e-3, 0.01


class Unit(nn.Module):
    """A convolution and its normalization."""

    spec: NetworkSpec
    width: int
    kind: str = "plain"
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return the normalized convolution."""
        size = (self.stride, self.stride)
        match self.kind:
            case "plain":
                x = nn.Conv(self.width, (3, 3))(x)
            case "strided":
                x = nn.Conv(self.width, size, strides=size, padding="VALID")(x)
            case "transposed":
                x = nn.ConvTranspose(self.width, size, strides=size, padding="VALID")(x)
            case "nearest":
                x = nn.Conv(self.width, (1, 1))(x)
                x = x.repeat(self.stride, 1).repeat(self.stride, 2)
        if self.spec.norm == "batch":
            return nn.BatchNorm(not train, momentum=0.99, epsilon=1e-3)(x)
        return nn.GroupNorm(math.gcd(self.width, 8))(x)


class Network(nn.Module):
    """Contracting and expanding residual paths."""

    spec: NetworkSpec
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return logits."""
        spec, skips = self.spec, []
        for width, stride in zip(spec.widths, spec.strides, strict=True):
            x = Unit(spec, width, "strided", stride)(x, train)
            x = self._residual(width, x, nn.relu(x), train)
            skips.append(x)
        for level in reversed(range(len(spec.widths) - 1)):
            width = spec.widths[level]
            x = Unit(spec, width, spec.upsampling, spec.strides[level + 1])(x, train)
            joined = jnp.concatenate([skips[level], nn.relu(x)], -1)
            x = self._residual(width, x, joined, train)
        patch = spec.strides[0]
        x = nn.Conv(self.num_classes * patch**2, (1, 1))(x)
        b, h, w, _ = x.shape
        x = x.reshape(b, h, w, patch, patch, self.num_classes).swapaxes(2, 3)
        return x.reshape(b, h * patch, w * patch, self.num_classes)

    def _residual(self, width: int, shortcut: jax.Array, x: jax.Array, train: bool) -> jax.Array:
        for unit in range(self.spec.units):
            x = Unit(self.spec, width)(nn.relu(x) if unit else x, train)
        return nn.relu(x + shortcut if self.spec.residual else x)


def initialize(spec: NetworkSpec, classes: int) -> tuple[Network, dict[str, Any]]:
    """Return the module and random variables."""
    module, rng = Network(spec, classes), np.random.default_rng(0)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return noise.array(rng, path[-1].key, leaf.shape)

    return module, dict(jax.tree.map_with_path(draw, _shapes(module)))


def _shapes(module: Network) -> Any:
    px = module.spec.size_multiple
    image = jax.ShapeDtypeStruct((1, px, px, 1), jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), image)


def parameters(spec: NetworkSpec, classes: int) -> int:
    """Return the number of trainable parameters."""
    shapes = _shapes(Network(spec, classes))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def inference(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray], object]:
    """Return images -> labels, confidence and probabilities."""
    module, variables = initialize(spec, classes)
    variables = jax.device_put(variables)

    @jax.jit
    def apply(variables: dict, images: jax.Array) -> tuple[jax.Array, ...]:
        probabilities = nn.softmax(jnp.asarray(module.apply(variables, images, False)))
        labels = probabilities.argmax(-1).astype(jnp.uint8)
        steps = jnp.round(probabilities * 255).astype(jnp.uint8)
        return labels, steps.max(-1), steps

    return lambda images: [np.asarray(a) for a in apply(variables, images)]


def training(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], object]:
    """Return (images, labels, weights) -> loss, one step further each time."""
    module, variables = initialize(spec, classes)
    optimizer = optax.amsgrad(LEARNING_RATE)

    def objective(params: Any, stats: Any, images: Any, labels: Any, weights: Any) -> Any:
        variables = {"params": params, "batch_stats": stats}
        logits, changed = module.apply(variables, images, True, mutable=["batch_stats"])
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        kernels = [a for a in jax.tree.leaves(params) if a.ndim == 4]
        loss = (weights * entropy).sum() + L2 * sum((a**2).sum() for a in kernels)
        return loss, changed.get("batch_stats", {})

    def step(state: tuple, batch: tuple) -> tuple[tuple, jax.Array]:
        params, stats, opt_state = state
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, stats), gradients = gradient(params, stats, *batch)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), stats, opt_state), loss

    jitted = jax.jit(step, donate_argnums=0)
    params = jax.tree.map(jnp.asarray, variables["params"])
    stats = jax.tree.map(jnp.asarray, variables.get("batch_stats", {}))
    state = [(params, stats, optimizer.init(params))]

    def call(*batch: np.ndarray) -> object:
        state[0], loss = jitted(state[0], batch)
        jax.block_until_ready(state[0])
        return float(loss)

    return call
