"""Scanner intensities to network input, by the weights' own configuration."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from ml_collections import ConfigDict
from skimage.filters import threshold_otsu

from musclejax.errors import InputError

_MARGIN_MM = 12.0
"""Around the body, where a picture is cropped."""


def normalize(slices: Float[np.ndarray, "z r c"], intensity: ConfigDict) -> np.ndarray:
    """Return the slices as the network expects them.

    Args:
        slices: Model slices of one scan, as the scanner gave them.
        intensity: `config.intensity` of the network: "raw", "divide" or "percentile".

    Returns:
        The same shape, float32. "percentile" maps the given percentile of the voxels above the
        scan's mean to 1: air does not count, and a few bright vessels do not matter.

    Raises:
        InputError: If the mode does not exist.

    Source: "raw" and "divide": facts-2021, section Inference; "percentile": ours.
    """
    match intensity.mode:
        case "raw":
            return slices
        case "divide":
            return np.asarray(slices / np.float32(intensity.divisor))
        case "percentile":
            bright = slices[slices > slices.mean(dtype=np.float64)]
            scale = np.percentile(bright, intensity.percentile) if bright.size else 1.0
            return np.asarray(slices / np.float32(scale if scale > 0 else 1.0))
    raise InputError("intensity.mode", repr(intensity.mode), "raw, divide or percentile")


def body_mask(image: Shaped[np.ndarray, "i j k"]) -> Bool[np.ndarray, "i j k"]:
    """Return the voxels that show the body rather than air.

    Half of Otsu's threshold above the darkest voxel, so that tissue far from the coil counts and
    negative values do no harm. Source: ours.
    """
    above = image - image.min()
    # Flat, lest three or four slices be taken for colors.
    return np.asarray(above >= threshold_otsu(above.ravel()) / 2)


def body_box(shown: Bool[np.ndarray, "x y z"], x_mm: float, y_mm: float) -> tuple[slice, slice]:
    """Return the part of the axial plane that shows anything, with a margin."""
    body = np.asarray(shown.any(2))
    box = []
    for axis, spacing in ((0, x_mm), (1, y_mm)):
        # A share of the pixels, not one: noise and wrap are not the body.
        share = np.cumsum(body.sum(1 - axis)) / max(1, int(body.sum()))
        first, last = np.searchsorted(share, (0.002, 0.998))
        margin = round(_MARGIN_MM / spacing)
        box.append(slice(max(0, int(first) - margin), int(last) + margin + 1))
    return box[0], box[1]
