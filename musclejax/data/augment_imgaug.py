"""The paper's transformations with imgaug, step by step: the reference of `augment`.

Each step resamples the result of the step before, as chained augmenters do. imgaug comes with the
extra `musclejax[imgaug]`, and its OpenCV needs the system library libGL. Its last release, 0.4.0
of 2020, reads a table that NumPy 2 no longer has; only this module knows.

Order 3 in imgaug: limbs and elastic fields go through OpenCV, a cubic convolution at positions
rounded to 1/32 pixel; the piecewise affine goes through scikit-image, a cubic B-spline.
"""

import warnings
from collections.abc import Collection, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from musclejax.data.augment import Augmentation, Limbs, shift_bounds
from musclejax.errors import InputError

STEPS = ("translation", "rotation", "piecewise", "elastic")
"""In the paper's order."""
_CUBIC = 3
_SCALAR_TYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64, np.longdouble],
}
"""Contents of `np.sctypes`, which imgaug 0.4.0 reads and NumPy 2.0 removed."""
_REMEDY = (
    "Install it: pip install 'musclejax[imgaug]'; its OpenCV needs the system library libGL "
    "(Debian, Ubuntu: apt install libgl1)."
)

Pair = tuple[Float[np.ndarray, "r c"], UInt8[np.ndarray, "r c"]]
"""An image and its labels."""


def augment(
    seed: int | Sequence[int],
    image: Float[np.ndarray, "r c"],
    labels: UInt8[np.ndarray, "r c"],
    limbs: Limbs,
    settings: Augmentation,
) -> tuple[Float[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Return one augmented slice and its labels.

    Args:
        seed: Source of all randomness.
        image: Intensities on the model grid.
        labels: Label numbers; `IGNORE` moves like any other.
        limbs: Where the limbs are.
        settings: Ranges; `settings.size` is the shape of the result.

    Raises:
        InputError: If imgaug cannot be imported.

    Source: paper, "Preprocessing and data augmentation".
    """
    rng = np.random.default_rng(seed)
    happens = rng.random(len(STEPS)) < settings.probability
    steps = [step for step, does in zip(STEPS, happens, strict=True) if does and settings.enabled]
    return apply_steps(steps, rng, image, labels, limbs, settings)


def apply_steps(
    steps: Collection[str],
    rng: np.random.Generator,
    image: Float[np.ndarray, "r c"],
    labels: UInt8[np.ndarray, "r c"],
    limbs: Limbs,
    settings: Augmentation,
) -> tuple[Float[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Apply the named ones of `STEPS`, then return the window; see `augment`."""
    iaa = load().augmenters
    pair = image.copy(), labels.copy()
    if "translation" in steps or "rotation" in steps:
        _move_limbs(steps, rng, pair, limbs, settings)
    (row, column), (height, width) = np.asarray(limbs.origin, int), settings.size
    window = (slice(row, row + height), slice(column, column + width))
    pair = pair[0][window], pair[1][window]
    if "piecewise" in steps:
        # scikit-image 0.26 deprecates what imgaug calls. No catch_warnings: it is not thread-safe,
        # and batches are made in a thread.
        warnings.filterwarnings("ignore", "`estimate` is deprecated", FutureWarning, "imgaug")
        points = settings.piecewise_points
        scale = settings.piecewise_scale
        pair = _apply(iaa.PiecewiseAffine(scale, points, points, _CUBIC, seed=_seed(rng)), pair)
    if "elastic" in steps:
        strength, sigma = settings.elastic_strength_px, settings.elastic_sigma_px
        pair = _apply(iaa.ElasticTransformation(strength, sigma, _CUBIC, seed=_seed(rng)), pair)
    return pair


@cache
def load() -> ModuleType:
    """Import imgaug, with the table that it needs in NumPy while it is imported.

    Raises:
        InputError: If it is not installed, or the system lacks libGL.
    """
    missing = not hasattr(np, "sctypes")
    if missing:
        vars(np)["sctypes"] = _SCALAR_TYPES
    try:
        import imgaug.augmenters
    except ImportError as error:
        found = f"imgaug, which cannot be imported ({error})"
        accepted = "jax, or imgaug once it works"
        raise InputError("augment.backend", found, accepted, _REMEDY) from None
    finally:
        if missing:
            del vars(np)["sctypes"]
    return imgaug


def _move_limbs(
    steps: Collection[str],
    rng: np.random.Generator,
    pair: Pair,
    limbs: Limbs,
    settings: Augmentation,
) -> None:
    """Translate and rotate, in place, each limb on its side of the line that parts them."""
    imgaug = load()
    parameters, affine = imgaug.parameters, partial(imgaug.augmenters.Affine, order=_CUBIC)
    low, high = (np.asarray(bound) for bound in _shift_bounds(limbs, settings.size))
    line = int(np.floor(limbs.split)) + 1
    boxes = np.asarray(limbs.boxes)
    for side, half in enumerate((slice(0, line), slice(line, pair[0].shape[1]))):
        if np.isnan(boxes[side]).any():
            continue
        augmenters = []
        # Translation comes first in the paper. Turning a limb about its own middle gives the same
        # before and after it moves; before, the middle is known.
        if "rotation" in steps:
            turn = settings.rotation_deg
            augmenters.append(affine(rotate=(-turn, turn), seed=_seed(rng)))
        if "translation" in steps:
            # A bare pair of numbers would mean whole pixels.
            ends = zip(low[side].tolist(), high[side].tolist(), strict=True)
            down, across = (parameters.Uniform(*bounds) for bounds in ends)
            augmenters.append(affine(translate_px={"x": across, "y": down}, seed=_seed(rng)))
        part = pair[0][:, half], pair[1][:, half]
        moved = _about_middle(augmenters, part, boxes[side] - [0, 0, half.start, half.start])
        part[0][:], part[1][:] = moved


def _about_middle(
    augmenters: Sequence[Any], pair: Pair, box: Float[np.ndarray, "4"]
) -> tuple[Float[np.ndarray, "r c"], UInt8[np.ndarray, "r c"]]:
    """Apply augmenters where the middle of a box is the middle of the image: imgaug turns there."""
    rows, columns = pair[0].shape
    excess = int(rows - 1 - box[0] - box[1]), int(columns - 1 - box[2] - box[3])
    pads = [(max(0, n), max(0, -n)) for n in excess]
    pair = np.pad(pair[0], pads), np.pad(pair[1], pads)
    for augmenter in augmenters:
        pair = _apply(augmenter, pair)
    (top, _), (left, _) = pads
    inner = (slice(top, top + rows), slice(left, left + columns))
    return pair[0][inner], pair[1][inner]


def _apply(augmenter: Any, pair: Pair) -> Pair:
    """Apply one augmenter to the image and, by the nearest pixel, to the labels."""
    image, labels = pair
    maps = load().augmentables.segmaps.SegmentationMapsOnImage(labels, shape=image.shape)
    image, maps = augmenter(image=image, segmentation_maps=maps)
    return image, maps.get_arr()


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


_shift_bounds = jax.jit(shift_bounds, static_argnames="size")
