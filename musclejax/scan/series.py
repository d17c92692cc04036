"""An image series of a study: where it lies, whom it shows, and what kind of image it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal[
    "in phase",
    "opposed phase",
    "echo",
    "water",
    "fat",
    "fat fraction",
    "map",
    "localizer",
    "other",
]
"""What an MR image shows; "echo" is one of a gradient echo of unknown or other phase, "map" any
image that is not anatomy: a quantity other than the fat fraction, a phase image, labels."""


@dataclass(frozen=True)
class Series:
    """One series as it was listed; its voxels are not read.

    Attributes:
        path: The file, or the folder of a DICOM series.
        subject: Person; from the DICOM header, BIDS names or folders.
        visit: Session or study date; empty if nothing tells.
        description: SeriesDescription, or the name of the file.
        kind: What it shows.
        number: SeriesNumber, if known.
        echo_ms: Echo time in ms, if known.
        files: The DICOM files of the series, if its folder holds others too; else empty.
        index: Which volume of a file that holds several; None of other files.
        shape: Voxels along each axis, if the headers tell.
        spacing_mm: Distance of voxels along each axis, if the headers tell.
        name: "PAT_visit_series" in a study tree; empty if the file's name will do.
        place: What tells apart series that show different places, or that are not comparable.
        extent_mm: Lowest and highest position along the body, if the headers tell.
        pixel_mm: Largest edge of a voxel within axial slices, if the headers tell.
        problem: Why it is not a single volume, by its headers; empty if nothing is known.
    """

    path: Path
    subject: str = ""
    visit: str = ""
    description: str = ""
    kind: Kind = "other"
    number: int | None = None
    echo_ms: float | None = None
    files: tuple[Path, ...] = ()
    index: int | None = None
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    name: str = ""
    place: str = ""
    extent_mm: tuple[float, float] | None = None
    pixel_mm: float | None = None
    problem: str = ""
