"""What a network learns from and is validated on: slices, their order, how they are varied."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from musclejax.config import SLICE_PX
from musclejax.data import augment_imgaug
from musclejax.data.augment import Augmentation, Limbs, augment, augmentation
from musclejax.data.slices import Origin, Slices
from musclejax.data.spline import to_coefficients
from musclejax.errors import InputError

BACKENDS = ("jax", "imgaug", "none")
"""Values of `config.augment.backend`."""


@runtime_checkable
class Feed(Protocol):
    """An endless or fixed sequence of slices to learn from or to validate on.

    Attributes:
        numbers: Number that decides how each item is varied; None draws a new one each time.
        seed: Seed of order and variation.
    """

    @property
    def numbers(self) -> Int[np.ndarray, " m"] | None:
        """See the attributes."""

    @property
    def seed(self) -> int:
        """See the attributes."""

    def __len__(self) -> int:
        """Return the number of items."""

    def draw(self, item: int, number: int) -> tuple[Any, Any]:
        """Return an item, varied: image [h, w] and labels [h, w]."""

    def region(self, item: int) -> str:
        """Return the region that an item shows."""

    def plain(self) -> "Feed":
        """Return the same items, not varied, if they can be had so."""

    def origin(self, item: int) -> Any:
        """Return where an item comes from; printed, it tells a person."""


@dataclass(frozen=True, eq=False)
class SliceFeed:
    """Annotated slices of real scans, augmented.

    Attributes:
        slices: Where they are taken from.
        coefficients: Spline coefficients of their images.
        items: Index of the slice of each item.
        numbers: Number that seeds the augmentation of each item; None draws a new one each time.
        settings: Ranges of the augmentation, and the window.
        seed: Seed of order and augmentation.
        backend: One of `BACKENDS`.
    """

    slices: Slices
    coefficients: Float[np.ndarray, "n rr cc"]
    items: Int[np.ndarray, " m"]
    numbers: Int[np.ndarray, " m"] | None
    settings: Augmentation
    seed: int
    backend: str

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def draw(self, item: int, number: int) -> tuple[Any, Any]:
        """Return a slice and its labels, augmented, in the window."""
        index, settings = int(self.items[item]), self.settings
        labels = self.slices.labels[index]
        limbs = Limbs(*(np.asarray(field[index]) for field in self.slices.limbs))
        if settings.enabled and self.backend == "imgaug":
            seed, image = (self.seed, number), self.slices.images[index]
            return augment_imgaug.augment(seed, image, labels, limbs, settings)
        key, coefficients = jax.random.key(self.seed), self.coefficients[index]
        return _augment(key, number, coefficients, labels, limbs, settings)

    def plain(self) -> "SliceFeed":
        """Return the same slices, not augmented."""
        return replace(self, settings=self.settings._replace(enabled=False))

    def region(self, item: int) -> str:
        """Return the region of a slice."""
        return self.origin(item).region

    def origin(self, item: int) -> Origin:
        """Return where a slice comes from."""
        return self.slices.origins[self.items[item]]


@partial(jax.jit, static_argnames="settings")
def _augment(
    key: PRNGKeyArray,
    number: Array,
    coefficients: Array,
    labels: Array,
    limbs: Limbs,
    settings: Augmentation,
) -> tuple[Float[Array, "h w"], UInt8[Array, "h w"]]:
    return augment(jax.random.fold_in(key, number), coefficients, labels, limbs, settings)


def make_feeds(slices: dict[str, Slices], config: ConfigDict) -> dict[str, SliceFeed]:
    """Return what to train on and what to validate on.

    Args:
        slices: "train" and "validation", as `load_slices` gives them.
        config: Settings. With `split.order = "paper"` the training slices are augmented to
            `augment.set_size` items, of which a share becomes the validation set.

    Raises:
        InputError: If one of the two is empty, or the backend is unknown or not installed.

    Source: by subject: ours; "paper": paper, "Preprocessing and data augmentation".
    """
    found = {name: len(part) for name, part in slices.items()}
    needed = ("train",) if config.split.order == "paper" else ("train", "validation")
    empty = [name for name in needed if not found.get(name)]
    if empty:
        accepted = "slices of at least two subjects, or a split column in cases.csv"
        raise InputError(f"{empty[0]} split", "no annotated slice", accepted)
    _check_backend(config.augment.backend)
    if config.task == "region":
        slices = {name: _whole(part) for name, part in slices.items()}
    enabled = config.augment.backend != "none"
    varied, plain = (_settings(config, enabled=e) for e in (enabled, False))
    if config.split.order == "paper":
        return _paper_feeds(slices["train"], varied, config)
    feeds = {}
    for name, settings in (("train", varied), ("validation", plain)):
        part = slices[name]
        every = np.arange(len(part))
        coefficients = to_coefficients(part.images)
        backend = config.augment.backend
        feeds[name] = SliceFeed(
            part, coefficients, every, None, settings, int(config.seed), backend
        )
    return feeds


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise InputError("augment.backend", repr(name), ", ".join(BACKENDS))
    if name == "imgaug":
        augment_imgaug.load()  # what is missing is said now, not by a thread in mid-training


def _paper_feeds(
    slices: Slices, settings: Augmentation, config: ConfigDict
) -> dict[str, SliceFeed]:
    size, seed = int(config.augment.set_size), int(config.seed)
    items = np.arange(size) % len(slices)
    mixed = np.random.default_rng([config.split.seed, size]).permutation(size)
    held = max(1, round(config.split.validation * size))
    coefficients = to_coefficients(slices.images)
    parts = {"train": np.sort(mixed[held:]), "validation": np.sort(mixed[:held])}
    return {
        name: SliceFeed(
            slices, coefficients, items[part], part, settings, seed, config.augment.backend
        )
        for name, part in parts.items()
    }


def _settings(config: ConfigDict, *, enabled: bool) -> Augmentation:
    settings = augmentation(config, enabled=enabled)
    return settings._replace(size=(SLICE_PX, SLICE_PX)) if config.task == "region" else settings


def _whole(slices: Slices) -> Slices:
    """Return the slices with the whole model grid as window: the classifier sees all of it."""
    origin = np.zeros_like(np.asarray(slices.limbs.origin))
    return replace(slices, limbs=slices.limbs._replace(origin=origin))


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


def batch_origins(feed: Feed, items: Int[np.ndarray, " b"]) -> list[Any]:
    """Return where the slices of a batch come from."""
    return [feed.origin(int(i)) for i in items if i >= 0]
