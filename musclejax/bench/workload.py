"""What a worker repeats: the network as musclejax runs it, or as a rival does."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from musclejax.anatomy import REGIONS
from musclejax.bench.job import Job

Call = Callable[[], object]
TASK = "thigh"
DISTINCT = 8
"""Slices of noise that an inference cycles through."""
CLASSES = REGIONS[TASK].num_classes
RIVALS = {name: f"musclejax.bench.rival_{name}" for name in ("flax", "torch", "keras")}


def prepare(job: Job) -> Call:
    """Return what one repeat calls; its result has been waited for when it returns.

    Weights are random: what a network costs does not depend on what it has learnt.
    """
    from musclejax.models.variants import find

    if job.kind == "data":
        from musclejax.bench.data import prepare_data

        return prepare_data(job)
    if job.kind == "train":
        batch = _batch(job)
        if job.engine not in RIVALS:
            return _own_training(job, batch)
        rival = import_module(RIVALS[job.engine])
        step = rival.training(find(job.variant), CLASSES, job.threads, job.precision)
        return lambda: step(batch["image"][..., None], batch["labels"], batch["weights"])
    if job.engine in RIVALS:
        rival = import_module(RIVALS[job.engine])
        label = rival.inference(find(job.variant), CLASSES, job.threads, job.precision)
    else:
        label = _own_inference(job)
    some = _images(min(job.slices, DISTINCT), job)
    return lambda: run_batches(label, some, job.slices, job.batch_size)


def run_batches(
    label: Callable[[np.ndarray], Any], some: np.ndarray, slices: int, batch_size: int
) -> None:
    """Label so many slices in batches of one fixed shape, the last one padded, as `segment` does.

    The same few are given over and over and no result is kept, so that the peak of memory is the
    network's: what a whole scan takes beside it is measured by `bench segment`.
    """
    batch_size = min(batch_size, slices)
    for start in range(0, slices, batch_size):
        real = min(batch_size, slices - start)
        batch = np.zeros((batch_size, *some.shape[1:], 1), np.float32)
        batch[:real, ..., 0] = some[np.arange(start, start + real) % len(some)]
        for part in label(batch)[:2]:
            np.asarray(part)


def _own_inference(job: Job) -> Callable[[np.ndarray], Any]:
    from musclejax.inference.engines import labeller

    return labeller(_network(job), job.engine, job.precision)


def _network(job: Job) -> Any:
    """Return a network of random weights, drawn without the copies that would count as memory."""
    import jax

    from musclejax.config import default_config
    from musclejax.models.variants import expected_variables, find
    from musclejax.models.weights import Network

    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "kernel":
            # Kept at one scale from layer to layer: tiny numbers would be slow to compute with.
            gain = np.float32(math.sqrt(2 / math.prod(leaf.shape[:-1])))
            return rng.standard_normal(leaf.shape, np.float32) * gain
        return (np.ones if path[-1].key in ("scale", "var") else np.zeros)(leaf.shape, np.float32)

    config = default_config()
    config.task, config.variant = TASK, job.variant
    expected = expected_variables(find(job.variant), TASK)
    return Network(config, dict(jax.tree.map_with_path(draw, expected)))


def _own_training(job: Job, batch: dict[str, np.ndarray]) -> Call:
    """Return a step as `musclejax train` takes it: loss, AMSGrad, L2, and the metrics."""
    import jax
    import jax.numpy as jnp

    from musclejax.training.step import initial_state, make_steps

    network = _network(job)
    network.config.models.convolutions = "onednn" if job.engine == "onednn" else "xla"
    pixels = batch["labels"].size
    steps = make_steps(network.config, pixels)
    state = [steps.place(initial_state(network.config, dict(network.variables), pixels))]
    placed: Any = steps.to_global({**batch, "image": batch["image"][..., None]})  # type: ignore
    rate = jnp.float32(1e-3)

    def call() -> object:
        state[0], metrics = steps.train(state[0], placed, rate)
        jax.block_until_ready(state[0])
        return float(metrics.data_loss)

    return call


def _batch(job: Job) -> dict[str, np.ndarray]:
    labels = np.random.default_rng(1).integers(0, CLASSES, (job.batch_size, job.height, job.width))
    return {
        "image": _images(job.batch_size, job),
        "labels": labels.astype(np.int32),
        "weights": np.ones(labels.shape, np.float32),
        "mask": np.ones(len(labels), bool),
    }


def _images(slices: int, job: Job) -> np.ndarray:
    return np.random.default_rng(0).random((slices, job.height, job.width), np.float32)
