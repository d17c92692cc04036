"""Whose label numbers predictions have: ours, or those of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musclejax import anatomy
from musclejax.data.dataset import Case, Dataset, named_labels
from musclejax.errors import InputError
from musclejax.files import read_json
from musclejax.scan.numbering import labels_of
from musclejax.scan.volume import Volume, scan_name

NUMBERS = ("musclejax", "dataset")
"""Whose numbers can be meant."""
LABELS = "_labels"
"""End of the names of label maps that `musclejax segment` writes."""
OPTION = "--numbers"


@dataclass(frozen=True, eq=False)
class Numbers:
    """What is known of the label numbers of the predictions in a folder.

    Attributes:
        chosen: One of `NUMBERS`, or "" to decide from the files.
        named: What the `dataset.json` beside the predictions says, as nnU-Net writes it; None if
            there is none.
        reference: The references.
    """

    chosen: str
    named: Dataset | None
    reference: Dataset

    @property
    def source(self) -> str:
        """Return whose numbers the folder has, if one answer holds for all files."""
        if self.chosen != "musclejax" and self.named:
            return f"; their numbers by {self.named.folder / 'dataset.json'}"
        if self.chosen == "dataset":
            return "; their numbers those of the references"
        return "; their numbers musclejax's" if self.chosen else ""


def read_numbers(folder: Path, reference: Dataset, chosen: str = "") -> Numbers:
    """Read what the folder of the predictions says about their numbers.

    Args:
        folder: The predictions; a `dataset.json` in it names their labels, or one above a folder
            of labels of a dataset.
        reference: The references.
        chosen: As in `Numbers`.

    Raises:
        InputError: If that `dataset.json` is unusable, or there is no dataset whose numbers could
            be meant.
    """
    named = None
    places = [folder, *([folder.parent] if folder.name.startswith("labels") else [])]
    found = next((place for place in places if (place / "dataset.json").is_file()), None)
    if found and chosen != "musclejax":
        named = named_labels(found)
    if chosen == "dataset" and not (named or _is_dataset(reference)):
        accepted = "a dataset.json beside the predictions, or references with one"
        raise InputError(f"{OPTION} dataset", "no dataset.json", accepted)
    return Numbers(chosen, named, reference)


def named_by(path: Path, labels: Volume, case: Case, numbers: Numbers) -> Dataset | None:
    """Return the dataset that names the numbers of a prediction; None if they are ours.

    Args:
        path: The prediction.
        labels: Its contents.
        case: Its case, with its region.
        numbers: Of its folder.

    Raises:
        InputError: If nothing tells whose they are, or two statements contradict.
    """
    if numbers.chosen:
        return None if numbers.chosen == "musclejax" else numbers.named or numbers.reference
    ours = _is_ours(path, labels, case)
    if numbers.named:
        if ours and not _has_our_numbers(numbers.named, case.region):
            found = f"marks of musclejax, and other numbers in {numbers.named.folder}/dataset.json"
            raise _unclear(path, found)
        return numbers.named
    if ours or _has_our_numbers(numbers.reference, case.region):
        return None
    raise _unclear(path, "label numbers that may be musclejax's or the dataset's")


def read_record(path: Path) -> dict[str, Any]:
    """Return what `musclejax segment` has recorded beside its labels; empty if it has not."""
    return read_json(path.with_name(f"{scan_name(path).removesuffix(LABELS)}_run.json")) or {}


def _unclear(path: Path, found: str) -> InputError:
    remedy = "nnU-Net leaves a dataset.json beside its predictions."
    return InputError(path, found, f"{OPTION} musclejax, or {OPTION} dataset", remedy)


def _is_dataset(reference: Dataset) -> bool:
    return (reference.folder / "dataset.json").is_file()


def _is_ours(path: Path, labels: Volume, case: Case) -> bool:
    """Return whether `musclejax segment` wrote a label map: name, record or names in its header."""
    if scan_name(path).removeprefix(case.name).endswith(LABELS):
        return True
    if "region" in read_record(path):
        return True
    header = labels.header
    notes = [note.get_content() for note in header.extensions] if header is not None else []
    texts = [note for note in notes if isinstance(note, bytes)]
    names = [m.name.encode() for m in anatomy.REGIONS[case.region].muscles]
    return any(all(name in text for name in names) for text in texts)


def our_numbers(region: str) -> dict[int, int]:
    """Return the muscle of each label number of any of our numberings; they do not contradict."""
    shown = anatomy.REGIONS[region]
    labels = (label for numbering in anatomy.NUMBERINGS for label in labels_of(shown, numbering))
    return {label.number: label.muscle for label in labels}


def _has_our_numbers(dataset: Dataset, region: str) -> bool:
    own = [(value, number) for value, (name, number) in dataset.values.items() if name == region]
    ours = our_numbers(region)
    return not dataset.others and all(ours.get(value) == number for value, number in own)
