"""Labels over a scan: the colors of every picture, whatever draws it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, UInt8

from musclejax import anatomy

FILL_ALPHA = 0.4
"""Opacity of a muscle; `anatomy.COLORS` are told apart with it."""
EDGE_ALPHA = 0.9
"""Opacity of its outermost pixels."""
_UNKNOWN = (0.6, 0.6, 0.6, 0.45)
"""Red, green, blue, alpha of pixels whose label is unknown: any number that no muscle has."""
Colors = Mapping[int, tuple[int, int, int]]


def _tints(colors: Colors, alpha: float) -> list[tuple[float, ...]]:
    background, *muscles = ([c / 255 for c in color] for color in colors.values())
    return [(*background, 0.0), *((*color, alpha) for color in muscles), _UNKNOWN]


def _layers(colors: Colors) -> Float[np.ndarray, "layers 4"]:
    return np.array(_tints(colors, FILL_ALPHA) + _tints(colors, EDGE_ALPHA))


LAYERS = _layers(anatomy.COLORS)
"""Red, green, blue, alpha by layer: the fills by label number, unknown; the outlines likewise."""
_ROWS = len(LAYERS) // 2


def layers(labels: UInt8[np.ndarray, "r c"]) -> UInt8[np.ndarray, "r c"]:
    """Return the row of `LAYERS` of each pixel."""
    return np.minimum(labels, np.uint8(_ROWS - 1)) + edges(labels) * np.uint8(_ROWS)


def edges(labels: UInt8[np.ndarray, "r c"]) -> Bool[np.ndarray, "r c"]:
    """Return the pixels with a neighbor of another label; beyond the rim there is background."""
    edge = labels > 0
    edge[1:-1, 1:-1] = False
    beside, below = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= beside
    edge[:, :-1] |= beside
    edge[1:] |= below
    edge[:-1] |= below
    return edge


def overlay(labels: UInt8[np.ndarray, "r c"]) -> Float[np.ndarray, "r c 4"]:
    """Return red, green, blue, alpha: muscles tinted, their outermost pixels opaque."""
    return LAYERS[layers(labels)]


def tint(labels: UInt8[np.ndarray, "r c"]) -> Float[np.ndarray, "r c 4"]:
    """Return the same without outlines."""
    return LAYERS[np.minimum(labels, _ROWS - 1)]


def blend(colors: Colors = anatomy.COLORS) -> UInt8[np.ndarray, "layers grays 3"]:
    """Return red, green, blue of each layer over each of 256 grays."""
    table = _layers(colors)[:, None]
    color, alpha, gray = 255 * table[..., :3], table[..., 3:], np.arange(256.0)[:, None]
    return np.round(color * alpha + gray * (1 - alpha)).astype(np.uint8)
