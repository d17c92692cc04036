"""Left and right of scans with touching limbs, lone limbs, objects and stray voxels.

The scans are the two samples, five slices of each, with the label maps in `stored_labels/`; sample
axes run to the right and to the front. Limbs are taken away, moved together, or joined by objects
of the brightness of fat. The sides of the unchanged samples are the reference: they were looked at.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest

from musclejax import anatomy
from musclejax.samples import SAMPLES
from musclejax.scan.sides import Sides, find_sides
from musclejax.scan.volume import Volume

STORED = Path(__file__).parent / "stored_labels"
EVERY, FIRST = 7, 2  # as in test_stored_labels.py
REGION = {"test_up": anatomy.REGIONS["thigh"], "test_low": anatomy.REGIONS["leg"]}
LEFT, RIGHT = 1, 2
OBJECT, MIRRORED, ABOVE = "is the rest an object?", "on the other side", "one above the other"


class Scan(NamedTuple):
    """A scan, its labels and their true sides, as [right, front, head] arrays of 1.5 x 3 mm."""

    data: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    start_mm: float = -240.0

    def found(self, region: anatomy.Region) -> Sides:
        affine = np.diag([1.5, 3.0, 42.0, 1.0])
        affine[0, 3] = self.start_mm
        return find_sides(Volume(self.data, affine), self.labels, region)

    def wrong(self, sides: Sides) -> float:
        """Return the share of labeled voxels on the wrong side."""
        labeled = self.labels > 0
        return float((labeled & (sides.voxels != self.sides)).sum() / max(1, labeled.sum()))


@cache
def sample(name: str) -> Scan:
    image, stored = nib.load(SAMPLES[name]), nib.load(STORED / f"{name}.nii.gz")
    data = np.asarray(image.dataobj, np.float32)[..., FIRST::EVERY]
    labels = np.asarray(stored.dataobj)
    sides = find_sides(Volume(data, stored.affine), labels, REGION[name])
    assert (sides.method, sides.warnings) == ("gap", ())
    return Scan(*(a[:, ::2] for a in (data, labels, sides.voxels)))


Change = Callable[[Scan], Scan]


def unchanged(scan: Scan) -> Scan:
    return scan


def only(side: int, stump_slices: int = 0, *, labeled: bool = True) -> Change:
    """Keep one limb, and the lowest slices of the other as its stump."""

    def change(scan: Scan) -> Scan:
        other = scan.sides != side
        gone = other.copy()
        gone[..., :stump_slices] = False
        data, labels = np.where(gone, 0, scan.data), np.where(gone, 0, scan.labels)
        return scan._replace(data=data, labels=labels if labeled else np.where(other, 0, labels))

    return change


def bright(scan: Scan) -> float:
    return float(np.percentile(scan.data[scan.data > scan.data.mean()], 90))


def ellipse(width_mm: float, height_mm: float, toward: int) -> Change:
    """Add an object 5 mm from the body, to the right (1) or to the left (-1)."""

    def change(scan: Scan) -> Scan:
        columns = np.flatnonzero((scan.data > bright(scan) / 3).any((1, 2)))
        edge = columns[-1] if toward > 0 else columns[0]
        width, height = scan.data.shape[:2]
        x, y = np.meshgrid(np.arange(width) * 1.5, np.arange(height) * 3.0, indexing="ij")
        x0, y0 = edge * 1.5 + toward * (5 + width_mm / 2), 240
        inside = ((x - x0) / width_mm) ** 2 + ((y - y0) / height_mm) ** 2 < 0.25
        data = np.where(inside[..., None], np.float32(bright(scan)), scan.data)
        return scan._replace(data=data, labels=np.where(data == scan.data, scan.labels, 0))

    return change


def bottle(mm: float, toward: int) -> Change:
    return ellipse(mm, mm, toward)


def hand(toward: int) -> Change:
    return ellipse(30, 95, toward)


def stray(factor: float, x: int, y: int) -> Change:
    """Make one voxel as bright as this many times fat."""

    def change(scan: Scan) -> Scan:
        data = scan.data.copy()
        data[x, y, 2] = factor * bright(scan)
        return scan._replace(data=data)

    return change


def squeezed(mm: float) -> Change:
    """Take away the middle of the scan, so that the limbs touch."""

    def change(scan: Scan) -> Scan:
        middle = int(np.flatnonzero((scan.sides == RIGHT).all((1, 2)))[0])
        cut = round(mm / 3)
        keep = np.r_[: middle - cut, middle + cut : len(scan.data)]
        return scan._replace(data=scan.data[keep], labels=scan.labels[keep], sides=scan.sides[keep])

    return change


def no_gap(scan: Scan) -> Scan:
    """Fill all between the limbs, as where thighs touch from front to back."""
    shown = np.flatnonzero((scan.labels > 0).any((0, 2)))
    data = scan.data.copy()
    data[60:260, shown[0] : shown[-1]] = bright(scan)
    return scan._replace(data=data)


def transposed(scan: Scan) -> Scan:
    """Exchange rows and columns."""
    data, labels, sides = (np.swapaxes(a, 0, 1) for a in (scan.data, scan.labels, scan.sides))
    return scan._replace(data=data, labels=np.zeros_like(labels), sides=sides)


def starting_at(mm: float) -> Change:
    def change(scan: Scan) -> Scan:
        return scan._replace(start_mm=mm)

    return change


class Case(NamedTuple):
    """Changes in order; what is expected: the methods that would be right, and the warnings."""

    name: str
    changes: tuple[Change, ...]
    methods: tuple[str, ...]
    warnings: tuple[str, ...] = ()


TWO, ONE, ANY = ("gap", "muscles"), ("anatomy",), ("gap", "anatomy")
# All of them: ours.
CASES = [
    Case("unchanged", (unchanged,), ("gap",)),
    Case("squeezed by 30 mm", (squeezed(30),), TWO),
    Case("squeezed by 45 mm", (squeezed(45),), TWO),
    Case("squeezed by 60 mm", (squeezed(60),), TWO),
    Case("squeezed by 75 mm", (squeezed(75),), TWO),
    Case("no gap", (no_gap,), ("muscles",)),
    Case(
        "rows and columns exchanged", (transposed,), ("position",), (ABOVE, "only by its position")
    ),
    Case("hands on both sides", (hand(1), hand(-1)), TWO),
    Case("left alone", (only(LEFT),), ONE),
    Case("right alone", (only(RIGHT),), ONE),
    Case("left, right's stump", (only(LEFT, 2),), ("gap",)),
    Case("right, left's stump", (only(RIGHT, 2),), ("gap",)),
    Case("left, right's stump unlabeled", (only(LEFT, 2, labeled=False),), ANY),
    Case("right, left's stump unlabeled", (only(RIGHT, 2, labeled=False),), ANY),
    Case("left alone, right of the center", (only(LEFT), starting_at(-30)), ONE, (MIRRORED,)),
    Case("right alone, left of the center", (only(RIGHT), starting_at(-450)), ONE, (MIRRORED,)),
    Case("left alone, a center beyond any bore", (only(LEFT), starting_at(240)), ONE),
    *(
        Case(f"{anatomy.SIDES[side - 1]} alone, hand {place}", (only(side), hand(toward)), ANY)
        for side in (LEFT, RIGHT)
        for place, toward in (("on its right", 1), ("on its left", -1))
    ),
    *(
        Case(f"voxel {factor:g} times fat at {x}", (stray(factor, x, 80),), TWO)
        for factor, x in ((1e2, 80), (1e4, 80), (1e4, 200), (1e6, 10))
    ),
    *(
        Case(f"bottle of {mm} mm on the {place}", (bottle(mm, toward),), TWO)
        for mm in (36, 60, 96)
        for place, toward in (("right", 1), ("left", -1))
    ),
    *(
        Case(
            f"{anatomy.SIDES[side - 1]} alone, bottle of {mm} mm", (only(side), bottle(mm, at)), ANY
        )
        for side, lateral in ((LEFT, -1), (RIGHT, 1))
        for mm in (36, 48, 60, 72, 84, 96)
        for at in ((lateral,) if mm != 60 else (lateral, -lateral))
    ),
]


@pytest.mark.parametrize("name", REGION)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sides(case: Case, name: str) -> None:
    scan = sample(name)
    for change in case.changes:
        scan = change(scan)
    found = scan.found(REGION[name])
    assert scan.wrong(found) <= 0.002
    assert found.method in case.methods
    assert found.limbs == (2 if found.method in TWO else 1)
    for part in case.warnings:
        assert any(part in line for line in found.warnings)
    if not case.warnings and found.method == "gap":
        assert found.warnings == ()


UPPER = {
    # The column between the limbs, by eye, on the pictures. Thigh_001 was taken for a leg.
    "test_up": ("thigh", "gap", 79),
    "thighB": ("thigh", "muscles", 62),
    "Thigh_001": ("leg", "muscles", 63),
    "Thigh_002": ("thigh", "muscles", 63),
}


@pytest.mark.parametrize("name", UPPER)
def test_upper_slices_alone(name: str) -> None:
    """`cases/scan/touching_thighs.py`: all was on one side. The labels are predictions."""
    region, method, middle = UPPER[name]
    image = nib.load(STORED / f"upper_{name}.nii.gz")
    stored = np.asarray(image.dataobj)
    body, labels = (stored > 0).astype(np.float32), np.where(stored == 255, 0, stored)
    found = find_sides(Volume(body, image.affine), labels, anatomy.REGIONS[region])
    assert (found.method, found.warnings) == (method, ())
    left = np.arange(len(stored))[:, None, None] < middle  # axes run to the right
    assert ((found.voxels == LEFT) != left).mean() < 0.02  # two columns of 128
