"""Batches of one fixed shape, made before the step that needs them.

Batch n depends on the seed and on n only, so that a run can resume anywhere, and several processes
can each make their own rows of it.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict

from musclejax.anatomy import TASKS, THUMBNAIL_PX
from musclejax.data.dataset import IGNORE
from musclejax.data.sampler import Sampler
from musclejax.data.weight_map import weight_map
from musclejax.scan.grid import thumbnail_matrix

PREFETCHED = 2
"""Batches kept ready."""
Made = TypeVar("Made")


class Batch(NamedTuple):
    """What one step learns from; the classifier's labels and weights have no pixel axes.

    Attributes:
        image: Network input.
        labels: True class; 0 where it is unknown.
        weights: Weight in the loss (paper, Eq. 2); 0 where the label is unknown.
        mask: False for rows of padding.
    """

    image: Float[Array | np.ndarray, "b h w 1"]
    labels: Int[Array | np.ndarray, " b *pixels"]
    weights: Float[Array | np.ndarray, " b *pixels"]
    mask: Bool[Array | np.ndarray, " b"]


class _Target(NamedTuple):
    """What a row is for; hashable, fixed while compiled."""

    task: str
    border_weight: float
    border_sigma_px: float


def make_batch(
    sampler: Sampler,
    indices: Int[np.ndarray, " b"],
    seeds: Int[np.ndarray, " b"],
    classes: Float[np.ndarray, " k"],
    config: ConfigDict,
) -> Batch:
    """Make one batch, or some rows of one.

    Args:
        sampler: Where slices come from.
        indices: Which slices of the sampler; -1 for a row of padding.
        seeds: Seed of the variation of each.
        classes: Weight of each class; the classifier ignores it.
        config: Settings of the network.
    """
    loss = config.loss
    target = _Target(config.task, float(loss.border_weight), float(loss.border_sigma_px))
    mask, seeds = indices >= 0, np.maximum(seeds, 0)
    asked = zip(indices.tolist(), seeds.tolist(), strict=True)
    shown = np.array([sampler.class_of(config.task, *one) for one in asked], np.int32)
    if jax.default_backend() != "cpu":
        # One call per batch: an accelerator samples it as fast as a single slice.
        samples = sampler.sample_many(indices, seeds)
        image, labels, weights = _to_rows(*samples, classes, shown, target)
        return Batch(image, labels, weights, mask)
    # One call per slice: XLA on a CPU runs that faster than a batch of them.
    rows = [
        _to_row(*sampler.sample(int(index), int(seed)), classes, one, target)
        for index, seed, one in zip(indices, seeds, shown, strict=True)
    ]
    image, labels, weights = (
        np.stack([np.asarray(array) for array in arrays]) for arrays in zip(*rows, strict=True)
    )
    return Batch(image, labels, weights, mask)


# Not one function with the augmentation: XLA on a CPU would then trace every pixel back anew for
# each of the weight map's comparisons, and take forty times as long.
@partial(jax.jit, static_argnames="target")
def _to_row(
    image: Float[Array, "h w"],
    labels: UInt8[Array, "h w"],
    classes: Array,
    shown: Array,
    target: _Target,
) -> tuple[Array, Array, Array]:
    """Return image, labels and weights of one row."""
    if TASKS[target.task].is_classifier:
        shrink = jnp.asarray(thumbnail_matrix(TASKS[target.task].slice_px))
        small = jnp.clip(shrink @ image @ shrink.T, image.min(), image.max())
        assert small.shape == (THUMBNAIL_PX, THUMBNAIL_PX)
        return small[..., None], shown, jnp.ones(())
    weights = weight_map(labels, classes, target.border_weight, target.border_sigma_px)
    known = jnp.where(labels == IGNORE, 0, labels).astype(jnp.int32)
    return image[..., None], known, weights


@partial(jax.jit, static_argnames="target")
def _to_rows(
    images: Array, labels: Array, classes: Array, shown: Array, target: _Target
) -> tuple[Array, Array, Array]:
    """Do what `_to_row` does to every slice of a batch."""

    def row(image: Array, labels: Array, one: Array) -> tuple[Array, Array, Array]:
        return _to_row(image, labels, classes, one, target)

    return jax.vmap(row)(images, labels, shown)


@contextmanager
def prefetch(make: Callable[[int], Made], start: int, stop: int) -> Iterator[Iterator[Made]]:
    """Yield an iterator over `make(start)` ... `make(stop - 1)`, which a thread makes in advance.

    An error in the thread is raised where its result is requested. Leaving the block ends the
    thread.
    """
    ready: queue.Queue[tuple[bool, object]] = queue.Queue(PREFETCHED)
    left = threading.Event()

    def put(entry: tuple[bool, object]) -> None:
        while not left.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        for n in range(start, stop):
            if left.is_set():
                return
            try:
                put((True, make(n)))
            except BaseException as error:
                put((False, error))
                return

    def results() -> Iterator[Made]:
        for _ in range(start, stop):
            fine, result = ready.get()
            if not fine:
                raise result  # type: ignore[misc]
            yield result  # type: ignore[misc]

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        left.set()
        thread.join()
