"""Real anatomy to start from: limbs as stacks of tissue maps, with distances for deforming them."""

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32
from scipy import ndimage as ndi

from musclejax.errors import InputError
from musclejax.phantom.tissues import MUSCLES, is_bone, is_muscle

GROUPS = ("train", "held_out")
"""Templates to learn from, and those that no training has seen: of other people; in the leg also of
other slices of two that are trained on."""
SOURCES = {"thigh": ("thigh", "limbs_thigh"), "leg": ("leg", "limbs_leg")}
"""Region -> names of its template files in `musclejax/data/anatomy`; the last has whole limbs."""
DEPTH_STEP, OUTSIDE_STEP = 0.25, 0.5
"""Pixels by step of the stored distances."""
_ZERO_DEPTH = 128
WHOLE = 0.9
"""A limb whose templates cover more levels is whole."""
_REACH = 0.02
"""Levels beyond its templates that a limb still shows: 8 mm."""
Row = dict[str, str]
"""Of the table of templates."""


class Tiles(NamedTuple):
    """Templates as arrays.

    Attributes:
        packed: By pixel, from the lowest byte: tissue; nearest muscle; depth inside its border,
            negative in gaps; distance outside the fascia. Where muscle touches bone there is no
            border of the muscle: it is attached. See `pack`.
        centers: Row and column of the center of every muscle; 0 where absent.
        sizes: Root of the area over pi of every muscle; 0 where absent. Pixels.
    """

    packed: UInt32[Array | np.ndarray, "n h w"]
    centers: Float[Array | np.ndarray, "n 13 2"]
    sizes: Float[Array | np.ndarray, "n 13"]


def choose(tiles: Tiles, chosen: Int[Array | np.ndarray, "*m"]) -> Tiles:
    """Return some of the templates."""
    return Tiles(*(field[chosen] for field in tiles))


@dataclass(frozen=True)
class Limb:
    """One limb of one person.

    Attributes:
        subject: Name of the person.
        tiles: Its templates, from the knee or ankle up.
        heights: Their relative heights between the limb's lowest template (0) and its highest (1),
            those of other groups included. Of whole limbs: between the levels where those of
            other people begin and end, and beyond.
        length_mm: Distance between these two.
        levels: Level of each template: 0 hip joint, 1 knee joint line, 2 ankle joint.
        whole: Whether the templates cover the whole region.
    """

    subject: str
    tiles: Int[np.ndarray, " n"]
    heights: Float[np.ndarray, " n"]
    length_mm: float
    levels: Float[np.ndarray, " n"]
    whole: bool

    def nearest(self, height: float) -> int:
        """Return the template that is nearest to a relative height."""
        return int(self.tiles[np.argmin(np.abs(self.heights - height))])

    def at(self, levels: Float[np.ndarray, " g"]) -> Int[np.ndarray, " g"]:
        """Return the templates that are nearest to some levels."""
        return self.tiles[np.argmin(np.abs(levels[:, None] - self.levels), axis=1)]

    def has(self, levels: Float[np.ndarray, " g"]) -> Bool[np.ndarray, " g"]:
        """Return which levels the templates show."""
        return (levels >= self.levels.min() - _REACH) & (levels <= self.levels.max() + _REACH)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The templates of a region, all of which look like a right limb.

    Attributes:
        region: "thigh" or "leg".
        tiles: Their arrays.
        limbs: Limbs that they belong to.
    """

    region: str
    tiles: Tiles
    limbs: tuple[Limb, ...]


def load_anatomy(region: str, group: str = "train", people: int = 0) -> Anatomy:
    """Load the templates that the package ships; once, as their distances take seconds.

    Args:
        region: "thigh" or "leg".
        group: One of `GROUPS`.
        people: Number of people, the first in the table; 0 for all.

    Raises:
        InputError: If there is no such region or group.
    """
    return _load(region, group, people)


@lru_cache(maxsize=4)
def _load(region: str, group: str, people: int) -> Anatomy:
    tissues, rows, every = read_tissues(region, group, people)
    with ThreadPoolExecutor(2) as pool:  # the distance transforms release the interpreter
        packed = np.stack(list(pool.map(pack, tissues)))
    return Anatomy(region, Tiles(packed, *measure(tissues)), tuple(_limbs(rows, every)))


def read_tissues(
    region: str, group: str = "train", people: int = 0
) -> tuple[UInt8[np.ndarray, "n h w"], list[Row], list[Row]]:
    """Read the tissue maps of the templates that the package ships.

    Args:
        region: As for `load_anatomy`.
        group: The same.
        people: The same.

    Returns:
        The maps, the row of the table of each, and the rows of all groups and people.

    Raises:
        InputError: If there is no such region or group.
    """
    if region not in SOURCES or group not in GROUPS:
        accepted = f"{' or '.join(SOURCES)}; {' or '.join(GROUPS)}"
        raise InputError("anatomy", f"{region}, {group}", accepted)
    tissues, rows, every = [], [], []
    for name in SOURCES[region]:
        folder, table = files("musclejax") / "data" / "anatomy", read_table(name)
        every += table
        listed = [row for row in table if row["group"] == group]
        chosen = list(dict.fromkeys(row["subject"] for row in listed))[: people or None]
        listed = [row for row in listed if row["subject"] in chosen]
        stack = np.asanyarray(nib.load(str(folder / f"{name}.nii.gz")).dataobj)  # type: ignore
        tissues += [stack[:, :, int(row["tile"])].T for row in listed]
        rows += listed
    return np.stack(tissues), rows, every


def read_table(name: str) -> list[Row]:
    """Read the table of some templates that the package ships, by their name in `SOURCES`."""
    path = files("musclejax") / "data" / "anatomy" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pack(tissue: UInt8[np.ndarray, "h w"]) -> UInt32[np.ndarray, "h w"]:
    """Return a template with its distances, four bytes a pixel."""
    muscle, bone = is_muscle(tissue), is_bone(tissue)
    gap, nearest = ndi.distance_transform_edt(~muscle, return_indices=True)
    inside, attached = (
        ndi.distance_transform_edt(~_borders(tissue, left_out)) for left_out in (None, bone)
    )
    depth = np.select([bone, muscle], [inside, attached], -gap)
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


def _borders(
    tissue: UInt8[np.ndarray, "h w"], left_out: Bool[np.ndarray, "h w"] | None = None
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels beside another tissue; what borders on `left_out` does not count."""
    border = np.zeros(tissue.shape, bool)
    counts = ~border if left_out is None else ~left_out
    for axis in (0, 1):
        ahead, behind = ([slice(None)] * 2 for _ in range(2))
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        one, other = tuple(ahead), tuple(behind)
        differs = (tissue[one] != tissue[other]) & counts[one] & counts[other]
        border[one] |= differs
        border[other] |= differs
    return border


def measure(
    tissues: UInt8[np.ndarray, "n h w"],
) -> tuple[Float[np.ndarray, "n 13 2"], Float[np.ndarray, "n 13"]]:
    """Return centers and sizes of the muscles of tissue maps; see `Tiles`."""
    rows, columns = (grid.ravel() for grid in np.indices(tissues.shape[1:]))
    sums = np.zeros((len(tissues), 3, MUSCLES + 1))
    for tissue, own in zip(tissues.reshape(len(tissues), -1), sums, strict=True):
        for place, weights in enumerate((None, rows, columns)):
            own[place, 1:] = np.bincount(tissue, weights, MUSCLES + 1)[1 : MUSCLES + 1]
    areas = sums[:, 0]
    centers = (sums[:, 1:] / np.maximum(areas, 1)[:, None]).transpose(0, 2, 1)
    return centers.astype(np.float32), np.sqrt(areas.astype(np.float32) / np.pi)


def _limbs(rows: Sequence[Row], every: Sequence[Row]) -> list[Limb]:
    """Return the limbs of the chosen rows; the ends of a limb are those of all its rows."""
    places = {
        name: np.array([_place(r) for r in every if _limb_of(r) == name]) for name in _names(every)
    }
    whole = {name: bool(np.ptp(own[:, 1]) > WHOLE) for name, own in places.items()}
    usual = [own[:, 1] for name, own in places.items() if not whole[name]]
    ends = np.median([[levels.max(), levels.min()] for levels in usual], axis=0) if usual else None
    limbs = []
    for name in _names(rows):
        place = places[name][np.argsort(-places[name][:, 1])]  # from below
        low, high = place[[0, -1], 0]
        if whole[name] and ends is not None:
            low, high = np.interp(-ends, -place[:, 1], place[:, 0])
        length = max(float(high - low), 1.0)
        own = [n for n, row in enumerate(rows) if _limb_of(row) == name]
        own.sort(key=lambda n: _place(rows[n])[0])
        mm, levels = np.array([_place(rows[n]) for n in own], np.float32).T
        heights = ((mm - low) / length).astype(np.float32)
        limbs.append(Limb(name[0], np.array(own), heights, length, levels, whole[name]))
    return limbs


def _limb_of(row: Row) -> tuple[str, str]:
    return row["subject"], row["limb"]


def _names(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(map(_limb_of, rows)))


def _place(row: Row) -> tuple[float, float]:
    """Return the height in mm, and the level."""
    return float(row["level_mm"]), float(row["level"])
