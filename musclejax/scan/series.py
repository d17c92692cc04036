"""An image series of a study: where it lies, whom it shows, and what kind of image it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["in phase", "opposed phase", "echo", "water", "fat", "fat fraction", "other"]
"""What an MR image shows; "echo" is one of a gradient echo of unknown or other phase."""


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
        index: Which volume of a 4-D file; None of a 3-D one.
        shape: Voxels along each axis, if the headers tell.
        spacing_mm: Distance of voxels along each axis, if the headers tell.
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
