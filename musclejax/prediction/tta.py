"""Test-time augmentation (TTA) of limbs that the network is uncertain of, with an atlas prior.

Most limbs are left as they are. Where fat has replaced muscle, images tell the network little and
its confidence is low. Three more sources help there: its prediction for the mirror image, its
prediction for the limb rotated as the limbs of the atlas lie, and the atlas prior. The gain by scan
is in docs/development/weights-log.md.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8
from scipy import ndimage as ndi

from musclejax.anatomy import SLICE_SPACING_MM, Region
from musclejax.loops import Advance, result_of
from musclejax.models.network import Network
from musclejax.prediction import atlas
from musclejax.prediction.batches import Prediction, predict_labels
from musclejax.prediction.engines import STEPS
from musclejax.prediction.options import DEFAULTS, SegmentOptions
from musclejax.scan.sides import limb_split, split_by_muscles

CERTAIN, UNCERTAIN = 0.94, 0.91
"""Mean probability of the labels of a limb in a slice: from the higher one on it is left alone, at
the lower one and below the atlas prior has its full weight. Source: ours, chosen on synthetic and
real scans; docs/development/weights-log.md."""
MIN_PX = 100
"""Fewer labeled pixels than this are no limb."""
FLOOR = 0.02
"""Added to the prior of every class, as some limbs differ from the whole atlas."""
MAX_ROTATION_DEG = 25.0
"""Rotations are clipped to this: twice the phantom's standard deviation. Source: ours."""
Predict = Callable[[Float[np.ndarray, "n h w"]], Float[np.ndarray, "n h w k"]]
"""Images -> probabilities of every class by a network."""
Place = tuple[int, slice, slice]
"""Where a limb is in the images of a batch."""


class UncertainLimb(NamedTuple):
    """A limb in a slice that the network is uncertain of.

    Attributes:
        z: Index of the slice.
        columns: Those that show the limb.
        orders: Steps through the columns that make it look like a right limb: 1 as it lies, -1
            mirrored; both where the side of the limb is unknown.
        weight: Of the atlas prior, up to 1.
    """

    z: int
    columns: slice
    orders: tuple[int, ...]
    weight: float


def augment(
    network: Network,
    images: Float[np.ndarray, "z r c"],
    predicted: Prediction,
    splits: Int[np.ndarray, " z"] | None,
    options: SegmentOptions = DEFAULTS,
) -> int:
    """Change a prediction, in place, where it is uncertain; see `augment_steps`."""
    return result_of(augment_steps(network, images, predicted, splits, options))


def augment_steps(
    network: Network,
    images: Float[np.ndarray, "z r c"],
    predicted: Prediction,
    splits: Int[np.ndarray, " z"] | None,
    options: SegmentOptions,
) -> Generator[Advance, None, int]:
    """Change a prediction, in place, where it is uncertain.

    Args:
        network: A segmentation network.
        images: Its input.
        predicted: Its output for them.
        splits: As of `find_splits`.
        options: As they were for `predict_labels`.

    Yields:
        Slices done and their total, `images` and those with uncertain limbs added up.

    Returns:
        The number of slices with uncertain limbs.
    """
    limbs = list(find_uncertain(predicted, splits))
    indices = sorted({limb.z for limb in limbs})
    size = max(1, min(options.batch_size, len(images)))
    total = len(images) + len(indices)

    def predict(shown: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w k"]:
        # At least as many as there were in a batch, so that no other shape is compiled.
        full = shown[np.resize(np.arange(len(shown)), max(len(shown), size))]
        found = predict_labels(network, full, options)
        return found.probabilities[: len(shown)].astype(np.float32) / STEPS

    for start in range(0, len(indices), size):
        yield Advance(len(images) + start, total)
        chosen = indices[start : start + size]
        shown = images[chosen]
        before = predicted.probabilities[chosen].astype(np.float32) / STEPS
        means = (before + _mirrored(predict(_mirrored(shown)))) / 2
        own = [
            (limb, (chosen.index(limb.z), slice(None), limb.columns))
            for limb in limbs
            if limb.z in chosen
        ]
        if network.task in atlas.REGIONS:
            _rotate_and_weigh(atlas.load_atlas(network.task), predict, shown, means, own)
        for limb, here in own:
            there = (limb.z, slice(None), limb.columns)
            predicted.labels[there] = means[here].argmax(-1)
            predicted.probabilities[there] = np.round(means[here] * STEPS)
            predicted.confidence[there] = predicted.probabilities[there].max(-1)
    if indices:
        yield Advance(total, total)
    return len(indices)


def find_splits(
    body: Bool[np.ndarray, "z r c"],
    first_columns: Int[np.ndarray, " z"],
    labels: UInt8[np.ndarray, "z h w"] | None = None,
    region: Region | None = None,
) -> Int[np.ndarray, " z"] | None:
    """Return the first column of the left limb in each window, None if there is one limb.

    Args:
        body: Which pixels of the model slices show the body.
        first_columns: Where in the model grid the windows begin.
        labels: Of the windows; they part limbs that touch.
        region: Of the labels.
    """
    split = limb_split(body.transpose(2, 1, 0), SLICE_SPACING_MM)
    if split is None and labels is not None and region is not None:
        muscles = np.zeros((body.shape[2], labels.shape[1], len(labels)), np.uint8)
        for z, (section, first) in enumerate(zip(labels, first_columns, strict=True)):
            muscles[first : first + section.shape[1], :, z] = section.T
        split = split_by_muscles(muscles, SLICE_SPACING_MM, region)
    return None if split is None else np.floor(split).astype(int) + 1 - first_columns


def find_uncertain(
    predicted: Prediction, splits: Int[np.ndarray, " z"] | None
) -> Iterator[UncertainLimb]:
    """Yield the limbs that the network is uncertain of; see `augment_steps`."""
    width = predicted.labels.shape[2]
    pairs = zip(predicted.labels, predicted.confidence, strict=True)
    for z, (labels, confidence) in enumerate(pairs):
        # Columns run from the patient's right to the left.
        split = width if splits is None else int(np.clip(splits[z], 0, width))
        of_first: tuple[int, ...] = (1, -1) if splits is None else (1,)
        for columns, orders in ((slice(0, split), of_first), (slice(split, width), (-1,))):
            muscle = labels[:, columns] > 0
            if muscle.sum() < MIN_PX:
                continue
            mean = confidence[:, columns][muscle].mean() / STEPS
            weight = float(np.clip((CERTAIN - mean) / (CERTAIN - UNCERTAIN), 0, 1))
            if weight:
                yield UncertainLimb(z, columns, orders, weight)


def rotate(
    values: Num[np.ndarray, "h w *k"], degrees: float, center: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "h w *k"]:
    """Return an image, or one per class, rotated back by some degrees.

    Args:
        values: The image; linear between its pixels, and beyond as at its edge.
        degrees: As of `atlas.Prior`.
        center: The row and column that stay where they are.
    """
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    shift = center - matrix @ center
    channels = np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)
    rotated = [ndi.affine_transform(c, matrix, shift, order=1, mode="nearest") for c in channels]
    return np.stack(rotated, -1).reshape(values.shape)


def _mirrored(images: Float[np.ndarray, "n h w *k"]) -> Float[np.ndarray, "n h w *k"]:
    return images[:, :, ::-1]


def _rotate_and_weigh(
    templates: atlas.Atlas,
    predict: Predict,
    images: Float[np.ndarray, "n h w"],
    means: Float[np.ndarray, "n h w k"],
    limbs: Sequence[tuple[UncertainLimb, Place]],
) -> None:
    """Change probabilities of limbs, in place, by those of the rotated limbs and by the prior."""
    straight, rotations = images.copy(), []
    for limb, here in limbs:
        prior = _prior(templates, means[here], limb.orders)
        if prior is not None:
            degrees = float(np.clip(prior.degrees, -MAX_ROTATION_DEG, MAX_ROTATION_DEG))
            center = np.argwhere(means[here].argmax(-1) > 0).mean(0)
            straight[here] = rotate(images[here], degrees, center)
            rotations.append((limb, here, degrees, center))
    if not rotations:
        return
    both = predict(np.concatenate([straight, _mirrored(straight)]))
    found = (both[: len(images)] + _mirrored(both[len(images) :])) / 2
    for limb, here, degrees, center in rotations:
        means[here] = (means[here] + rotate(found[here], -degrees, center)) / 2
        prior = _prior(templates, means[here], limb.orders)
        if prior is not None:
            weighed = means[here] * (prior.probabilities + FLOOR) ** limb.weight
            means[here] = weighed / weighed.sum(-1, keepdims=True)


def _prior(
    templates: atlas.Atlas, probabilities: Float[np.ndarray, "h w k"], orders: Sequence[int]
) -> atlas.Prior | None:
    """Return the atlas prior of a limb as it lies, in the order that fits best."""
    priors = []
    for order in orders:
        prior = atlas.find_prior(templates, probabilities[:, ::order])
        if prior is not None:
            back = prior.probabilities[:, ::order]
            priors.append(atlas.Prior(back, prior.fit, order * prior.degrees))
    return max(priors, key=lambda prior: prior.fit, default=None)
