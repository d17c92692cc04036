"""References and predictions on disk, brought together case by case."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage as ndi

from musclejax import anatomy
from musclejax.data.dataset import (
    IGNORE,
    Case,
    Dataset,
    read_case,
    read_dataset,
    to_our_numbers,
)
from musclejax.data.label_map import to_scan_order, whole_numbers
from musclejax.errors import InputError
from musclejax.evaluation.numbers import (
    LABELS,
    OPTION,
    Numbers,
    named_by,
    our_numbers,
    read_record,
)
from musclejax.scan.nifti import load_nifti
from musclejax.scan.numbering import find_numbering, from_written
from musclejax.scan.sides import Sides, find_sides
from musclejax.scan.volume import NIFTI_SUFFIXES, Volume, scan_name

_NAMES = (f"{LABELS}", "", rf"_\d{{4}}{LABELS}", r"_\d{4}")
"""Endings after CASE in the name of a prediction, the surest first; regular expressions."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A reference and a prediction of one scan, on the scan's grid.

    Attributes:
        case: The scan's case; its region is always given.
        volume: The scan, or what the reference covers if there is none.
        reference: Our label numbers; 0 where unknown.
        prediction: Our label numbers; 0 where the reference is unknown, see `without_unknown`,
            and for muscles that the reference never names.
        sides: Which side each voxel is on.
        numbers: The muscles that the reference names.
        shows_scan: Whether `volume` is the scan.
    """

    case: Case
    volume: Volume
    reference: UInt8[np.ndarray, "i j k"]
    prediction: UInt8[np.ndarray, "i j k"]
    sides: Sides
    numbers: tuple[int, ...]
    shows_scan: bool

    @property
    def anatomy(self) -> anatomy.Region:
        """The region with its muscles, numbers and colors."""
        return anatomy.REGIONS[self.case.region]


def read_references(folder: Path, region: str = "") -> Dataset:
    """Find the references.

    Args:
        folder: A dataset in nnU-Net's raw layout (then see `data.dataset.read_dataset`), or a
            folder of label maps `CASE.nii.gz` or `CASE_labels.nii.gz` in our numbers, 255 where
            unknown.
        region: The region of label maps without a dataset.

    Raises:
        InputError: If there are none, or the region is needed or superfluous.
    """
    if (folder / "dataset.json").is_file():
        if region:
            accepted = "no --region, as its labels have names"
            raise InputError("--region", f"{region}, and a dataset in {folder}", accepted)
        return read_dataset(folder)
    if (folder.parent / "dataset.json").is_file() and folder.name.startswith("labels"):
        remedy = f"Give --reference {folder.parent}."
        accepted = "the dataset itself, whose dataset.json says what the numbers mean"
        raise InputError(folder, "the label folder of a dataset", accepted, remedy)
    if not region:
        accepted = "--region thigh or --region leg with it, or a folder with dataset.json"
        raise InputError(folder, "a folder without dataset.json", accepted)
    values = {number: (region, muscle) for number, muscle in our_numbers(region).items()}
    return Dataset(folder, values, IGNORE, tuple(_plain_cases(folder, region)))


def find_prediction(folder: Path, case: Case) -> Path:
    """Return the label map of a case: CASE_labels or CASE, with or without a channel's number.

    Raises:
        InputError: If there is none, or more than one.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for ending in _NAMES:
        pattern = re.compile(rf"{re.escape(case.name)}{ending}\.nii(\.gz)?")
        found = [path for path in files if pattern.fullmatch(path.name)]
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise InputError(f"prediction of {case.name}", f"{names} in {folder}", "one of them")
        if found:
            return found[0]
    accepted = f"{case.name}{LABELS}.nii.gz or {case.name}.nii.gz"
    raise InputError(f"prediction of {case.name}", f"none in {folder}", accepted)


def read_pair(
    case: Case, dataset: Dataset, prediction: Path, numbers: Numbers | None = None
) -> Pair:
    """Load the reference, the prediction and, where there is one, the scan.

    Args:
        case: A case of `dataset`.
        dataset: The references.
        prediction: A label map.
        numbers: What tells whose numbers it has; None if they are ours.

    Raises:
        InputError: If the files do not fit one another.
    """
    volume, reference, region = read_case(case, dataset)
    case, labels = replace(case, region=region), load_nifti(prediction)
    _check_region(prediction, region)
    stored = to_scan_order(labels, volume, prediction)
    named = named_by(prediction, labels, case, numbers) if numbers else None
    if named is None:
        predicted = _read_ours(stored, labels, region, prediction)
    else:
        predicted, _ = to_our_numbers(stored, named, replace(case, labels=prediction))
        predicted = np.where(predicted == IGNORE, np.uint8(0), predicted)
    return make_pair(case, dataset, volume, reference, predicted)


def make_pair(
    case: Case,
    dataset: Dataset,
    volume: Volume,
    reference: UInt8[np.ndarray, "i j k"],
    predicted: UInt8[np.ndarray, "i j k"],
) -> Pair:
    """Bring a reference and a prediction of one scan together.

    Args:
        case: A case of `dataset` with its region.
        dataset: The references.
        volume: The scan, or the reference where the label map stands in for it.
        reference: Our label numbers, `IGNORE` where unknown.
        predicted: Our label numbers.
    """
    numbers = sorted({number for name, number in dataset.values.values() if name == case.region})
    compared = np.where(np.isin(predicted, numbers), predicted, 0)
    compared = without_unknown(compared, reference, volume.axial_axis)
    known = np.where(reference == IGNORE, 0, reference)
    shows_scan = case.image != case.labels
    if not shows_scan:
        volume = replace(volume, data=(known > 0).astype(np.float32))
    return Pair(
        case=case,
        volume=volume,
        reference=known,
        prediction=compared,
        sides=find_sides(volume, known, anatomy.REGIONS[case.region]),
        numbers=tuple(numbers),
        shows_scan=shows_scan,
    )


def without_unknown(
    predicted: UInt8[np.ndarray, "i j k"], reference: UInt8[np.ndarray, "i j k"], axial_axis: int
) -> UInt8[np.ndarray, "i j k"]:
    """Return a prediction without what the reference leaves unknown.

    A section of a muscle is removed whole if most of it lies on unknown tissue and none of it on
    that muscle in the reference. Else its outermost pixels would count as errors.
    """
    known = np.where(reference == IGNORE, 0, predicted)
    for section, before, truth in zip(
        *(np.moveaxis(a, axial_axis, 0) for a in (known, predicted, reference)), strict=True
    ):
        unknown = truth == IGNORE
        if unknown.all():  # not annotated
            continue
        for number in np.unique(before[unknown]):
            if number == 0:
                continue
            parts, count = ndi.label(before == number, np.ones((3, 3)))  # as in post-processing
            sizes, hidden, right = (
                np.bincount(parts[where], minlength=count + 1)
                for where in (parts > 0, unknown, truth == number)
            )
            unjudged = (2 * hidden > sizes) & (right == 0)
            section[unjudged[parts] & (parts > 0)] = 0
    return known


def _plain_cases(folder: Path, region: str) -> Iterator[Case]:
    """Yield a case for each label map; the label map stands in for the scan."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    seen: dict[str, Path] = {}
    for path in files:
        if not path.name.endswith(NIFTI_SUFFIXES) or path.name.startswith("."):
            continue
        name = scan_name(path).removesuffix(LABELS)
        if name in seen:
            raise InputError(folder, f"{seen[name].name} and {path.name}", "one of them")
        seen[name] = path
        yield Case(name, path, path, subject=name, region=region)
    if not seen:
        found = "no label map" if folder.is_dir() else "no such folder"
        raise InputError(folder, found, "CASE.nii.gz or CASE_labels.nii.gz")


def _check_region(path: Path, region: str) -> None:
    """Check the region that `musclejax segment` recorded beside its labels, if it did."""
    recorded = read_record(path).get("region", region)
    if recorded != region:
        remedy = f"Segment it with --region {region}."
        raise InputError(path, f"labels of the {recorded}", f"labels of the {region}", remedy)


def _read_ours(
    stored: np.ndarray, labels: Volume, region: str, path: Path
) -> UInt8[np.ndarray, "i j k"]:
    """Return the muscles of a label map as `musclejax segment` writes it, in any numbering."""
    shown = anatomy.REGIONS[region]
    numbering = find_numbering(path, labels, shown)
    remedy = f"If they are a dataset's: {OPTION} dataset."
    return from_written(whole_numbers(stored, path), shown, numbering, path, remedy).labels
