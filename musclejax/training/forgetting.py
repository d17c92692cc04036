"""How much a fine-tuned network has forgotten of images unlike the scans it was tuned on."""

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from musclejax.anatomy import TASKS
from musclejax.data.dataset import IGNORE
from musclejax.data.slices import find_limbs
from musclejax.loops import Advance
from musclejax.models.network import Module, Network, Variables
from musclejax.phantom.generator import Phantom
from musclejax.phantom.levels import levels_of
from musclejax.phantom.sampler import GROUP_OF, PhantomSampler
from musclejax.phantom.signal import Contrast
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import load_anatomy
from musclejax.samples import SAMPLES
from musclejax.scan.grid import to_model_grid
from musclejax.scan.intensity import body_mask, normalize
from musclejax.scan.study import load
from musclejax.training.metrics import Counts, hard_dice

TOLERATED = 0.02
"""Fall of the Dice of a contrast that is no forgetting. Source: ours; six slices of others differ
by as much."""
SLICES = 6
"""Slices of each reference."""
_ECHO = Contrast(out_of_phase=0.0, in_phase=1.0, random=0.0, fat_only=0.0, suppressed=0.0)
CONTRASTS = {
    "in phase": _ECHO._replace(fat=(1.1, 1.7)),
    "opposed phase": _ECHO._replace(out_of_phase=1.0, in_phase=0.0, fat=(1.1, 1.7)),
    "water": _ECHO._replace(fat=(0.0, 0.1)),
    "T1": _ECHO._replace(fat=(1.9, 2.1)),
}
"""Kind of image -> its signal: the same people and slices in each. Source: ours; fat of a T1 image
is up to twice as bright as muscle."""
_SCANS = {"thigh": "test_up", "leg": "test_low"}
"""Region -> the sample scan that shows it."""
_SEED = 29
"""Of the references."""
_LEVELS, _WHOLE = (-1.0, 3.0), 0.25
"""As `config.phantom` has them by default: the references are the same whatever a recipe says."""


class Reference(NamedTuple):
    """Slices on which two networks are compared.

    Attributes:
        name: Kind of image, or name of a scan.
        images: Network input.
        labels: Truth, `IGNORE` where unknown; None to compare with the first network's own labels.
    """

    name: str
    images: Float[np.ndarray, "n h w"]
    labels: UInt8[np.ndarray, "n h w"] | None


class Change(NamedTuple):
    """Mean Dice of the muscles in a reference, before and after fine-tuning.

    Attributes:
        name: Of the reference.
        start: Of the network that the training began with; None of a scan: its labels are the
            reference.
        end: Of the fine-tuned one.
    """

    name: str
    start: float | None
    end: float

    @property
    def is_forgotten(self) -> bool:
        """Whether the Dice has fallen by more than `TOLERATED`."""
        return self.start is not None and self.start - self.end > TOLERATED

    def __str__(self) -> str:
        """Return name and figures."""
        before = "labels of the start" if self.start is None else f"{self.start:.3f}"
        return f"{self.name} {before} -> {self.end:.3f}"


def compare_steps(start: Network, end: Network) -> Generator[Advance, None, tuple[Change, ...]]:
    """Compare a fine-tuned network with the one that it began with; yield after each reference.

    Args:
        start: Of the region and the architecture of `end`.
        end: Fine-tuned segmentation network; its window is that of the references.
    """
    changes: list[Change] = []
    for reference in make_references(end):
        changes.append(compare(start, end, reference))
        yield Advance(len(changes), len(CONTRASTS) + 1)
    return tuple(changes)


def make_references(network: Network) -> Iterator[Reference]:
    """Yield synthetic slices of each contrast, and those of a sample scan, as a network sees them.

    The synthetic people are those whose templates are held out of training.
    """
    config = network.config
    size = int(config.data.crop_px[0]), int(config.data.crop_px[1])
    anatomy, seeds = load_anatomy(network.task, GROUP_OF["validation"]), np.arange(SLICES)
    levels = levels_of(anatomy, _LEVELS, 0.0, _WHOLE)
    for name, contrast in CONTRASTS.items():
        phantom = Phantom(anatomy, "mixed", _SEED, Settings(size, contrast=contrast))
        sampler = PhantomSampler([phantom], [levels], SLICES, seeds, _SEED, config.intensity)
        images, labels = zip(*(sampler.sample(n, n) for n in range(SLICES)), strict=True)
        yield Reference(name, np.stack(images), np.stack(labels))
    scan = _SCANS[network.task]
    yield Reference(scan, _scan_slices(scan, size, config.intensity), None)


def compare(start: Network, end: Network, reference: Reference) -> Change:
    """Return the Dice of two networks on a reference."""
    module = end.module  # of both, so that it is compiled once
    own, tuned = (_predict(module, n.variables, reference.images) for n in (start, end))
    if reference.labels is None:
        return Change(reference.name, None, mean_dice(tuned, own, end.task))
    before, after = (mean_dice(found, reference.labels, end.task) for found in (own, tuned))
    return Change(reference.name, before, after)


def mean_dice(
    found: UInt8[np.ndarray, "n h w"], labels: UInt8[np.ndarray, "n h w"], task: str
) -> float:
    """Return the mean Dice of the muscles that a reference shows, over all its slices; 0 if none.

    Args:
        found: Labels of a network.
        labels: Truth; pixels of `IGNORE` do not count.
        task: Of the network.
    """
    classes, known = TASKS[task].num_classes, labels != IGNORE
    counts = Counts(
        *(
            np.bincount(values, minlength=classes)
            for values in (labels[known & (found == labels)], found[known], labels[known])
        )
    )
    dice = np.where(counts.reference > 0, hard_dice(counts), np.nan)[1:]
    return float(np.nanmean(dice)) if np.isfinite(dice).any() else 0.0


def warning_of(changes: Sequence[Change]) -> str:
    """Return what weights say of what they have forgotten; empty if it is within bounds."""
    fallen = ", ".join(str(change) for change in changes if change.is_forgotten)
    return f"fine-tuning has lowered the Dice on synthetic images: {fallen}" if fallen else ""


def _scan_slices(
    name: str, size: tuple[int, int], intensity: ConfigDict
) -> Float[np.ndarray, "n h w"]:
    """Return slices of a sample scan from all of its height, in the window around the limbs."""
    slices = to_model_grid(load(SAMPLES[name]))[0]
    origins = find_limbs(body_mask(slices), size).origin.astype(int)
    images, (height, width) = normalize(slices, intensity), size
    chosen = np.linspace(0, len(slices) - 1, SLICES + 2).round().astype(int)[1:-1]
    windows = [(z, *origins[z]) for z in chosen]
    return np.stack([images[z, r : r + height, c : c + width] for z, r, c in windows])


def _predict(
    module: Module, variables: Variables, images: Float[np.ndarray, "n h w"]
) -> UInt8[np.ndarray, "n h w"]:
    return np.stack([np.asarray(_label(module, variables, image)) for image in images])


@partial(jax.jit, static_argnames="module")
def _label(module: Module, variables: Variables, image: Float[Array, "h w"]) -> UInt8[Array, "h w"]:
    logits = jnp.asarray(module.apply(variables, image[None, ..., None], train=False))
    return jnp.argmax(logits[0], -1).astype(jnp.uint8)
