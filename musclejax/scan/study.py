"""Scans on disk: those that a path means, and any kind of scan as a volume."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from nibabel.spatialimages import SpatialImage

from musclejax.errors import InputError
from musclejax.files import reading
from musclejax.scan.dicom import folder_images, load_dicom, stray_warning
from musclejax.scan.dicom_file import is_dicom
from musclejax.scan.itk import can_read_itk, load_itk
from musclejax.scan.nifti import from_image, load_nifti, pair_of
from musclejax.scan.series import Series
from musclejax.scan.volume import (
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    Volume,
    check,
    image_suffix,
    scan_name,
)

OUTPUT_SUFFIXES = (
    *("_labels.nii.gz", "_labels_original.nii.gz", "_probabilities.nii.gz"),
    *("_fat_fraction.nii.gz", "_dseg.nii.gz"),
)
"""Files that `segment` writes; never taken for scans when a folder is searched."""
MAX_DEPTH = 8
"""Levels of folders that are searched. Source: ours; patient, study, series and more."""
_LABEL_FOLDERS = ("labelsTr", "labelsTs")
"""Folders of a dataset with label maps rather than scans."""
_OTHER_FORMATS = (
    *(".nhdr", ".mhd", ".mnc", ".nii.bz2", ".nii.xz", ".nii.zst", ".par", ".rec"),
    *(".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"),
)
"""Files that may hold scans and are not read; a line says so."""


class Search(NamedTuple):
    """The scans that a path means.

    Attributes:
        scans: In the order of their names.
        failures: A line for each folder that cannot be read.
        warnings: Lines on what was found in several folders, and on what was left out.
    """

    scans: tuple[Path, ...]
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load(scan: str | Path | SpatialImage | Volume | Series) -> Volume:
    """Load and check a scan.

    Args:
        scan: A file of NIfTI, Analyze, FreeSurfer, NRRD, MetaImage or DICOM; a folder that holds
            one DICOM series; a series of `scan.catalog.list_series`; a nibabel image; or a volume,
            which is returned as it is.

    Raises:
        InputError: If the file is missing, damaged, or not a 3-D scan with a usable geometry.
    """
    if isinstance(scan, Volume):
        check(scan)
        return scan
    if isinstance(scan, SpatialImage):
        file = scan.get_filename()
        with reading(file or "image", "scan"):
            volume = from_image(scan, file or "image", scan_name(Path(file)) if file else "scan")
        check(volume, file)
        return volume
    if isinstance(scan, Series):
        with reading(scan.path, "scan"):
            volume = replace(read_series(scan), series=scan)
        check(volume, scan.path)
        return volume
    path = Path(scan)
    with reading(path, "scan"):
        volume = read_volume(path)
    check(volume, path)
    return volume


def read_series(series: Series) -> Volume:
    """Read a listed series; its voxels are not checked.

    Raises:
        InputError: As of `read_volume`.
    """
    path, index = series.path, series.index
    if series.files or (index is not None and is_dicom_scan(path)):
        return load_dicom(path, series.files, index)
    return read_volume(path) if index is None else load_nifti(path, index)


def read_volume(path: Path) -> Volume:
    """Read a scan, a label map or a map of any format; its voxels are not checked.

    Raises:
        InputError: If the file is missing, damaged, or not 3-D with a usable geometry.
    """
    suffix = image_suffix(path)
    if suffix and path.is_dir() and not folder_images(path).files:
        accepted, remedy = "a file, or a folder with one DICOM series", "Give a file in it."
        raise InputError(path, "a folder", accepted, remedy)
    if is_dicom_scan(path):
        return load_dicom(path)
    return load_itk(path) if suffix in ITK_SUFFIXES else load_nifti(path)


def is_dicom_scan(path: Path) -> bool:
    """Return whether `load` reads a path as DICOM.

    Raises:
        InputError: If half of a pair of files cannot be opened.
    """
    return not image_suffix(path) or path.is_dir() or (_is_half_pair(path) and is_dicom(path))


def find_scans(path: Path) -> list[Path]:
    """Return the scans that a path means, in the order of their names; see `search`."""
    return list(search(path).scans)


def search(path: Path) -> Search:
    """Look for scans.

    Args:
        path: A file, which is taken for a scan; or a folder, which is searched with its subfolders
            for image files and for folders with a DICOM series. Hidden files and what `segment`
            writes are passed over.

    Raises:
        InputError: If the path does not exist, cannot be read or holds no scan.
    """
    with reading(path, "scan"):
        if path.is_file():
            return Search((path,))
        if not path.is_dir():
            found = "no regular file" if path.exists() else "no such file or folder"
            raise InputError(path, found, "a NIfTI file or a DICOM folder")
    finds = _Finds()
    scans = tuple(_walk(path, finds, 0))
    left_out = finds.left_out()
    if not scans and finds.failures:
        raise finds.failures[0]
    if not scans:
        found = f"a folder without scans ({left_out})" if left_out else "a folder without scans"
        accepted = ".nii or .nii.gz files, DICOM files, or folders with DICOM files"
        raise InputError(path, found, accepted)
    others = f"{path}: {left_out}" if left_out else ""
    warnings = tuple(filter(None, (count_line(path, scans), others, *finds.strays)))
    return Search(scans, tuple(map(str, finds.failures)), warnings)


def count_line(path: Path, scans: Sequence[Path]) -> str:
    """Return the line on how many scans lie in how many folders; empty if in one."""
    folders = {scan.parent for scan in scans if scan != path}
    return f"{path}: {len(scans)} scans in {len(folders)} folders" if len(folders) > 1 else ""


@dataclass
class _Finds:
    """Collected in a search.

    Attributes:
        searched: Folders, without links: each is searched once, however many links lead there.
        failures: Folders that cannot be read.
        strays: A line for each folder with single DICOM images beside other scans.
        others: Files and folders that were left out, by reason.
    """

    searched: set[Path] = field(default_factory=set)
    failures: list[InputError] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    others: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def left_out(self) -> str:
        """Return one line on the files that were left out; empty if none were."""
        parts = []
        for reason, paths in sorted(self.others.items()):
            more = ", ..." if len(paths) > 1 else ""
            parts.append(f"{len(paths)} x {reason} ({paths[0].name}{more})")
        return f"left out: {'; '.join(parts)}" if parts else ""


def _walk(folder: Path, finds: _Finds, depth: int) -> Iterator[Path]:
    """Yield the scans of a folder and of those below it; note in `finds` what is none."""
    finds.searched.add(folder.resolve())
    try:
        with reading(folder, "folder"):
            entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
            folders = [p for p in entries if p.is_dir()]
            images = [p for p in entries if not p.is_dir() and _is_scan(p, finds)]
            dicom = folder_images(folder)
    except InputError as error:
        finds.failures.append(error)
        return
    links_last = sorted(folders, key=lambda p: p.is_symlink())
    below = [scan for p in links_last for scan in _walk_below(p, finds, depth + 1)]
    strays = [p for p in dicom.files if not image_suffix(p) or _is_half_pair(p)]
    if dicom.is_series or (strays and not (images or below)):
        yield folder
    elif strays:
        finds.strays.append(stray_warning(folder, dicom._replace(files=tuple(strays))))
    yield from sorted([*images, *below])


def _walk_below(folder: Path, finds: _Finds, depth: int) -> Iterator[Path]:
    if folder.name in _LABEL_FOLDERS:
        finds.others["folder of label maps"].append(folder)
    elif depth > MAX_DEPTH:
        finds.others[f"folder more than {MAX_DEPTH} levels down"].append(folder)
    elif folder.resolve() in finds.searched:
        finds.others["link to a folder that is searched already"].append(folder)
    else:
        yield from _walk(folder, finds, depth)


def _is_scan(path: Path, finds: _Finds) -> bool:
    """Return whether a file is a scan by its name; note it if it may be one that is not read."""
    name, suffix = path.name.lower(), image_suffix(path)
    reason = ""
    if name.endswith(OUTPUT_SUFFIXES):
        reason = "" if _is_our_result(path) else "file named as a result of segment"
    elif suffix in ITK_SUFFIXES and not can_read_itk():
        reason = f"{suffix} without SimpleITK (pip install 'musclejax[formats]')"
    elif suffix.startswith((".hdr", ".img")):
        # One of the pair stands for both; alone, an .img may be DICOM.
        if suffix.startswith(".hdr") and not _is_half_pair(path):
            return True
        lone = _is_half_pair(path) and not _may_be_dicom(path)
        reason = f"{suffix} without the other file of its pair" if lone else ""
    elif suffix:
        return True
    else:
        other = next((s for s in _OTHER_FORMATS if name.endswith(s)), "")
        reason = f"{other}, which is not read" if other else ""
    if reason:
        finds.others[reason].append(path)
    return False


def _is_our_result(path: Path) -> bool:
    """Return whether a run record, or the scan, stands beside a label or probability map."""
    stem = next(path.name.removesuffix(s) for s in OUTPUT_SUFFIXES if path.name.endswith(s))
    beside = [f"{stem}_run.json", *(stem + suffix for suffix in NIFTI_SUFFIXES)]
    return any(path.with_name(name).exists() for name in beside)


def _is_half_pair(path: Path) -> bool:
    """Return whether the other file of a pair, header and voxels, is missing."""
    return any(not file.is_file() for file in pair_of(path).values())


def _may_be_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, or cannot be opened."""
    try:
        return is_dicom(path)
    except InputError:
        return True
