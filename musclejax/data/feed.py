"""What a network learns from and is validated on: slices, their order, how they are varied."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from musclejax.config import SLICE_PX
from musclejax.data import augment_imgaug
from musclejax.data.augment import Augmentation, augmentation
from musclejax.data.slices import Origin, Slices
from musclejax.data.spline import to_coefficients
from musclejax.errors import InputError

BACKENDS = ("jax", "imgaug", "none")
"""Values of `config.augment.backend`."""


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
        feeds[name] = Feed(part, coefficients, every, None, settings, int(config.seed))
    return feeds


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise InputError("augment.backend", repr(name), ", ".join(BACKENDS))
    if name == "imgaug":
        augment_imgaug.load()  # what is missing is said now, not by a thread in mid-training


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


def batch_origins(feed: Feed, items: Int[np.ndarray, " b"]) -> list[Origin]:
    """Return where the slices of a batch come from."""
    return [feed.slices.origins[feed.items[i]] for i in items if i >= 0]
