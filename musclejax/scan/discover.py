"""Which scans a path on the command line means."""

from pathlib import Path

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


def _is_scan(path: Path) -> bool:
    return path.name.endswith(NIFTI_SUFFIXES) and not path.name.endswith(OUTPUT_SUFFIXES)


def _has_dicom(folder: Path) -> bool:
    from musclejax.scan.dicom import is_dicom

    # A DICOMDIR is a table of contents; the series are in folders beside it.
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.name != "DICOMDIR")
    return any(is_dicom(p) for p in files)
