"""The sample scan and the weights that ship: what commands are timed on, and labels compared on."""

import math
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Shaped, UInt8

from musclejax.anatomy import SLICE_PX
from musclejax.bench.job import TASK, Job
from musclejax.bench.record import Accuracy
from musclejax.bundled import DEFAULT_WEIGHTS
from musclejax.errors import InputError, one_line
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.segment import segment
from musclejax.prediction.windows import STEP_PX, find_windows
from musclejax.samples import SAMPLES
from musclejax.scan.grid import to_model_grid
from musclejax.scan.study import load

SAMPLE, OTHER_SAMPLE = SAMPLES["test_up"], SAMPLES["test_low"]
BUNDLED = {"slim32": DEFAULT_WEIGHTS}
"""Variant -> bundled weights of it; the others get random ones. Noise is slower to compress and to
draw than muscles are, so their stage "save" is overstated."""
BUNDLED_VARIANT = next(iter(BUNDLED))


def trained(weights: str | None) -> dict[str, str]:
    """Return variant -> trained weights of it: those that ship, or others in their place.

    Raises:
        InputError: If there are no such weights, or no network of `TASK` is among them.
    """
    if weights is None:
        return BUNDLED
    headers = load_weights(weights).headers
    if TASK not in headers:
        raise InputError("--weights", f"{weights} without a {TASK} network", f"one for the {TASK}")
    return {str(headers[TASK].config.variant): weights}


@lru_cache(maxsize=2)
def bundled_weights(variant: str) -> Weights:
    """Return the trained weights of a variant; kept, so that networks stay compiled."""
    return load_weights(BUNDLED[variant])


@lru_cache(maxsize=2)
def own_window(variant: str) -> tuple[int, int]:
    """Return height and width of the windows that `segment` cuts out of the sample scan, in pixels.

    Those of random weights are whole slices.
    """
    if variant not in BUNDLED:
        return SLICE_PX, SLICE_PX
    volume = load(SAMPLE)
    slices, _ = to_model_grid(volume, "world")
    network, body = bundled_weights(variant).networks[TASK], slices >= volume.lps.body_threshold
    step = math.lcm(STEP_PX, network.spec.size_multiple)
    return find_windows(body, tuple(network.config.data.crop_px), step).size


def label_sample(job: Job) -> UInt8[np.ndarray, "i j k"]:
    """Return the labels of the sample scan as a job's engine and precision give them."""
    options = SegmentOptions(
        region=TASK,  # type: ignore[arg-type]
        engine=job.engine,  # type: ignore[arg-type]
        precision=job.precision,  # type: ignore[arg-type]
        batch_size=job.batch_size,
        tta=False,
    )
    return segment(SAMPLE, bundled_weights(job.variant), options).labels


def read_reference(path: Path) -> Shaped[np.ndarray, "i j k"]:
    """Return reference labels of the sample scan.

    Raises:
        InputError: If it is not a label map of the sample scan's size.
    """
    shape = nib.load(SAMPLE).shape  # type: ignore[attr-defined]
    accepted = f"a NIfTI label map of {SAMPLE.name}, {' x '.join(map(str, shape))} voxels"
    try:
        labels = np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    except (OSError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise InputError("--reference", f"{path}, {one_line(error)}", accepted) from error
    if labels.shape != shape:
        found = f"{path} of {' x '.join(map(str, labels.shape))} voxels"
        raise InputError("--reference", found, accepted)
    return labels


def accuracy(
    labels: Shaped[np.ndarray, "i j k"],
    by_reference_engine: Shaped[np.ndarray, "i j k"] | None,
    drawn: Shaped[np.ndarray, "i j k"] | None,
) -> Accuracy:
    """Return how good labels are.

    Args:
        labels: Of the sample scan.
        by_reference_engine: Those of jax in float32.
        drawn: Reference labels, in some slices along the last axis.
    """
    return Accuracy(
        None if by_reference_engine is None else agreement(labels, by_reference_engine),
        None if drawn is None else mean_dsc(labels, drawn),
    )


def agreement(a: Shaped[np.ndarray, "i j k"], b: Shaped[np.ndarray, "i j k"]) -> float:
    """Return the share of equal labels where either has one; 1 if neither has any."""
    foreground = (a > 0) | (b > 0)
    return float((a == b)[foreground].mean()) if foreground.any() else 1.0


def mean_dsc(labels: Shaped[np.ndarray, "i j k"], drawn: Shaped[np.ndarray, "i j k"]) -> float:
    """Return the mean Dice over the drawn muscles, in the slices that have any; NaN without one."""
    shown = drawn.any((0, 1))
    a, b = labels[..., shown], drawn[..., shown]
    numbers = np.setdiff1d(b, [0])
    each = [2 * ((a == n) & (b == n)).sum() / ((a == n).sum() + (b == n).sum()) for n in numbers]
    return float(np.mean(each)) if each else float("nan")
