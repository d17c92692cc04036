"""Cases in nnU-Net's raw layout: their files, their subjects, the meaning of their labels."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8

from musclejax import anatomy
from musclejax.data.case_table import read_case_table
from musclejax.data.label_map import to_scan_order, whole_numbers
from musclejax.data.label_names import IGNORE as IGNORE
from musclejax.data.label_names import label_names_in, read_index, read_label_names
from musclejax.errors import InputError, did_you_mean, listed
from musclejax.scan.nifti import load_nifti
from musclejax.scan.volume import NIFTI_SUFFIXES, Volume

TABLE = "cases.csv"
_FOLDERS = (("imagesTr", "labelsTr", ""), ("imagesTs", "labelsTs", "test"))


@dataclass(frozen=True)
class Case:
    """One scan with its reference labels.

    Attributes:
        name: CASE in `CASE_0000.nii.gz`.
        image: The image file of the chosen channel.
        labels: The label file.
        subject: Name of the person; the case's own name where none is given.
        time_point: Name of the visit; may be empty.
        region: "thigh", "leg", or "" if only the labels show it.
        severity: "mild", "severe" or anything else; may be empty.
        split: One of `case_table.SPLITS`, or "" to be decided by `data.split`.
        dataset: Name of the dataset: names of cases and subjects are unique within one only.
    """

    name: str
    image: Path
    labels: Path
    subject: str
    time_point: str = ""
    region: str = ""
    severity: str = ""
    split: str = ""
    dataset: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A folder of cases.

    Attributes:
        folder: Its folder.
        values: Label value in the files -> (region, our label number).
        ignore: Label value that means "unknown", or None.
        cases: In the order of their names.
        intensity: `config.intensity` that the images are already normalized with (by
            `musclejax augment`), or None for scanner intensities.
        others: Further label values: 0 for background, `IGNORE` for unknown.
        warnings: What was left out, one line each.
    """

    folder: Path
    values: Mapping[int, tuple[str, int]]
    ignore: int | None
    cases: tuple[Case, ...]
    intensity: Mapping[str, Any] | None = None
    others: Mapping[int, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def regions(self) -> list[str]:
        """Return the regions whose muscles its labels name."""
        return [name for name in anatomy.REGIONS if name in {r for r, _ in self.values.values()}]


def read_datasets(
    folders: Iterable[str | Path], channel: int = 0, renamed: Mapping[str, str] | None = None
) -> list[Dataset]:
    """Read the cases of several datasets; see `read_dataset`.

    Raises:
        InputError: As `read_dataset`; or if a name in `renamed` is none of their labels.
    """
    paths = [Path(folder) for folder in folders]
    if renamed:
        names = {name for folder in paths for name in label_names_in(read_index(folder))}
        for name in renamed.keys() - names:
            hint = did_you_mean(name, names)
            accepted = f"a name among the labels: {listed(sorted(names), 30)}"
            raise InputError("--map", f"label {name!r}", accepted, hint)
    return [read_dataset(folder, channel, renamed) for folder in paths]


def read_dataset(
    folder: str | Path, channel: int = 0, renamed: Mapping[str, str] | None = None
) -> Dataset:
    """Read the cases of a dataset, without their images.

    Args:
        folder: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, optionally
            `imagesTs` and `labelsTs` (test cases) and `cases.csv` (see `case_table`).
        channel: Number of the image of each case.
        renamed: Label -> what it means; see `label_names.parse_map`.

    Raises:
        InputError: If a file is missing or unreadable, or names a label or case that does not
            exist.

    Source: nnU-Net v2, "dataset_format"; `cases.csv` ours.
    """
    folder = Path(folder)
    index = read_index(folder)
    names = read_label_names(index, folder / "dataset.json", renamed)
    ending = _ending(index, folder)
    cases = [case for kinds in _FOLDERS for case in _find_cases(folder, *kinds, channel, ending)]
    if not cases:
        found, accepted = "no labeled case", "imagesTr/CASE_0000.nii.gz with labelsTr/CASE.nii.gz"
        raise InputError(folder, found, accepted)
    _check_once(cases, folder)
    if (folder / TABLE).is_file():
        cases = list(_annotate(cases, folder / TABLE))
    title = _title(index, folder)
    regions = {region for region, _ in names.values.values()}
    only = next(iter(regions)) if len(regions) == 1 else ""
    return Dataset(
        folder,
        names.values,
        names.ignore,
        tuple(replace(case, region=case.region or only, dataset=title) for case in cases),
        _intensity(index, folder),
        names.others,
        tuple(_left_out(folder, cases, channel, ending)),
    )


def named_labels(folder: Path) -> Dataset:
    """Return what a folder's `dataset.json` says about label values, without cases.

    Raises:
        InputError: As `read_dataset`.
    """
    names = read_label_names(read_index(folder), folder / "dataset.json")
    return Dataset(folder, names.values, names.ignore, (), None, names.others)


def read_case(case: Case, dataset: Dataset) -> tuple[Volume, UInt8[np.ndarray, "i j k"], str]:
    """Load one case.

    Returns:
        The scan; its labels as our numbers, `IGNORE` where unknown; and its region.

    Raises:
        InputError: If image and labels do not fit one another or `dataset.json`.
    """
    volume, labels = load_nifti(case.image), load_nifti(case.labels)
    stored = to_scan_order(labels, volume, case.labels)
    numbers, region = to_our_numbers(stored, dataset, case)
    return volume, numbers, region


def content_of(volume: Volume) -> str:
    """Return 16 hexadecimal digits over the voxels of a scan.

    They are the same for a copy under another name, in another order of axes, compressed or not.
    """
    data = np.ascontiguousarray(volume.lps.from_file(volume.data), "<f4")
    digest = hashlib.sha256(" ".join(map(str, data.shape)).encode())
    digest.update(data.data)
    return digest.hexdigest()[:16]


def to_our_numbers(
    labels: Num[np.ndarray, "i j k"], dataset: Dataset, case: Case
) -> tuple[UInt8[np.ndarray, "i j k"], str]:
    """Translate label values as `dataset.json` names them.

    Returns:
        Our label numbers, `IGNORE` where unknown; and the region.

    Raises:
        InputError: If a value has no name, or the muscles are of two regions.
    """
    whole = whole_numbers(labels, case.labels)
    present = np.unique(whole)
    ours = {0: 0, **dataset.others, **{v: n for v, (_, n) in dataset.values.items()}}
    if dataset.ignore is not None:
        ours[dataset.ignore] = IGNORE
    unknown = [v for v in present if v not in ours]
    if unknown:
        known = ", ".join(map(str, sorted({0, *dataset.values})))
        found = f"label values {listed(f'{v:g}' for v in unknown)}"
        remedy = "Name them in dataset.json, or remove them."
        raise InputError(case.labels, found, f"{known} (dataset.json)", remedy)
    regions = {dataset.values[int(v)][0] for v in present if v in dataset.values}
    if case.region:
        regions.add(case.region)
    if len(regions) != 1:
        found = " and ".join(sorted(regions)) or "no label at all"
        accepted = "muscles of one region; an empty case needs its region in cases.csv"
        raise InputError(case.labels, found, accepted)
    lowest = int(present.min())
    table = np.zeros(int(present.max()) - lowest + 1, np.uint8)
    for value in present.astype(int):
        table[value - lowest] = ours[value]
    return table[(whole - lowest).astype(np.int64)], regions.pop()


def _title(index: Mapping[str, Any], folder: Path) -> str:
    """Return the dataset's name; its folder's where it states none."""
    name = index.get("name")
    return name if isinstance(name, str) and name.strip() else folder.resolve().name


def _intensity(index: Mapping[str, Any], folder: Path) -> Mapping[str, Any] | None:
    value = index.get("musclejax_intensity")
    if not isinstance(value, dict | None):
        raise InputError(
            folder / "dataset.json", "musclejax_intensity that is not a table", "a table"
        )
    return value


def _ending(index: Mapping[str, Any], folder: Path) -> str:
    ending = index.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or ending.lower() not in NIFTI_SUFFIXES:
        found, accepted = f"file_ending {str(ending)[:60]!r}", ", ".join(NIFTI_SUFFIXES)
        remedy = "Convert images and labels to NIfTI."
        raise InputError(folder / "dataset.json", found, accepted, remedy)
    return ending


def _files(folder: Path) -> list[Path]:
    """Return what a folder shows, sorted: hidden files, as macOS leaves them (`._CASE`), are none.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        found, remedy = f"no readable folder ({error.strerror})", "Change its permissions."
        raise InputError(folder, found, "a folder", remedy) from None
    return [path for path in paths if not path.name.startswith(".")]


def _check_once(cases: Iterable[Case], folder: Path) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        if seen.setdefault(case.name, case) is not case:
            found = f"case {case.name} in labelsTr and in labelsTs"
            raise InputError(folder, found, "each case once", "Remove or rename one of the two.")


def _left_out(folder: Path, cases: Iterable[Case], channel: int, ending: str) -> Iterable[str]:
    """Yield a line about the files that belong to no case."""
    known = {case.labels for case in cases}
    for images, labels, split in _FOLDERS:
        strange = [p for p in _files(folder / labels) if p not in known]
        yield from _line(f"{labels}: not {ending}, left out", strange)
        last = f"_{channel:04d}{ending}"
        scans = [p for p in _files(folder / images) if p.name.endswith(last)]
        names = {case.name for case in cases}
        alone = [p for p in scans if p.name.removesuffix(last) not in names]
        if not split:  # test scans often have no labels
            yield from _line(f"{images}: without labels, left out", alone)


def _line(what: str, paths: list[Path]) -> Iterable[str]:
    if paths:
        yield f"{what} ({len(paths)}): {listed(path.name for path in paths)}"


def _find_cases(
    folder: Path, images: str, labels: str, split: str, channel: int, ending: str
) -> Iterable[Case]:
    for path in _files(folder / labels):
        if not path.name.endswith(ending):
            continue
        name = path.name.removesuffix(ending)
        image = folder / images / f"{name}_{channel:04d}{ending}"
        if not image.is_file():
            others = [p.name for p in _files(folder / images) if p.name.startswith(f"{name}_")]
            has = f"there is {listed(others)}" if others else f"nothing for {name} in {images}"
            raise InputError(image, "no such image", f"an image for {path.name}", f"{has}.")
        yield Case(name, image, path, subject=name, split=split)


def _annotate(cases: list[Case], path: Path) -> Iterable[Case]:
    """Add what `cases.csv` says; its rows must name cases that exist."""
    rows = read_case_table(path)
    missing = set(rows) - {case.name for case in cases}
    if missing:
        raise InputError(path, f"case {sorted(missing)[0]}, which has no labels", "cases with both")
    for case in cases:
        row = rows.get(case.name, {})
        yield replace(
            case,
            subject=row.get("subject") or case.subject,
            time_point=row.get("time_point", ""),
            region=row.get("region", ""),
            severity=row.get("severity", ""),
            split=row.get("split") or case.split,
        )
