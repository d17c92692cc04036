"""Real anatomy to start from: limbs as stacks of tissue maps, with what deforming them needs."""

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, Int, UInt8, UInt32
from scipy import ndimage as ndi

from musclejax.errors import InputError
from musclejax.phantom.tissues import MARROW, MUSCLES, is_muscle

GROUPS = ("train", "held_out")
"""Templates to learn from, and those that no training has seen: of other people in the thigh, of
other levels of the same two people in the leg."""
SOURCES = {"thigh": ("thigh",), "leg": ("leg",)}
"""Region -> names of its template files in `musclejax/data/anatomy`."""
DEPTH_STEP, OUTSIDE_STEP = 0.25, 0.5
"""Pixels by step of the stored distances."""
_ZERO_DEPTH = 128


class Tiles(NamedTuple):
    """Templates as arrays.

    Attributes:
        packed: By pixel, from the lowest byte: tissue; nearest muscle; depth inside its border,
            negative in gaps; distance outside the fascia. See `pack`.
        centres: Row and column of the centre of every muscle; 0 where absent.
        sizes: Root of the area over pi of every muscle; 0 where absent. Pixels.
    """

    packed: UInt32[np.ndarray, "n h w"]
    centres: Float[np.ndarray, "n 13 2"]
    sizes: Float[np.ndarray, "n 13"]


@dataclass(frozen=True)
class Limb:
    """One limb of one person.

    Attributes:
        subject: Whose it is.
        tiles: Its templates, from the knee or ankle up.
        heights: Where they are between the limb's lowest template (0) and its highest (1),
            those of other groups included.
        length_mm: Distance of these two.
    """

    subject: str
    tiles: Int[np.ndarray, " n"]
    heights: Float[np.ndarray, " n"]
    length_mm: float

    def nearest(self, height: float) -> int:
        """Return the template that is nearest to a relative height."""
        return int(self.tiles[np.abs(self.heights - height).argmin()])


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The templates of a region, all of which look like a right limb.

    Attributes:
        region: "thigh" or "leg".
        tiles: Their arrays.
        limbs: Whose they are.
    """

    region: str
    tiles: Tiles
    limbs: tuple[Limb, ...]


def load_anatomy(region: str, group: str = "train", people: int = 0) -> Anatomy:
    """Load the templates that the package ships.

    Args:
        region: "thigh" or "leg".
        group: One of `GROUPS`.
        people: How many of them, the first in the table; 0 for all.

    Raises:
        InputError: If there is no such region or group.
    """
    if region not in SOURCES or group not in GROUPS:
        accepted = f"{' or '.join(SOURCES)}; {' or '.join(GROUPS)}"
        raise InputError("anatomy", f"{region}, {group}", accepted)
    tissues, rows, every = [], [], []
    for name in SOURCES[region]:
        folder = files("musclejax") / "data" / "anatomy"
        with (folder / f"{name}.csv").open(encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        every += table
        listed = [row for row in table if row["group"] == group]
        chosen = list(dict.fromkeys(row["subject"] for row in listed))[: people or None]
        listed = [row for row in listed if row["subject"] in chosen]
        stack = np.asanyarray(nib.load(str(folder / f"{name}.nii.gz")).dataobj)  # type: ignore
        tissues += [np.ascontiguousarray(stack[:, :, int(row["tile"])].T) for row in listed]
        rows += listed
    with ThreadPoolExecutor(2) as pool:  # the distance transforms release the interpreter
        packed = np.stack(list(pool.map(pack, tissues)))
    shapes = [_shapes(tile) for tile in tissues]
    tiles = Tiles(packed, np.stack([s[0] for s in shapes]), np.stack([s[1] for s in shapes]))
    return Anatomy(region, tiles, tuple(_limbs(rows, every)))


def pack(tissue: UInt8[np.ndarray, "h w"]) -> UInt32[np.ndarray, "h w"]:
    """Return a template with its distances, four bytes a pixel."""
    muscle = is_muscle(tissue)
    border = np.zeros(tissue.shape, bool)
    for axis in (0, 1):
        differs = np.diff(tissue.astype(int), axis=axis) != 0
        first = [slice(None)] * 2
        first[axis] = slice(1, None)
        border[tuple(first)] |= differs
        first[axis] = slice(None, -1)
        border[tuple(first)] |= differs
    inner = ndi.distance_transform_edt(~border)
    gap, nearest = ndi.distance_transform_edt(~muscle, return_indices=True)
    depth = np.where(muscle | (tissue == MARROW), inner, -gap)
    outside = ndi.distance_transform_edt(tissue == 0)
    layers = (
        tissue,
        tissue[tuple(nearest)],
        np.clip(np.round(depth / DEPTH_STEP), -_ZERO_DEPTH, 127) + _ZERO_DEPTH,
        np.clip(np.round(outside / OUTSIDE_STEP), 0, 255),
    )
    packed = np.zeros(tissue.shape, np.uint32)
    for place, layer in enumerate(layers):
        packed |= layer.astype(np.uint32) << np.uint32(8 * place)
    return packed


def _shapes(tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(1, MUSCLES + 1)
    area = np.bincount(tissue.ravel(), minlength=MUSCLES + 1)[: MUSCLES + 1].astype(np.float32)
    area[0] = 0
    centres = np.zeros((MUSCLES + 1, 2), np.float32)
    present = labels[area[1:] > 0]
    if len(present):
        centres[present] = ndi.center_of_mass(np.ones(tissue.shape), tissue, present)
    return centres, np.sqrt(area / np.pi).astype(np.float32)


def _limbs(rows: Sequence[dict[str, str]], every: Sequence[dict[str, str]]) -> list[Limb]:
    """Return the limbs of the chosen rows; the ends of a limb are those of all its rows."""
    limbs = []
    for name in dict.fromkeys(map(_limb_of, rows)):
        levels = np.array([_level_mm(row) for row in every if _limb_of(row) == name])
        low, length = levels.min(), max(float(np.ptp(levels)), 1.0)
        own = [n for n, row in enumerate(rows) if _limb_of(row) == name]
        own.sort(key=lambda n: _level_mm(rows[n]))
        heights = (np.array([_level_mm(rows[n]) for n in own]) - low) / length
        limbs.append(Limb(name[0], np.array(own), heights.astype(np.float32), length))
    return limbs


def _limb_of(row: dict[str, str]) -> tuple[str, str]:
    return row["subject"], row["limb"]


def _level_mm(row: dict[str, str]) -> float:
    return float(row["level_mm"])
