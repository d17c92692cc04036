"""Training as musclejax itself runs it."""

from collections.abc import Callable
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np

from musclejax.bench import noise
from musclejax.bench.job import Job
from musclejax.bench.own_inference import random_network
from musclejax.data.batches import Batch
from musclejax.models.variants import find
from musclejax.system import trim_heap
from musclejax.training.loop import SETTLING
from musclejax.training.step import initial_state, make_steps

LEARNING_RATE = 1e-3


def training(job: Job) -> Callable[[], object]:
    """Return a step as `musclejax train` takes it: loss, AMSGrad, L2, and the metrics."""
    network, labels = random_network(find(job.variant)), noise.labels(job)
    network.config.models.convolutions = "onednn" if job.engine == "onednn" else "xla"
    network.config.models.precision = job.precision
    steps = make_steps(network.config, labels.size)
    state = [steps.place(initial_state(network.config, dict(network.variables), labels.size))]
    batch = Batch(
        image=noise.images(job.batch_size, job)[..., None],
        labels=labels,
        weights=np.ones(labels.shape, np.float32),
        mask=np.ones(len(labels), bool),
    )
    placed, rate = steps.to_global(batch), jnp.float32(LEARNING_RATE)
    calls = count()

    def call() -> object:
        state[0], metrics = steps.train(state[0], placed, rate)
        jax.block_until_ready(state[0])
        if next(calls) < SETTLING:
            trim_heap()
        return float(metrics.data_loss)

    return call
