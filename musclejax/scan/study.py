"""Scans on disk: those that a path means, and any kind of scan as a volume."""

from pathlib import Path

from nibabel.spatialimages import SpatialImage

from musclejax.errors import InputError
from musclejax.scan.dicom import is_dicom, load_dicom
from musclejax.scan.nifti import from_image, load_nifti
from musclejax.scan.volume import NIFTI_SUFFIXES, Volume, check, scan_name

OUTPUT_SUFFIXES = ("_labels.nii.gz", "_probabilities.nii.gz")
"""Files that `segment` writes; never taken for scans when a folder is searched."""


def load(scan: str | Path | SpatialImage | Volume) -> Volume:
    """Load and check a scan.

    Args:
        scan: A NIfTI file, a DICOM file, a folder that holds one DICOM series, a nibabel image, or
            a volume, which is returned as it is.

    Raises:
        InputError: If the file is missing, damaged, or not a 3-D scan with a usable geometry.
    """
    if isinstance(scan, Volume):
        check(scan)
        return scan
    if isinstance(scan, SpatialImage):
        file = scan.get_filename()
        volume = from_image(scan, file or "image", scan_name(Path(file)) if file else "scan")
        check(volume, file)
        return volume
    path = Path(scan)
    volume = load_nifti(path) if path.name.endswith(NIFTI_SUFFIXES) else load_dicom(path)
    check(volume, path)
    return volume


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
    # A DICOMDIR is a table of contents; the series are in folders beside it.
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.name != "DICOMDIR")
    return any(is_dicom(p) for p in files)
