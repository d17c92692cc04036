"""Which scans a path on the command line means."""

import math
import zlib
from pathlib import Path

import nibabel as nib
from nibabel.filebasedimages import ImageFileError

from musclejax.errors import InputError
from musclejax.scan.volume import NIFTI_SUFFIXES

OUTPUT_SUFFIXES = ("_labels.nii.gz", "_probabilities.nii.gz")
"""Files that `segment` writes; never taken for scans when a folder is searched."""


def find_scans(path: Path) -> list[Path]:
    """Return the scans that a path means, in the order of their names.

    Args:
        path: A NIfTI or DICOM file, a folder with the files of one DICOM series, or a folder of
            NIfTI files and such series folders.

    Raises:
        InputError: If the path does not exist or holds no scan.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(path, "no such file or folder", "a NIfTI file or a DICOM folder")
    if _has_dicom(path):
        return [path]
    entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    scans = [p for p in entries if _is_scan(p) or (p.is_dir() and _has_dicom(p))]
    if not scans:
        accepted = ".nii or .nii.gz files, DICOM files, or folders with DICOM files"
        raise InputError(path, "a folder without scans", accepted)
    return scans


def count_voxels(path: Path) -> int:
    """Return how many voxels a scan has at most, from headers and sizes of files only.

    0 if it cannot be read, which `load` will tell.
    """
    try:
        if path.name.endswith(NIFTI_SUFFIXES):
            image = nib.load(path)
            # `load` refuses what has more axes, or is no NIfTI.
            return math.prod(image.shape[:3]) if isinstance(image, nib.Nifti1Image) else 0
        files = path.iterdir() if path.is_dir() else [path]
        # A voxel for each byte: 16 bits a voxel, which lossless compression halves.
        return sum(file.stat().st_size for file in files)
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError):
        return 0


def _is_scan(path: Path) -> bool:
    return path.name.endswith(NIFTI_SUFFIXES) and not path.name.endswith(OUTPUT_SUFFIXES)


def _has_dicom(folder: Path) -> bool:
    from musclejax.scan.dicom import is_dicom

    # A DICOMDIR is a table of contents; the series are in folders beside it.
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.name != "DICOMDIR")
    return any(is_dicom(p) for p in files)
