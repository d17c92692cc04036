"""A second look at limbs of which the network is not sure: from the other side, and at an atlas.

Most limbs are left as they were. Where fat has replaced muscle a network has little to go by, says
so by its confidence, and is helped by what it says of the mirror image and by where muscles lie in
other people. What this is worth on which scans: docs/weights.md.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from musclejax.config import SLICE_SPACING_MM
from musclejax.inference import atlas
from musclejax.inference.engines import STEPS, Images, Labeller
from musclejax.inference.predictor import Prediction
from musclejax.scan.sides import limb_split

SURE, DOUBTFUL = 0.935, 0.89
"""Mean probability of the labels of a limb in a slice: from the higher one on it is left alone, at
the lower one and below the atlas counts in full. Source: ours, chosen on synthetic and real scans;
docs/weights.md."""
MIN_PX = 100
"""With fewer labelled pixels there is no limb to look at."""
FLOOR = 0.02
"""Share of templates added to every class, as there are limbs unlike all of them."""


class Part(NamedTuple):
    """A limb in a slice.

    Attributes:
        columns: Of the slice that show it.
        orders: Steps through the columns that make it look like a right limb: 1 as it lies, -1
            mirrored; both where it is not known which limb it is.
    """

    columns: slice
    orders: tuple[int, ...]


class SecondLook:
    """What to say of slices after a second look; see `predictor.Revise`.

    Args:
        region: Of the network.
        body: Which pixels of the slices show the body.
        first_columns: Where in the model grid the network's windows begin, by slice.

    Attributes:
        slices: How many have been looked at twice so far.
    """

    def __init__(
        self, region: str, body: Bool[np.ndarray, "z r c"], first_columns: np.ndarray
    ) -> None:
        """Tell the limbs apart."""
        self.slices = 0
        self._region = region
        split = limb_split(body.transpose(2, 1, 0), SLICE_SPACING_MM)
        self._splits = None if split is None else np.floor(split).astype(int) + 1 - first_columns

    def __call__(
        self, label: Labeller, images: Images, first: Prediction, start: int
    ) -> Prediction:
        """Return a batch's prediction, changed where the network was not sure.

        Args:
            label: The network.
            images: The batch; it may have more slices than the prediction.
            first: What the network says of it, probabilities included.
            start: Number of the batch's first slice.
        """
        assert first.probabilities is not None
        weights = [self._weights(first, z, start) for z in range(len(first.labels))]
        twice = sum(any(weight for weight, _ in parts) for parts in weights)
        if not twice:
            return first
        self.slices += twice
        mirrored = np.asarray(label(np.ascontiguousarray(images[:, :, ::-1]))[2])[:, :, ::-1]
        changed = first._replace(
            labels=first.labels.copy(),
            confidence=first.confidence.copy(),
            probabilities=first.probabilities.copy(),
        )
        assert changed.probabilities is not None
        for z, parts in enumerate(weights):
            for weight, part in parts:
                if not weight:
                    continue
                own = (z, slice(None), part.columns)
                mean = (first.probabilities[own] + mirrored[own].astype(np.float32)) / (2 * STEPS)
                revised = self._with_atlas(mean, weight, part.orders)
                changed.labels[own] = revised.argmax(-1)
                changed.probabilities[own] = np.round(revised * STEPS)
                changed.confidence[own] = changed.probabilities[own].max(-1)
        return changed

    def _weights(self, first: Prediction, z: int, start: int) -> list[tuple[float, Part]]:
        """Return how much the atlas counts in each limb of a slice; 0 where the network is sure."""
        found = []
        for part in self._parts(start + z, first.labels.shape[2]):
            muscle = first.labels[z, :, part.columns] > 0
            if muscle.sum() < MIN_PX:
                continue
            sure = first.confidence[z, :, part.columns][muscle].mean() / STEPS
            found.append((float(np.clip((SURE - sure) / (SURE - DOUBTFUL), 0, 1)), part))
        return found

    def _parts(self, z: int, width: int) -> Iterator[Part]:
        """Yield the limbs of a slice; columns run from the patient's right to the left."""
        if self._splits is None:
            yield Part(slice(0, width), (1, -1))
        else:
            split = int(np.clip(self._splits[z], 0, width))
            yield Part(slice(0, split), (1,))
            yield Part(slice(split, width), (-1,))

    def _with_atlas(
        self, mean: Float[np.ndarray, "h w k"], weight: float, orders: tuple[int, ...]
    ) -> Float[np.ndarray, "h w k"]:
        """Return probabilities of a limb weighed with what is expected there."""
        if self._region not in atlas.REGIONS:
            return mean
        templates = atlas.load_atlas(self._region)
        looks = [(atlas.expect(templates, mean[:, ::order]), order) for order in orders]
        told = [(expected, order) for expected, order in looks if expected is not None]
        if not told:
            return mean
        expected, order = max(told, key=lambda pair: pair[0].fit)
        weighed = mean * (expected.shares[:, ::order] + FLOOR) ** weight
        return weighed / weighed.sum(-1, keepdims=True)
