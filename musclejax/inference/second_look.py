"""A second look at limbs of which the network is not sure: from the other side, and at an atlas.

Most limbs are left as they were. Where fat has replaced muscle a network has little to go by, says
so by its confidence, and is helped by what it says of the mirror image and by where muscles lie in
other people. What this is worth on which scans: docs/weights.md.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from musclejax.config import SLICE_SPACING_MM
from musclejax.inference import atlas
from musclejax.inference.engines import STEPS
from musclejax.inference.predictor import BATCH_SIZE, Prediction, predict_labels
from musclejax.models.weights import Network
from musclejax.scan.sides import limb_split

SURE, DOUBTFUL = 0.935, 0.89
"""Mean probability of the labels of a limb in a slice: from the higher one on it is left alone, at
the lower one and below the atlas counts in full. Source: ours, chosen on synthetic and real scans;
docs/weights.md."""
MIN_PX = 100
"""With fewer labelled pixels there is no limb to look at."""
FLOOR = 0.02
"""Share of templates added to every class, as there are limbs unlike all of them."""


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
    **options: Any,
) -> int:
    """Change what a network says of slices, in place, where it was not sure.

    Args:
        network: A segmentation network.
        images: What it has seen.
        seen: What it says.
        splits: As of `find_splits`.
        batch_size: As it was for `predict_labels`.
        options: The same.

    Returns:
        How many slices were looked at twice.
    """
    limbs = list(find_doubtful(seen, splits))
    numbers = sorted({limb.number for limb in limbs})
    if not numbers:
        return 0
    # As many as there were in a batch, so that no other shape is compiled.
    asked = np.resize(numbers, max(len(numbers), min(batch_size, len(images))))
    turned = np.ascontiguousarray(images[asked][:, :, ::-1])
    other = predict_labels(network, turned, batch_size=batch_size, **options)
    mirrored = dict(zip(numbers, other.probabilities[:, :, ::-1], strict=False))
    for limb in limbs:
        own = (limb.number, slice(None), limb.columns)
        both = seen.probabilities[own].astype(np.float32) + mirrored[limb.number][:, limb.columns]
        revised = _with_atlas(network.task, both / (2 * STEPS), limb)
        seen.labels[own] = revised.argmax(-1)
        seen.probabilities[own] = np.round(revised * STEPS)
        seen.confidence[own] = seen.probabilities[own].max(-1)
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


def _with_atlas(
    region: str, mean: Float[np.ndarray, "h w k"], limb: Doubtful
) -> Float[np.ndarray, "h w k"]:
    """Return probabilities of a limb weighed with what is expected there."""
    if region not in atlas.REGIONS:
        return mean
    templates = atlas.load_atlas(region)
    looks = [(atlas.expect(templates, mean[:, ::order]), order) for order in limb.orders]
    told = [(expected, order) for expected, order in looks if expected is not None]
    if not told:
        return mean
    expected, order = max(told, key=lambda pair: pair[0].fit)
    weighed = mean * (expected.shares[:, ::order] + FLOOR) ** limb.weight
    return weighed / weighed.sum(-1, keepdims=True)
