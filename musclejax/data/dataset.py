"""Cases in nnU-Net's raw layout: their files, their subjects, the meaning of their labels."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.scan.nifti import load_nifti
from musclejax.scan.volume import Volume

IGNORE = 255
"""Label of pixels that do not count: nnU-Net's "ignore" label, here always this number."""
SPLITS = ("train", "validation", "test", "unseen")
"""Roles of a case. "unseen": slices of test subjects away from the annotated slices (paper,
Table 4); evaluated apart."""
COLUMNS = ("case", "subject", "time_point", "region", "severity", "split")
"""Columns of the optional `cases.csv`; all but `case` may be empty or missing."""
_FOLDERS = (("imagesTr", "labelsTr", ""), ("imagesTs", "labelsTs", "test"))
_AFFINE_TOLERANCE_MM = 1e-2


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
        split: One of `SPLITS`, or "" to be decided by `data.split`.
    """

    name: str
    image: Path
    labels: Path
    subject: str
    time_point: str = ""
    region: str = ""
    severity: str = ""
    split: str = ""


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
    """

    folder: Path
    values: Mapping[int, tuple[str, int]]
    ignore: int | None
    cases: tuple[Case, ...]
    intensity: Mapping[str, Any] | None = None

    @property
    def regions(self) -> list[str]:
        """Return the regions whose muscles its labels name."""
        return [name for name in anatomy.REGIONS if name in {r for r, _ in self.values.values()}]


def read_dataset(folder: str | Path, channel: int = 0) -> Dataset:
    """Read the cases of a dataset, without their images.

    Args:
        folder: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, optionally
            `imagesTs` and `labelsTs` (test cases) and `cases.csv` (see `COLUMNS`).
        channel: Number of the image of each case.

    Raises:
        InputError: If a file is missing or unreadable, or names a label or case that does not
            exist.

    Source: nnU-Net v2, "dataset_format"; `cases.csv` ours.
    """
    folder = Path(folder)
    index = _read_index(folder)
    values, ignore = _read_values(index["labels"], folder / "dataset.json")
    ending = str(index.get("file_ending", ".nii.gz"))
    cases = [case for names in _FOLDERS for case in _find_cases(folder, *names, channel, ending)]
    if not cases:
        found, accepted = "no labeled case", "imagesTr/CASE_0000.nii.gz with labelsTr/CASE.nii.gz"
        raise InputError(folder, found, accepted)
    table = folder / "cases.csv"
    if table.is_file():
        cases = list(_annotate(cases, table))
    regions = {region for region, _ in values.values()}
    if len(regions) == 1:
        cases = [replace(case, region=case.region or next(iter(regions))) for case in cases]
    return Dataset(folder, values, ignore, tuple(cases), index.get("musclejax_intensity"))


def read_case(case: Case, dataset: Dataset) -> tuple[Volume, UInt8[np.ndarray, "i j k"], str]:
    """Load one case.

    Returns:
        The scan; its labels as our numbers, `IGNORE` where unknown; and its region.

    Raises:
        InputError: If image and labels do not fit one another or `dataset.json`.
    """
    volume, labels = load_nifti(case.image), load_nifti(case.labels)
    check_geometry(volume, labels, case)
    numbers, region = to_our_numbers(labels.data, dataset, case)
    return volume, numbers, region


def check_geometry(volume: Volume, labels: Volume, case: Case) -> None:
    """Check that the labels lie on the grid of the scan.

    Raises:
        InputError: If shape or affine differ.
    """
    shapes = [" x ".join(map(str, v.data.shape)) for v in (labels, volume)]
    if shapes[0] != shapes[1]:
        raise InputError(case.labels, f"shape {shapes[0]}", f"the image's shape, {shapes[1]}")
    apart = float(np.abs(labels.affine - volume.affine).max())
    if apart > _AFFINE_TOLERANCE_MM:
        remedy = "Save the labels with the image's header."
        found = f"an affine that differs from the image's by up to {apart:.3g} mm"
        raise InputError(case.labels, found, "the image's affine", remedy)


def to_our_numbers(
    labels: np.ndarray, dataset: Dataset, case: Case
) -> tuple[UInt8[np.ndarray, "i j k"], str]:
    """Translate label values as `dataset.json` names them.

    Returns:
        Our label numbers, `IGNORE` where unknown; and the region.

    Raises:
        InputError: If a value has no name, or the muscles are of two regions.
    """
    present = np.unique(labels)
    unknown = [v for v in present if v not in (0, dataset.ignore, *dataset.values)]
    if unknown:
        shown = ", ".join(f"{v:g}" for v in unknown[:5])
        known = ", ".join(map(str, sorted({0, *dataset.values})))
        remedy = "Name them in dataset.json, or remove them."
        raise InputError(case.labels, f"label values {shown}", f"{known} (dataset.json)", remedy)
    regions = {dataset.values[int(v)][0] for v in present if v in dataset.values}
    if case.region:
        regions.add(case.region)
    if len(regions) != 1:
        found = " and ".join(sorted(regions)) or "no label at all"
        accepted = "muscles of one region; an empty case needs its region in cases.csv"
        raise InputError(case.labels, found, accepted)
    table = np.zeros(int(present.max()) + 1, np.uint8)
    for value in present.astype(int):
        table[value] = IGNORE if value == dataset.ignore else dataset.values.get(value, ("", 0))[1]
    return table[labels.astype(np.int64)], regions.pop()


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        found = "no dataset.json" if folder.is_dir() else "no such folder"
        raise InputError(folder, found, "a dataset in nnU-Net's raw format")
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(index["labels"], dict):
            raise TypeError("labels is no table")
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise InputError(path, found, 'JSON with "labels": {NAME: NUMBER}') from None
    return index


def _read_values(
    labels: Mapping[str, Any], path: Path
) -> tuple[dict[int, tuple[str, int]], int | None]:
    """Return label value -> (region, our number), and the value that means "unknown"."""
    names = {
        name.casefold(): (region.name, muscle.number)
        for region in anatomy.REGIONS.values()
        for muscle in region.muscles
        for name in (muscle.abbreviation, muscle.name)
    }
    values: dict[int, tuple[str, int]] = {}
    ignore = None
    for name, value in labels.items():
        if not isinstance(value, int):
            raise InputError(path, f"label {name}: {value!r}", "one number per label")
        if name.casefold() == "ignore":
            ignore = value
        elif name.casefold() in names:
            values[value] = names[name.casefold()]
        elif value:
            known = ", ".join(
                m.abbreviation for region in anatomy.REGIONS.values() for m in region.muscles
            )
            raise InputError(path, f"label {name!r}", f"background, ignore, {known}")
    if not values:
        raise InputError(path, "no muscle among the labels", "muscles named as in labels.txt")
    return values, ignore


def _find_cases(
    folder: Path, images: str, labels: str, split: str, channel: int, ending: str
) -> Iterable[Case]:
    for path in sorted((folder / labels).glob(f"*{ending}")):
        name = path.name.removesuffix(ending)
        image = folder / images / f"{name}_{channel:04d}{ending}"
        if not image.is_file():
            others = sorted(p.name for p in (folder / images).glob(f"{name}_????{ending}"))
            has = f"there is {', '.join(others)}" if others else f"nothing for {name} in {images}"
            raise InputError(image, "no such image", f"an image for {path.name}", f"{has}.")
        yield Case(name, image, path, subject=name, split=split)


def _annotate(cases: list[Case], path: Path) -> Iterable[Case]:
    """Add what `cases.csv` says; its rows must name cases that exist."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        unknown = [c for c in columns if c not in COLUMNS]
        if "case" not in columns or unknown:
            raise InputError(path, f"columns {', '.join(columns)}", ", ".join(COLUMNS))
        rows = {row["case"]: {k: (v or "").strip() for k, v in row.items()} for row in reader}
    missing = set(rows) - {case.name for case in cases}
    if missing:
        raise InputError(path, f"case {sorted(missing)[0]}, which has no labels", "cases with both")
    for case in cases:
        row = rows.get(case.name, {})
        split, region = row.get("split", ""), row.get("region", "")
        if split not in ("", *SPLITS):
            raise InputError(path, f"split {split!r} of {case.name}", ", ".join(SPLITS))
        if region not in ("", *anatomy.REGIONS):
            raise InputError(path, f"region {region!r} of {case.name}", ", ".join(anatomy.REGIONS))
        yield replace(
            case,
            subject=row.get("subject") or case.subject,
            time_point=row.get("time_point", ""),
            region=region,
            severity=row.get("severity", ""),
            split=split or case.split,
        )
