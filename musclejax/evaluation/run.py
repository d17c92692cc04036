"""From two folders, or weights and a dataset, to an evaluation: each scan in one pass.

A scan is read, resampled, classified, segmented and compared before the next is read. Only its rows
are kept and, on disk, its scene for the pictures.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from musclejax import anatomy
from musclejax.anatomy import CLASSIFIER
from musclejax.data.dataset import Case, Dataset, content_of, read_case, read_dataset
from musclejax.data.scan_warnings import warning_lines
from musclejax.errors import InputError, describe_error
from musclejax.evaluation.cases import (
    Pair,
    find_prediction,
    make_pair,
    read_pair,
    read_references,
)
from musclejax.evaluation.compare import RIM, combine, compare, missed_muscles
from musclejax.evaluation.fat_fraction import read_fat
from musclejax.evaluation.numbers import read_numbers
from musclejax.evaluation.result import Comparison, Decision, Evaluation
from musclejax.evaluation.scene import make_scene, save_scene
from musclejax.evaluation.splits import phantom_warnings, split_of, split_warnings
from musclejax.loops import Advance, result_of
from musclejax.models.weights import Weights
from musclejax.prediction.options import DEFAULTS, SegmentOptions
from musclejax.prediction.result import Segmentation
from musclejax.prediction.segment import classify, label_steps
from musclejax.scan.model_grid import ModelGrid
from musclejax.scan.volume import check


class CaseRead(NamedTuple):
    """The reference of a case and its prediction.

    Attributes:
        pair: Both.
        decision: The classifier's; None if there is none.
        found: The segmentation, if weights have made it.
    """

    pair: Pair
    decision: Decision | None = None
    found: Segmentation | None = None


class CaseSegmented(NamedTuple):
    """Weights have segmented a case, which is compared next; an error thrown in fails the case."""

    case: Case
    found: Segmentation


class CaseDone(NamedTuple):
    """A case is compared."""

    comparison: Comparison


class CaseFailed(NamedTuple):
    """A case is left out because of an error."""

    case: Case
    error: Exception

    @property
    def reason(self) -> str:
        """The error in one line."""
        return describe_error(self.error)


Event = Advance | CaseSegmented | CaseDone | CaseFailed


@dataclass(frozen=True, eq=False)
class Source:
    """Where references and predictions come from.

    Attributes:
        what: Both, in one line.
        dataset: The references.
        read: Reads the reference of a case and makes or reads its prediction.
        warnings: What a reader must know before relying on the numbers.
    """

    what: str
    dataset: Dataset
    read: Callable[[Case], CaseRead]
    warnings: tuple[str, ...] = ()


def from_folders(
    reference: Path, prediction: Path, region: str = "", whose_numbers: str = ""
) -> Source:
    """Compare predictions that exist already.

    Args:
        reference: As for `cases.read_references`.
        prediction: A folder with `CASE_labels.nii.gz` or `CASE.nii.gz`.
        region: As for `cases.read_references`.
        whose_numbers: The label numbers of the predictions: "musclejax", "dataset", or "" to
            decide from the files; see `numbers.named_by`.

    Raises:
        InputError: If there are no references, or no dataset whose numbers are meant.
    """
    dataset = read_references(reference, region)
    numbers = read_numbers(prediction, dataset, whose_numbers)

    def read(case: Case) -> CaseRead:
        return CaseRead(read_pair(case, dataset, find_prediction(prediction, case), numbers))

    what = f"Predictions in {prediction} against references in {reference}{numbers.source}"
    return Source(what, dataset, read)


def from_weights(weights: Weights, data: Path, options: SegmentOptions = DEFAULTS) -> Source:
    """Segment the scans of a dataset and compare with its labels.

    Args:
        weights: The networks.
        data: The dataset.
        options: How the scans are segmented; their region is that of their labels.

    Raises:
        InputError: If the dataset cannot be evaluated with these weights.
    """
    dataset = read_scans(data, weights)

    def read(case: Case) -> CaseRead:
        return _predict(case, dataset, weights, options)

    what = f"Weights {weights.name} ({weights.hash}) on the dataset {data}"
    warnings = [weights.warning] if weights.warning else []
    return Source(what, dataset, read, (*warnings, *phantom_warnings(dataset, weights)))


def evaluate_steps(
    source: Source,
    *,
    all_slices: bool = False,
    scenes: Path | None = None,
    fat_fraction: Path | None = None,
) -> Generator[Event, None, Evaluation | None]:
    """Compare every case; leave out those that fail.

    Args:
        source: References and predictions.
        all_slices: As for `compare.compare`.
        scenes: Folder for the scenes that pictures are drawn from; it must outlive the drawing.
            Without one there are no pictures.
        fat_fraction: As for `fat_fraction.read_fat`.

    Yields:
        `CaseSegmented` for each case that weights have segmented. After each case `CaseDone` or
        `CaseFailed`, and `Advance` by cases.

    Returns:
        The evaluation; None if no case is left.
    """
    found: list[Comparison] = []
    cases = source.dataset.cases
    for number, case in enumerate(cases, 1):
        event: Event
        try:
            read = source.read(case)
            if read.found is not None:
                yield CaseSegmented(case, read.found)
            event = CaseDone(_compare(case, read, all_slices, scenes, fat_fraction))
            found.append(event.comparison)
        except Exception as error:
            # One case's surprise must not cost the rest.
            event = CaseFailed(case, error)
        yield event
        yield Advance(number, len(cases))
    if not found:
        return None
    annotated = "Only slices on which the reference shows a muscle count"
    which = "Every axial slice counts" if all_slices else annotated
    rows = combine(found)
    method = f"{which}; volumes are those of the compared slices; {RIM}"
    if fat_fraction:
        with_map = int((rows.cases["fat_fraction_unit"] != "").sum())
        method += f"; fat fractions are those of {with_map} of {len(found)} cases, which have a map"
    named = zip(rows.cases["case"], rows.cases["warnings"], strict=True)
    of_scans = ((case, text) for case, text in named if text)
    warnings = (
        *source.warnings,
        *source.dataset.warnings,
        *warning_lines(of_scans, "the column warnings of cases.csv"),
        *_never_named(source.dataset),
        *split_warnings(source.dataset, rows.cases),
        *missed_muscles(rows.muscles),
    )
    return Evaluation(source.what, method, rows, warnings, scenes)


def evaluate(
    source: Source,
    *,
    all_slices: bool = False,
    scenes: Path | None = None,
    fat_fraction: Path | None = None,
) -> Evaluation:
    """Compare every case, as `evaluate_steps`; the first error ends it.

    Raises:
        InputError: If a case fails.
    """
    steps = evaluate_steps(source, all_slices=all_slices, scenes=scenes, fat_fraction=fat_fraction)
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value
        if isinstance(event, CaseFailed):
            raise event.error


def read_scans(folder: Path, weights: Weights) -> Dataset:
    """Read the dataset through the channel that the networks see.

    Raises:
        InputError: If it is no dataset, or its images are no scanner intensities, or the
            networks see different channels.
    """
    channels = {task: int(h.config.data.channel) for task, h in weights.headers.items()}
    if len(set(channels.values())) != 1:
        found = ", ".join(f"{task} of channel {channel}" for task, channel in channels.items())
        raise InputError(f"weights {weights.name}", found or "no network", "one channel for all")
    dataset = read_dataset(folder, next(iter(channels.values())))
    if dataset.intensity is not None:
        remedy = "Evaluate the dataset that it was made from."
        accepted = "scanner intensities"
        raise InputError(folder, "images that are normalized already", accepted, remedy)
    return dataset


def _predict(case: Case, dataset: Dataset, weights: Weights, options: SegmentOptions) -> CaseRead:
    """Segment a case with the network of its own region; the classifier only adds its decision."""
    volume, reference, region = read_case(case, dataset)
    check(volume, case.image)
    case, content = replace(case, region=region), content_of(volume)

    def split(task: str) -> str:
        return split_of(case, content, dataset, weights, task)

    scan = ModelGrid(volume, options.geometry)
    found = result_of(label_steps(scan, weights, region, None, options))
    decision = None
    if CLASSIFIER in weights.networks:
        probabilities = classify(weights.networks[CLASSIFIER], scan, options.geometry)
        best = max(probabilities, key=lambda name: probabilities[name])
        decision = Decision(best, probabilities[best], split(CLASSIFIER))
    final = replace(case, split=split(region))
    pair = make_pair(final, dataset, volume, reference, found.labels)
    return CaseRead(pair, decision, found)


def _compare(
    case: Case, read: CaseRead, all_slices: bool, scenes: Path | None, fat_fraction: Path | None
) -> Comparison:
    fat = read_fat(read.pair, fat_fraction)
    comparison = compare(read.pair, all_slices=all_slices, decision=read.decision, fat=fat)
    if scenes is not None:
        save_scene(make_scene(read.pair), scenes / f"{case.name}.npz")
    return comparison


def _never_named(dataset: Dataset) -> list[str]:
    """Return a warning for each region in which the references leave muscles out."""
    warnings = []
    for name in dataset.regions:
        numbers = {number for region, number in dataset.values.values() if region == name}
        absent = [m.abbreviation for m in anatomy.REGIONS[name].muscles if m.number not in numbers]
        if absent:
            reason = f"not compared, as the {name} references never name it: "
            warnings.append(reason + ", ".join(absent))
    return warnings
