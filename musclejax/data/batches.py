"""Batches of one fixed shape, made ahead of the step that needs them.

Batch n depends on the seed and on n only, so that a run can stop and go on anywhere, and several
processes can each make their own rows of it.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.config import SLICE_PX, THUMBNAIL_PX
from musclejax.data.augment import Augmentation, Limbs, augment, augmentation
from musclejax.data.dataset import IGNORE
from musclejax.data.slices import Origin, Slices
from musclejax.data.spline import to_coefficients
from musclejax.data.weight_map import weight_map
from musclejax.errors import InputError
from musclejax.scan.grid import thumbnail_matrix

Batch = dict[str, Any]
"""image [B,H,W,1] f32, labels [B,H,W] i32, weights [B,H,W] f32, mask [B] bool; for the classifier
labels [B] i32 (region) and weights [B] f32."""
AHEAD = 2
"""Batches kept ready."""


@dataclass(frozen=True, eq=False)
class Feed:
    """An endless or fixed sequence of slices to learn from or to validate on.

    Attributes:
        slices: Where they are taken from.
        coefficients: Spline coefficients of their images.
        items: Index of the slice of each item.
        numbers: Number that seeds the augmentation of each item; None draws a new one each time.
        settings: Ranges of the augmentation, and the window.
        seed: Seed of order and augmentation.
    """

    slices: Slices
    coefficients: Float[np.ndarray, "n rr cc"]
    items: Int[np.ndarray, " m"]
    numbers: Int[np.ndarray, " m"] | None
    settings: Augmentation
    seed: int

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)


def make_feeds(slices: dict[str, Slices], config: ConfigDict) -> dict[str, Feed]:
    """Return what to train on and what to validate on.

    Args:
        slices: "train" and "validation", as `load_slices` gives them.
        config: Settings. With `split.order = "paper"` the training slices are augmented to
            `augment.set_size` items, of which a share becomes the validation set.

    Raises:
        InputError: If one of the two is empty.

    Source: by subject: ours; "paper": paper, "Preprocessing and data augmentation".
    """
    found = {name: len(part) for name, part in slices.items()}
    needed = ("train",) if config.split.order == "paper" else ("train", "validation")
    empty = [name for name in needed if not found.get(name)]
    if empty:
        accepted = "slices of at least two subjects, or a split column in cases.csv"
        raise InputError(f"{empty[0]} split", "no annotated slice", accepted)
    enabled = config.augment.backend != "none"
    varied, plain = (_settings(config, enabled=e) for e in (enabled, False))
    if config.split.order == "paper":
        return _paper_feeds(slices["train"], varied, config)
    feeds = {}
    for name, settings in (("train", varied), ("validation", plain)):
        part = slices[name]
        every = np.arange(len(part))
        coefficients = to_coefficients(part.images)
        feeds[name] = Feed(part, coefficients, every, None, settings, int(config.seed))
    return feeds


def _paper_feeds(slices: Slices, settings: Augmentation, config: ConfigDict) -> dict[str, Feed]:
    size, seed = int(config.augment.set_size), int(config.seed)
    items = np.arange(size) % len(slices)
    mixed = np.random.default_rng([config.split.seed, size]).permutation(size)
    held = max(1, round(config.split.validation * size))
    coefficients = to_coefficients(slices.images)
    parts = {"train": np.sort(mixed[held:]), "validation": np.sort(mixed[:held])}
    return {
        name: Feed(slices, coefficients, items[part], part, settings, seed)
        for name, part in parts.items()
    }


def _settings(config: ConfigDict, *, enabled: bool) -> Augmentation:
    settings = augmentation(config, enabled=enabled)
    # The classifier's thumbnail is one of the whole model grid.
    return settings._replace(size=(SLICE_PX, SLICE_PX)) if config.task == "region" else settings


def training_items(feed: Feed, step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, for one step, the items and the numbers that seed their augmentation.

    Every item comes once before any comes again; each pass has an order of its own.
    """
    draws = step * batch_size + np.arange(batch_size)
    passes, places = np.divmod(draws, len(feed))
    orders = {p: np.random.default_rng([feed.seed, p]).permutation(len(feed)) for p in set(passes)}
    items = np.array([orders[p][i] for p, i in zip(passes, places, strict=True)])
    return items, draws if feed.numbers is None else feed.numbers[items]


def validation_items(feed: Feed, step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the items of one validation batch, in their order; -1 pads the last batch."""
    items = step * batch_size + np.arange(batch_size)
    items = np.where(items < len(feed), items, -1)
    return items, items if feed.numbers is None else feed.numbers[items]


def batch_origins(feed: Feed, items: Sequence[int]) -> list[Origin]:
    """Return where the slices of a batch come from."""
    return [feed.slices.origins[feed.items[i]] for i in items if i >= 0]


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
    make = _slice_maker(config.task, feed.settings, *_loss_settings(config))
    key = jax.random.key(feed.seed)
    rows = []
    for item, number in zip(items, numbers, strict=True):
        index = feed.items[item]
        limbs = Limbs(*(jnp.asarray(a[index]) for a in feed.slices.limbs))
        labels = _labels(feed.slices, index, config.task)
        row = make(key, int(max(number, 0)), feed.coefficients[index], labels, limbs, classes)
        rows.append(row)
    batch = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    batch["mask"] = items >= 0
    return batch


def _labels(slices: Slices, index: int, task: str) -> np.ndarray:
    if task != "region":
        return np.asarray(slices.labels[index])
    # Every pixel carries the number of the region: the one shape serves both kinds of network.
    region = list(anatomy.REGIONS).index(slices.origins[index].region)
    return np.full_like(slices.labels[index], region)


def _loss_settings(config: ConfigDict) -> tuple[float, float]:
    return float(config.loss.border_weight), float(config.loss.border_sigma_px)


@partial(jax.jit, static_argnames=("task", "settings", "border_weight", "border_sigma_px"))
def _make_slice(
    key: PRNGKeyArray,
    number: Array,
    coefficients: Array,
    labels: Array,
    limbs: Limbs,
    classes: Array,
    *,
    task: str,
    settings: Augmentation,
    border_weight: float,
    border_sigma_px: float,
) -> dict[str, Array]:
    """Make one row of a batch. One slice a call: XLA runs that faster than a batch of them."""
    image, varied = augment(jax.random.fold_in(key, number), coefficients, labels, limbs, settings)
    if task == "region":
        shrink = jnp.asarray(thumbnail_matrix(SLICE_PX))
        small = jnp.clip(shrink @ image @ shrink.T, image.min(), image.max())
        assert small.shape == (THUMBNAIL_PX, THUMBNAIL_PX)
        region = labels[0, 0].astype(jnp.int32)
        return {"image": small[..., None], "labels": region, "weights": jnp.ones(())}
    weights = weight_map(varied, classes, border_weight, border_sigma_px)
    known = jnp.where(varied == IGNORE, 0, varied).astype(jnp.int32)
    return {"image": image[..., None], "labels": known, "weights": weights}


def _slice_maker(
    task: str, settings: Augmentation, border_weight: float, border_sigma_px: float
) -> Callable[..., dict[str, Array]]:
    return partial(
        _make_slice,
        task=task,
        settings=settings,
        border_weight=border_weight,
        border_sigma_px=border_sigma_px,
    )


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
                return ready.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        for n in range(start, stop):
            if left.is_set():
                return
            try:
                put((True, make(n)))
            except BaseException as error:
                return put((False, error))

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
