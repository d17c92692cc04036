"""A second look at limbs of which the network is not sure: from other sides, and at an atlas.

Most limbs are left as they were. Where fat has replaced muscle a network has little to go by, says
so by its confidence, and is helped by what it says of the mirror image, by what it says of the limb
turned as other people's lie, and by where their muscles are. What this is worth on which scans:
docs/weights.md.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import ndimage as ndi

from musclejax.config import SLICE_SPACING_MM
from musclejax.inference import atlas
from musclejax.inference.engines import STEPS
from musclejax.inference.predictor import BATCH_SIZE, Prediction, predict_labels
from musclejax.models.weights import Network
from musclejax.scan.sides import limb_split

SURE, DOUBTFUL = 0.94, 0.91
"""Mean probability of the labels of a limb in a slice: from the higher one on it is left alone, at
the lower one and below the atlas counts in full. Source: ours, chosen on synthetic and real scans;
docs/weights.md."""
MIN_PX = 100
"""With fewer labelled pixels there is no limb to look at."""
FLOOR = 0.02
"""Share of templates added to every class, as there are limbs unlike all of them."""
MAX_TURN_DEG = 25.0
"""No limb is turned further: twice the phantom's standard deviation. Source: ours."""
Ask = Callable[[Float[np.ndarray, "n h w"]], Float[np.ndarray, "n h w k"]]
"""Images -> probabilities of every class by a network."""
Place = tuple[int, slice, slice]
"""Where a limb is in the images of a batch."""


class Doubtful(NamedTuple):
    """A limb in a slice, of which the network is not sure.

    Attributes:
        number: Of the slice.
        columns: Those that show the limb.
        orders: Steps through the columns that make it look like a right limb: 1 as it lies, -1
            mirrored; both where it is not known which limb it is.
        weight: How much the atlas counts, up to 1.
    """

    number: int
    columns: slice
    orders: tuple[int, ...]
    weight: float


def look_again(
    network: Network,
    images: Float[np.ndarray, "z r c"],
    seen: Prediction,
    splits: Int[np.ndarray, " z"] | None,
    *,
    batch_size: int = BATCH_SIZE,
    extend: Callable[[int], None] = lambda slices: None,
    advance: Callable[[int], None] = lambda slices: None,
    **options: Any,
) -> int:
    """Change what a network says of slices, in place, where it was not sure.

    Args:
        network: A segmentation network.
        images: What it has seen.
        seen: What it says.
        splits: As of `find_splits`.
        batch_size: As it was for `predict_labels`.
        extend: Called with the number of slices to be looked at twice.
        advance: Called with the number of them that are done, after each batch.
        options: Engine and precision, as for `predict_labels`.

    Returns:
        How many slices were looked at twice.
    """
    limbs = list(find_doubtful(seen, splits))
    numbers = sorted({limb.number for limb in limbs})
    extend(len(numbers))
    size = max(1, min(batch_size, len(images)))

    def ask(shown: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w k"]:
        # At least as many as there were in a batch, so that no other shape is compiled.
        full = shown[np.resize(np.arange(len(shown)), max(len(shown), size))]
        said = predict_labels(network, full, batch_size=size, **options)
        return said.probabilities[: len(shown)].astype(np.float32) / STEPS

    for start in range(0, len(numbers), size):
        some = numbers[start : start + size]
        shown, said = images[some], seen.probabilities[some].astype(np.float32) / STEPS
        means = (said + _mirrored(ask(_mirrored(shown)))) / 2
        own = [
            (limb, (some.index(limb.number), slice(None), limb.columns))
            for limb in limbs
            if limb.number in some
        ]
        if network.task in atlas.REGIONS:
            _look_as_others(atlas.load_atlas(network.task), ask, shown, means, own)
        for limb, here in own:
            there = (limb.number, slice(None), limb.columns)
            seen.labels[there] = means[here].argmax(-1)
            seen.probabilities[there] = np.round(means[here] * STEPS)
            seen.confidence[there] = seen.probabilities[there].max(-1)
        advance(len(some))
    return len(numbers)


def find_splits(
    body: Bool[np.ndarray, "z r c"], first_columns: Int[np.ndarray, " z"]
) -> Int[np.ndarray, " z"] | None:
    """Return the first column of the left limb in each window, None if there is one limb.

    Args:
        body: Which pixels of the model slices show the body.
        first_columns: Where in the model grid the windows begin.
    """
    split = limb_split(body.transpose(2, 1, 0), SLICE_SPACING_MM)
    return None if split is None else np.floor(split).astype(int) + 1 - first_columns


def find_doubtful(seen: Prediction, splits: Int[np.ndarray, " z"] | None) -> Iterator[Doubtful]:
    """Yield the limbs of which the network is not sure; see `look_again`."""
    width = seen.labels.shape[2]
    for number, (labels, confidence) in enumerate(zip(seen.labels, seen.confidence, strict=True)):
        # Columns run from the patient's right to the left.
        split = width if splits is None else int(np.clip(splits[number], 0, width))
        of_first: tuple[int, ...] = (1, -1) if splits is None else (1,)
        for columns, orders in ((slice(0, split), of_first), (slice(split, width), (-1,))):
            muscle = labels[:, columns] > 0
            if muscle.sum() < MIN_PX:
                continue
            sure = confidence[:, columns][muscle].mean() / STEPS
            weight = float(np.clip((SURE - sure) / (SURE - DOUBTFUL), 0, 1))
            if weight:
                yield Doubtful(number, columns, orders, weight)


def turn(
    values: Num[np.ndarray, "h w *k"], degrees: float, centre: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "h w *k"]:
    """Return an image, or one of every class, that lies straight where it was turned by degrees.

    Args:
        values: The image; linear between its pixels, and beyond as at its edge.
        degrees: As of `atlas.Expected`.
        centre: The row and column that stay where they are.
    """
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    shift = centre - matrix @ centre
    channels = np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)
    turned = [ndi.affine_transform(c, matrix, shift, order=1, mode="nearest") for c in channels]
    return np.stack(turned, -1).reshape(values.shape)


def _mirrored(images: Float[np.ndarray, "n h w *k"]) -> Float[np.ndarray, "n h w *k"]:
    return images[:, :, ::-1]


def _look_as_others(
    templates: atlas.Atlas,
    ask: Ask,
    images: Float[np.ndarray, "n h w"],
    means: Float[np.ndarray, "n h w k"],
    limbs: Sequence[tuple[Doubtful, Place]],
) -> None:
    """Change probabilities of limbs, in place, by those of the limbs turned and by the atlas."""
    straight, turns = images.copy(), []
    for limb, here in limbs:
        found = _expect(templates, means[here], limb.orders)
        if found is not None:
            degrees = float(np.clip(found.degrees, -MAX_TURN_DEG, MAX_TURN_DEG))
            centre = np.argwhere(means[here].argmax(-1) > 0).mean(0)
            straight[here] = turn(images[here], degrees, centre)
            turns.append((limb, here, degrees, centre))
    if not turns:
        return
    both = ask(np.concatenate([straight, _mirrored(straight)]))
    said = (both[: len(images)] + _mirrored(both[len(images) :])) / 2
    for limb, here, degrees, centre in turns:
        means[here] = (means[here] + turn(said[here], -degrees, centre)) / 2
        found = _expect(templates, means[here], limb.orders)
        if found is not None:
            weighed = means[here] * (found.shares + FLOOR) ** limb.weight
            means[here] = weighed / weighed.sum(-1, keepdims=True)


def _expect(
    templates: atlas.Atlas, probabilities: Float[np.ndarray, "h w k"], orders: Sequence[int]
) -> atlas.Expected | None:
    """Return what the atlas expects of a limb as it lies, in the order that fits best."""
    told = []
    for order in orders:
        found = atlas.expect(templates, probabilities[:, ::order])
        if found is not None:
            told.append(atlas.Expected(found.shares[:, ::order], found.fit, order * found.degrees))
    return max(told, key=lambda expected: expected.fit, default=None)
