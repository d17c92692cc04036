"""Read the four limbs of the Visible Human as right limbs on the pixels of a template.

Source: ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from musclejax.anatomy import SLICE_SPACING_MM as PIXEL_MM

PERSONS = ("VHF", "VHM")
NAMES = (
    "VL", "VM", "VI", "RF", "SAR", "GRA", "AM", "SM", "ST", "BFL", "BFS", "AL", "SOL", "GM", "GL",
    "TA", "EDL", "PE", ".", ".", "EHL", "TP", "FDL", "FHL", "Popl", "Plant", "AB", ".", "PEC",
    "TFL", "GMax", ".", "tibia", "fibula", "patella",
)  # fmt: skip
"""Structures by their number in the label maps, from 1."""
NUMBER = {name: number for number, name in enumerate(NAMES, 1) if name != "."}
STEP = 2
"""Every second slice, 5 mm, becomes a template."""
GROW_PX = 0.6
"""Pixels of the label map that a structure grows where there is room: closes gaps of one."""
PAD_MM = {"front": 130.0, "back": 35.0, "side": 45.0}
"""Room around the labels: the foot reaches forward."""
AL_TOP = 0.05
"""Level of the uppermost slice of adductor longus (0.048 in BodyParts3D, which has its femur)."""
PLATEAU_OF_FIBULA, ANKLE_OF_FIBULA = 0.04, 0.072
"""Where the limb's tibia is missing: knee joint line above the top of the fibula, and ankle above
its lower tip, as shares of its length. Source: both limbs of VHF."""


@dataclass
class Whole:
    """A whole limb.

    Attributes:
        person: VHF or VHM.
        side: right or left.
        labels: Structures [slice from below, row, column], a right limb in radiological view.
        levels: Of each slice: 0 hip joint, 1 knee joint line, 2 ankle joint.
        heights_mm: Of each slice above the lowest.
        thigh_mm: From hip joint to knee joint line.
        leg_mm: From there to the ankle joint.
    """

    person: str
    side: str
    labels: np.ndarray
    levels: np.ndarray
    heights_mm: np.ndarray
    thigh_mm: float
    leg_mm: float

    def named(self, *names: str) -> np.ndarray:
        """Return where structures are."""
        return np.isin(self.labels, [NUMBER[name] for name in names])

    def at(self, level: float) -> int:
        """Return the slice nearest to a level."""
        return int(np.argmin(np.abs(self.levels - level)))


def crossing(areas: np.ndarray, share: float, downward: bool) -> float:
    """Return the slice where areas reach a share of their maximum, from above or from below."""
    limit = share * areas.max()
    inside = np.nonzero(areas >= limit)[0]
    first, step = (inside[-1], 1) if downward else (inside[0], -1)
    beyond = areas[first + step]
    return first + step * (areas[first] - limit) / max(areas[first] - beyond, 1e-6)


def landmarks(labels: np.ndarray) -> tuple[float, float, float]:
    """Return the slices of levels 0, 1 and 2 of a label map [x, y, z]."""

    def areas(name: str) -> np.ndarray:
        return (labels == NUMBER[name]).sum((0, 1))

    tibia, fibula = areas("tibia"), np.nonzero(areas("fibula"))[0]
    if tibia.any():
        distal = np.where(np.arange(len(tibia)) < tibia.nonzero()[0].mean(), tibia, 0)
        knee, ankle = crossing(tibia, 0.5, True), crossing(distal, 0.5, False)
    else:
        length = fibula[-1] - fibula[0]
        knee = fibula[-1] + PLATEAU_OF_FIBULA * length
        ankle = fibula[0] + ANKLE_OF_FIBULA * length
    longus = np.nonzero(areas("AL"))[0][-1]
    return knee + (longus - knee) / (1 - AL_TOP), knee, ankle


def resample(
    picture: np.ndarray, spacing: float, shape: tuple[int, int], corner: np.ndarray
) -> np.ndarray:
    """Resample one slice by signed distances; structures grow into gaps of a pixel."""
    out = np.zeros(shape, np.uint8)
    if not picture.any():
        return out
    rows, cols = (np.nonzero(picture.any(axis))[0] for axis in (1, 0))
    low = np.array([rows[0], cols[0]]) - 6
    size = np.array([rows[-1], cols[-1]]) + 7 - low
    box = np.zeros(size, np.uint8)
    box[6:-6, 6:-6] = picture[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    axes = [
        (np.arange(n) * PIXEL_MM - edge) / spacing - start
        for n, edge, start in zip(shape, corner, low, strict=True)
    ]
    inner = [np.nonzero((a >= 0) & (a <= n - 1))[0] for a, n in zip(axes, size, strict=True)]
    grid = np.meshgrid(*(a[i] for a, i in zip(axes, inner, strict=True)), indexing="ij")
    best = np.full(grid[0].shape, GROW_PX, np.float32)
    found = np.zeros(grid[0].shape, np.uint8)
    for code in np.unique(box)[1:]:
        mask = box == code
        signed = ndi.distance_transform_edt(~mask) - ndi.distance_transform_edt(mask)
        signed = ndi.gaussian_filter(signed.astype(np.float32), 0.9)
        signed = ndi.map_coordinates(signed, grid, order=1)
        found[signed < best] = code
        best = np.minimum(best, signed)
    out[np.ix_(*inner)] = found
    return out


def read_limb(data: Path, person: str, side: str) -> Whole:
    """Read a limb; of its slices every second, extended down to the sole by empty ones."""
    image = nib.load(data / f"{person}_{side.title()}_labels.nii.gz")
    array = np.asanyarray(image.dataobj)
    spacing, _, thick = (float(z) for z in image.header.get_zooms())
    hip, knee, ankle = landmarks(array)
    below = STEP * round(0.33 * (knee - ankle) / STEP)
    slices = np.arange(-below, array.shape[2], STEP)
    levels = np.where(
        slices > knee, (hip - slices) / (hip - knee), 1 + (knee - slices) / (knee - ankle)
    )
    frame = array[:, ::-1].transpose(2, 1, 0)
    frame = frame[:, :, ::-1] if side == "right" else frame
    corner = np.array([PAD_MM["front"], PAD_MM["side"]])
    extent = np.array(frame.shape[1:]) * spacing + corner + [PAD_MM["back"], PAD_MM["side"]]
    shape = tuple(np.ceil(extent / PIXEL_MM).astype(int))
    empty = np.zeros(shape, np.uint8)
    labels = [
        resample(frame[z], spacing, shape, corner) if z >= 0 else empty for z in slices.tolist()
    ]
    return Whole(
        person,
        side,
        np.stack(labels),
        levels,
        (slices - slices[0]) * thick,
        (hip - knee) * thick,
        (knee - ankle) * thick,
    )


def check_names(data: Path) -> None:
    """Check the numbers of the structures against the file beside the label maps."""
    theirs = {v: int(k) for k, v in json.loads((data / "labels.json").read_text()).items()}
    assert theirs == NUMBER, "labels.json differs"
