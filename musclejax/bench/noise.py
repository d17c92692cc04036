"""Random images, labels and weights: a network's cost does not depend on what it has learned."""

import math

import numpy as np
from jaxtyping import Float, Int

from musclejax.anatomy import TASKS
from musclejax.bench.job import TASK, Job

CLASSES = TASKS[TASK].num_classes


def images(slices: int, job: Job) -> Float[np.ndarray, "n h w"]:
    """Return images of a job's size."""
    return np.random.default_rng(0).random((slices, job.height, job.width), np.float32)


def labels(job: Job) -> Int[np.ndarray, "b h w"]:
    """Return labels for a batch of a job."""
    shape = (job.batch_size, job.height, job.width)
    return np.random.default_rng(1).integers(0, CLASSES, shape).astype(np.int32)


def array(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return one random variable, made without copies that would count as memory.

    Kernels keep one scale from layer to layer: tiny numbers would be slow to compute with, large
    ones overflow.
    """
    if name == "kernel":
        gain = np.float32(math.sqrt(2 / math.prod(shape[:-1])))
        return rng.standard_normal(shape, np.float32) * gain
    return (np.ones if name in ("scale", "var") else np.zeros)(shape, np.float32)
