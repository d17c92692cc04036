"""Overlap of two label maps: voxel counts, DSC, Jaccard and volume error.

Every measure takes counts, so that a muscle, a side, a slice or all of them are one sum away.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

from musclejax import anatomy

GROUPS = (*anatomy.SIDES, "both")
"""What is measured for each muscle: either side, and both as one label."""


def count_voxels(
    reference: UInt8[np.ndarray, "x y z"],
    prediction: UInt8[np.ndarray, "x y z"],
    sides: UInt8[np.ndarray, "x y z"],
    num_classes: int,
) -> Int[np.ndarray, "3 z groups classes"]:
    """Count the voxels of every label in every slice.

    Args:
        reference: Label numbers.
        prediction: Label numbers.
        sides: 1 + index into `anatomy.SIDES`; 0 belongs to neither side, but to "both".
        num_classes: Number of labels with background.

    Returns:
        Counts in the reference, in the prediction and in both at once; `GROUPS` on the third
        axis.
    """
    shape = reference.shape[2], len(anatomy.SIDES) + 1, num_classes
    # One number per slice, side and label, so that each count is one pass of bincount.
    place = np.arange(shape[0]) * shape[1] + sides

    def count(labels: np.ndarray, code: np.ndarray) -> np.ndarray:
        cells = code.astype(np.int64) * shape[2] + labels
        return np.bincount(cells.ravel(), minlength=int(np.prod(shape))).reshape(shape)

    same = reference == prediction
    counts = np.stack(
        [count(reference, place), count(prediction, place), count(reference[same], place[same])]
    )
    return np.concatenate([counts[:, :, 1:], counts.sum(2, keepdims=True)], axis=2)


def dsc(counts: Int[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """Return the hard Dice similarity coefficient, 0 to 1; NaN where both maps have nothing.

    Hard: of labels, as in the paper's test tables; the paper's training curves show the soft
    Dice of probabilities, which is another number.
    """
    reference, prediction, common = counts
    return _ratio(2 * common, reference + prediction)


def jaccard(counts: Int[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """Return intersection over union, 0 to 1; NaN where both maps have nothing."""
    reference, prediction, common = counts
    return _ratio(common, reference + prediction - common)


def volume_error_percent(counts: Int[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """Return 100 (prediction - reference) / reference; NaN where the reference has nothing."""
    reference, prediction, _ = counts
    return 100 * _ratio(prediction - reference, reference)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)
