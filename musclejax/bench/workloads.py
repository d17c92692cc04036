"""What a worker repeats: the network as musclejax runs it, or as a rival does, or a data step."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float

from musclejax.bench import noise
from musclejax.bench.job import Job
from musclejax.models.variants import find

Call = Callable[[], object]
DISTINCT = 8
"""Slices of noise that an inference cycles through."""
RIVALS = ("onnxruntime", "flax", "torch", "keras")


def prepare(job: Job) -> Call:
    """Return what one repeat calls; its result has been waited for when it returns."""
    match job.kind:
        case "data":
            return load_module("data_workloads").prepare_data(job)
        case "train":
            return _training(job)
        case _:
            return _inference(job)


def load_module(module: str) -> Any:
    """Import a module of this room by name: a process holds what it measures and nothing else."""
    return import_module(f"musclejax.bench.{module}")


def _training(job: Job) -> Call:
    if job.engine not in RIVALS:
        return load_module("own_training").training(job)
    rival, spec = load_module(f"rivals.{job.engine}"), find(job.variant)
    step = rival.training(spec, noise.CLASSES, job.threads, job.precision)
    images, labels = noise.images(job.batch_size, job)[..., None], noise.labels(job)
    weights = np.ones(labels.shape, np.float32)
    return lambda: step(images, labels, weights)


def _inference(job: Job) -> Call:
    if job.engine in RIVALS:
        rival, spec = load_module(f"rivals.{job.engine}"), find(job.variant)
        predict = rival.inference(spec, noise.CLASSES, job.threads, job.precision)
    else:
        predict = load_module("own_inference").inference(job)
    images = noise.images(min(job.slices, DISTINCT), job)
    return lambda: run_batches(predict, images, job.slices, job.batch_size)


def run_batches(
    predict: Callable[[np.ndarray], Any],
    images: Float[np.ndarray, "n h w"],
    slices: int,
    batch_size: int,
) -> None:
    """Predict `slices` slices in batches of one fixed shape, the last one padded, like `segment`.

    The images are given over and over and no result is kept, so that the peak of memory is the
    network's: `bench segment` measures what a whole scan takes beside it.
    """
    batch_size = min(batch_size, slices)
    for start in range(0, slices, batch_size):
        real = min(batch_size, slices - start)
        batch = np.zeros((batch_size, *images.shape[1:], 1), np.float32)
        batch[:real, ..., 0] = images[np.arange(start, start + real) % len(images)]
        for part in predict(batch):
            np.asarray(part)
