"""Slices to learn from and to validate on: where they come from, their order, their variation."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from musclejax.anatomy import CLASSIFIER, SLICE_PX, TASKS
from musclejax.data import augment_imgaug
from musclejax.data.augment import Augmentation, Limbs, augment, augmentation
from musclejax.data.bspline import to_coefficients
from musclejax.data.slices import Origin, Slices
from musclejax.errors import InputError

BACKENDS = ("jax", "imgaug", "none")
"""Values of `config.augment.backend`."""


@runtime_checkable
class Sampler(Protocol):
    """Slices by index, each varied by a seed.

    Attributes:
        seeds: Seed of the variation of each slice; None takes a new one each time.
        seed: Seed of order and variation.
    """

    @property
    def seeds(self) -> Int[np.ndarray, " m"] | None:
        """See the attributes."""

    @property
    def seed(self) -> int:
        """See the attributes."""

    def __len__(self) -> int:
        """Return the number of slices."""

    def sample(self, index: int, seed: int) -> tuple[Any, Any]:
        """Return a slice, varied: image [h, w] and labels [h, w]."""

    def sample_many(
        self, indices: Int[np.ndarray, " b"], seeds: Int[np.ndarray, " b"]
    ) -> tuple[Any, Any]:
        """Return several slices: image [b, h, w] and labels [b, h, w]."""

    def class_of(self, task: str, index: int, seed: int) -> int:
        """Return the class that a slice shows, for a classifier; 0 for other tasks."""

    def plain(self) -> "Sampler":
        """Return the same slices without variation, if they can be had so."""

    def origin(self, index: int) -> Any:
        """Return the origin of a slice, which prints as one word or two."""


@dataclass(frozen=True, eq=False)
class SliceSampler:
    """Annotated slices of real scans, augmented.

    Attributes:
        slices: The slices of all cases.
        coefficients: Spline coefficients of their images.
        indices: Place in `slices` of each slice of the sampler.
        seeds: Seed of the augmentation of each; None takes a new one each time.
        settings: Ranges of the augmentation, and the window.
        seed: Seed of order and augmentation.
        backend: One of `BACKENDS`.
    """

    slices: Slices
    coefficients: Float[np.ndarray, "n rr cc"]
    indices: Int[np.ndarray, " m"]
    seeds: Int[np.ndarray, " m"] | None
    settings: Augmentation
    seed: int
    backend: str

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.indices)

    def sample(self, index: int, seed: int) -> tuple[Any, Any]:
        """Return a slice and its labels, augmented, in the window."""
        place, settings = int(self.indices[index]), self.settings
        labels = self.slices.labels[place]
        limbs = Limbs(*(np.asarray(field[place]) for field in self.slices.limbs))
        if settings.enabled and self.backend == "imgaug":
            image = self.slices.images[place]
            return augment_imgaug.augment((self.seed, seed), image, labels, limbs, settings)
        key, coefficients = jax.random.key(self.seed), self.coefficients[place]
        return _augment(key, seed, coefficients, labels, limbs, settings)

    def sample_many(
        self, indices: Int[np.ndarray, " b"], seeds: Int[np.ndarray, " b"]
    ) -> tuple[Any, Any]:
        """Return slices as `sample` does, stacked."""
        chosen = zip(indices.tolist(), seeds.tolist(), strict=True)
        images, labels = zip(*(self.sample(index, seed) for index, seed in chosen), strict=True)
        return np.stack(images), np.stack(labels)

    def plain(self) -> "SliceSampler":
        """Return the same slices, not augmented."""
        return replace(self, settings=self.settings._replace(enabled=False))

    def class_of(self, task: str, index: int, seed: int) -> int:
        """Return the place of a slice's region in the classifier's classes; 0 for other tasks."""
        names = TASKS[task].class_names
        return names.index(self.origin(index).region) if task == CLASSIFIER else 0

    def origin(self, index: int) -> Origin:
        """Return case and slice."""
        return self.slices.origins[self.indices[index]]


@partial(jax.jit, static_argnames="settings")
def _augment(
    key: PRNGKeyArray,
    seed: Array,
    coefficients: Array,
    labels: Array,
    limbs: Limbs,
    settings: Augmentation,
) -> tuple[Float[Array, "h w"], UInt8[Array, "h w"]]:
    return augment(jax.random.fold_in(key, seed), coefficients, labels, limbs, settings)


@dataclass(frozen=True, eq=False)
class MixedSampler:
    """Slices of scans with synthetic ones among them, to train on; see `training_indices`.

    Attributes:
        scans: Slices of scans, which have the first indices.
        synthetic: Synthetic slices, which have the others.
        share: Share of synthetic slices in every stretch of the training.
    """

    scans: Sampler
    synthetic: Sampler
    share: float

    @property
    def seeds(self) -> None:
        """None: each of the two has its own."""

    @property
    def seed(self) -> int:
        """Seed of the slices of scans."""
        return self.scans.seed

    def __len__(self) -> int:
        """Return the number of slices of both kinds."""
        return len(self.scans) + len(self.synthetic)

    def sample(self, index: int, seed: int) -> tuple[Any, Any]:
        """Return a slice of either kind, varied."""
        sampler, own = self._find(index)
        return sampler.sample(own, seed)

    def sample_many(
        self, indices: Int[np.ndarray, " b"], seeds: Int[np.ndarray, " b"]
    ) -> tuple[Any, Any]:
        """Return slices as `sample` does, stacked; one call for each kind."""
        of_scans = indices < len(self.scans)
        images: list[Any] = [None] * len(indices)
        labels: list[Any] = [None] * len(indices)
        for sampler, places, first in (
            (self.scans, np.flatnonzero(of_scans), 0),
            (self.synthetic, np.flatnonzero(~of_scans), len(self.scans)),
        ):
            if len(places):
                made = sampler.sample_many(indices[places] - first, seeds[places])
                for place, image, label in zip(places, *made, strict=True):
                    images[place], labels[place] = np.asarray(image), np.asarray(label)
        return np.stack(images), np.stack(labels)

    def plain(self) -> "MixedSampler":
        """Return the same slices, those of scans without variation."""
        return replace(self, scans=self.scans.plain())

    def class_of(self, task: str, index: int, seed: int) -> int:
        """Return the class that a slice shows, for a classifier; 0 for other tasks."""
        sampler, own = self._find(index)
        return sampler.class_of(task, own, seed)

    def origin(self, index: int) -> Any:
        """Return the origin of a slice."""
        sampler, own = self._find(index)
        return sampler.origin(own)

    def _find(self, index: int) -> tuple[Sampler, int]:
        """Return whose slice an index means, and its index there."""
        own = index - len(self.scans)
        return (self.scans, index) if own < 0 else (self.synthetic, own)


def make_samplers(slices: dict[str, Slices], config: ConfigDict) -> dict[str, SliceSampler]:
    """Return the samplers to train on and to validate on.

    Args:
        slices: "train" and "validation", as `load_slices_steps` returns them.
        config: Settings. With `split.order = "paper"` the training slices are augmented to
            `augment.set_size` samples, of which a share becomes the validation set.

    Raises:
        InputError: If one of the two is empty, or the backend is unknown or not installed.

    Source: by subject: ours; "paper": paper, "Preprocessing and data augmentation".
    """
    found = {name: len(part) for name, part in slices.items()}
    needed = ("train",) if config.split.order == "paper" else ("train", "validation")
    empty = [name for name in needed if not found.get(name)]
    if empty:
        reasons = slices[empty[0]].left_out if empty[0] in slices else {}
        why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
        accepted = "slices of at least two subjects, or a split column in cases.csv"
        accepted = "one slice or more" if why else accepted
        line = f"no annotated slice ({why or 'no case is in it'})"
        raise InputError(f"{empty[0]} split", line, accepted)
    _check_backend(config.augment.backend)
    if TASKS[config.task].is_classifier:
        slices = {name: _whole(part) for name, part in slices.items()}
    enabled = config.augment.backend != "none"
    varied, plain = (_settings(config, enabled=e) for e in (enabled, False))
    if config.split.order == "paper":
        return _paper_samplers(slices["train"], varied, config)
    samplers = {}
    for name, settings in (("train", varied), ("validation", plain)):
        part, backend = slices[name], config.augment.backend
        samplers[name] = SliceSampler(
            part,
            to_coefficients(part.images),
            np.arange(len(part)),
            None,
            settings,
            int(config.seed),
            backend,
        )
    return samplers


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise InputError.choice("augment.backend", name, BACKENDS)
    if name == "imgaug":
        augment_imgaug.load()  # a missing library is reported now, not by a thread in mid-training


def _paper_samplers(
    slices: Slices, settings: Augmentation, config: ConfigDict
) -> dict[str, SliceSampler]:
    size, seed = int(config.augment.set_size), int(config.seed)
    indices = np.arange(size) % len(slices)
    mixed = np.random.default_rng([config.split.seed, size]).permutation(size)
    held = max(1, round(config.split.validation * size))
    coefficients = to_coefficients(slices.images)
    parts = {"train": np.sort(mixed[held:]), "validation": np.sort(mixed[:held])}
    return {
        name: SliceSampler(
            slices, coefficients, indices[part], part, settings, seed, config.augment.backend
        )
        for name, part in parts.items()
    }


def _settings(config: ConfigDict, *, enabled: bool) -> Augmentation:
    settings = augmentation(config, enabled=enabled)
    whole = TASKS[config.task].is_classifier
    return settings._replace(size=(SLICE_PX, SLICE_PX)) if whole else settings


def _whole(slices: Slices) -> Slices:
    """Return the slices with the whole model grid as window: the classifier sees all of it."""
    origin = np.zeros_like(np.asarray(slices.limbs.origin))
    return replace(slices, limbs=slices.limbs._replace(origin=origin))


def training_indices(
    sampler: Sampler, step: int, batch_size: int
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Return the indices and seeds of the slices of one training step.

    Every slice comes once before any comes again; each pass has an order of its own. Of mixed
    slices this is true of either kind, and the synthetic ones are spread evenly.
    """
    return _draw(sampler, step * batch_size + np.arange(batch_size))


def _draw(
    sampler: Sampler, samples: Int[np.ndarray, " b"]
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Return the indices and seeds of some samples, counted from the start of the training."""
    if isinstance(sampler, MixedSampler):
        before = np.floor(samples * sampler.share).astype(int)  # synthetic ones before each
        is_synthetic = np.floor((samples + 1) * sampler.share).astype(int) > before
        of_scans, seeds = _draw(sampler.scans, samples - before)
        synthetic, new_seeds = _draw(sampler.synthetic, before)
        indices = np.where(is_synthetic, len(sampler.scans) + synthetic, of_scans)
        return indices, np.where(is_synthetic, new_seeds, seeds)
    passes, places = np.divmod(samples, len(sampler))
    orders = {
        p: np.random.default_rng([sampler.seed, p]).permutation(len(sampler)) for p in set(passes)
    }
    indices = np.array([orders[p][i] for p, i in zip(passes, places, strict=True)])
    return indices, samples if sampler.seeds is None else sampler.seeds[indices]


def validation_indices(
    sampler: Sampler, step: int, batch_size: int
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Return the same for one validation batch, in order; -1 pads the last batch."""
    indices = step * batch_size + np.arange(batch_size)
    indices = np.where(indices < len(sampler), indices, -1)
    return indices, indices if sampler.seeds is None else sampler.seeds[indices]


def batch_origins(sampler: Sampler, indices: Int[np.ndarray, " b"]) -> list[Any]:
    """Return the origins of the slices of a batch."""
    return [sampler.origin(int(index)) for index in indices if index >= 0]
