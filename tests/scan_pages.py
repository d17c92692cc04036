"""Small scans with known labels in several orientations, and their results without a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from musclejax import anatomy
from musclejax.prediction.result import Levels, Segmentation
from musclejax.reports.segmentation import save
from musclejax.scan.nifti import save_scan
from musclejax.scan.sides import find_sides
from musclejax.scan.volume import Volume, reorient
from tests.limbs import volume as limbs

SLICES, MARKER = 6, 8
_LPS = np.diag([-2.0, -2.0, 8.0, 1.0])


def marker(z: int) -> tuple[int, int]:
    """Return the first column and row of a bright square in a slice: beside the right limb, in
    front."""
    return 6 + 3 * z, 2


class Scan(NamedTuple):
    """A scan as its file has it."""

    volume: Volume
    labels: np.ndarray


def scan(axes: str = "LPS", turn: tuple[float, float] = (0, 0), name: str = "scan") -> Scan:
    """Return two thighs with a bright square in front of the right one.

    Args:
        axes: Where the axes of the file run to.
        turn: Angles in degrees by which the stack is turned, about x and about z.
        name: Of the scan.
    """
    image, labels = limbs("thigh", 3, SLICES, 1.0)
    image = 0.4 * image
    for z in range(SLICES):
        x, y = marker(z)
        image[x : x + MARKER, y : y + MARKER, z] = 600
    to_file = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(axes)
    )
    a, b = np.radians(turn)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turned = np.eye(4)
    turned[:3, :3] = about_z @ about_x
    affine = turned @ _LPS @ nib.orientations.inv_ornt_aff(to_file, image.shape)
    return Scan(Volume(reorient(image, to_file), affine, name), reorient(labels, to_file))


def results(
    folder: Path, one: Scan, *, labels: anatomy.Numbering = "muscles", **record: Any
) -> Segmentation:
    """Write scan and results as `segment` does, and return these."""
    volume = one.volume
    source = folder.parent / "scans" / "scan.nii.gz"
    source.parent.mkdir(exist_ok=True, parents=True)
    save_scan(source, volume)
    thigh = anatomy.REGIONS["thigh"]
    level = np.linspace(0.8, 0.3, SLICES)
    by_file = np.array([level[int(volume.lps.file_index(z))] for z in range(SLICES)])
    shape = SLICES, len(anatomy.SIDES)
    levels = Levels(
        np.stack([by_file, by_file + 0.02], 1),
        np.full(shape, 0.02),
        np.ones(shape, bool),
        np.ones((*shape, thigh.num_classes), bool),
    )
    result = Segmentation(
        volume=volume,
        labels=one.labels,
        confidence=np.full(one.labels.shape, 250, np.uint8),
        sides=find_sides(volume, one.labels, thigh),
        covered=np.ones(one.labels.shape, bool),
        region="thigh",
        region_probability=0.99,
        weights="none",
        trained=True,
        levels=levels,
        warnings=("look at this",),
    )
    about: Mapping[str, Any] = {"source": str(source), "source_files": {"path": str(source)}}
    save(result, folder, labels=labels, record=lambda: {**about, **record})
    return result
