"""Batches of one fixed shape, made ahead of the step that needs them.

Batch n depends on the seed and on n only, so that a run can stop and go on anywhere, and several
processes can each make their own rows of it.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.config import SLICE_PX, THUMBNAIL_PX
from musclejax.data.dataset import IGNORE
from musclejax.data.feed import (
    Feed,
    SliceFeed,
    batch_origins,
    make_feeds,
    training_items,
    validation_items,
)
from musclejax.data.phantom_feed import PhantomFeed
from musclejax.data.weight_map import weight_map
from musclejax.scan.grid import thumbnail_matrix

__all__ = [
    "Batch",
    "Feed",
    "SliceFeed",
    "ahead",
    "batch_origins",
    "make_batch",
    "make_feeds",
    "training_items",
    "validation_items",
]

Batch = dict[str, Any]
"""image [B,H,W,1] f32, labels [B,H,W] i32, weights [B,H,W] f32, mask [B] bool; for the classifier
labels [B] i32 (region) and weights [B] f32."""
AHEAD = 2
"""Batches kept ready."""


class _Target(NamedTuple):
    """What a row is for; hashable, fixed while compiled."""

    task: str
    border_weight: float
    border_sigma_px: float


def make_batch(
    feed: Feed, items: np.ndarray, numbers: np.ndarray, classes: np.ndarray, config: ConfigDict
) -> Batch:
    """Make one batch, or some rows of one.

    Args:
        feed: Where slices come from.
        items: Items of the feed; -1 for a row of padding.
        numbers: What seeds the augmentation of each.
        classes: Weight of each class; of no account for the classifier.
        config: Settings of the network.
    """
    loss, names = config.loss, list(anatomy.REGIONS)
    target = _Target(config.task, float(loss.border_weight), float(loss.border_sigma_px))
    regions = np.array([names.index(feed.region(int(item))) for item in items], np.int32)
    numbers = np.maximum(numbers, 0)
    if jax.default_backend() != "cpu" and isinstance(feed, PhantomFeed):
        # One call a batch: an accelerator draws it as fast as a single slice.
        batch = dict(_to_rows(*feed.draw_many(items, numbers), classes, regions, target))
        return {**batch, "mask": items >= 0}
    # One slice a call: XLA on a CPU runs that faster than a batch of them.
    rows = [
        _to_row(*feed.draw(int(item), int(number)), classes, region, target)
        for item, number, region in zip(items, numbers, regions, strict=True)
    ]
    batch = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    return {**batch, "mask": items >= 0}


# Not one function with the augmentation: XLA on a CPU would then trace every pixel back anew for
# each of the weight map's comparisons, and take forty times as long.
@partial(jax.jit, static_argnames="target")
def _to_row(
    image: Float[Array, "h w"],
    labels: UInt8[Array, "h w"],
    classes: Array,
    region: Array,
    target: _Target,
) -> dict[str, Array]:
    """Return what the network sees of a slice and what it should say."""
    if target.task == "region":
        shrink = jnp.asarray(thumbnail_matrix(SLICE_PX))
        small = jnp.clip(shrink @ image @ shrink.T, image.min(), image.max())
        assert small.shape == (THUMBNAIL_PX, THUMBNAIL_PX)
        return {"image": small[..., None], "labels": region, "weights": jnp.ones(())}
    weights = weight_map(labels, classes, target.border_weight, target.border_sigma_px)
    known = jnp.where(labels == IGNORE, 0, labels).astype(jnp.int32)
    return {"image": image[..., None], "labels": known, "weights": weights}


@partial(jax.jit, static_argnames="target")
def _to_rows(
    images: Array, labels: Array, classes: Array, regions: Array, target: _Target
) -> dict[str, Array]:
    """Do what `_to_row` does to every slice of a batch."""

    def row(image: Array, labels: Array, region: Array) -> dict[str, Array]:
        return _to_row(image, labels, classes, region, target)

    return jax.vmap(row)(images, labels, regions)


@contextmanager
def ahead(make: Callable[[int], Any], start: int, stop: int) -> Iterator[Iterator[Any]]:
    """Yield `make(start)` ... `make(stop - 1)`, each made by a thread before it is asked for.

    An error in the thread is raised where its result is asked for. Leaving the block ends the
    thread.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(AHEAD)
    left = threading.Event()

    def put(entry: tuple[bool, Any]) -> None:
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

    def results() -> Iterator[Any]:
        for _ in range(start, stop):
            fine, result = ready.get()
            if not fine:
                raise result
            yield result

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        left.set()
        thread.join()
