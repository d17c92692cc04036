"""From two folders, or weights and a dataset, to an evaluation: the loop over the cases."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musclejax import anatomy
from musclejax.data.dataset import Case, Dataset
from musclejax.evaluation.compare import Comparison, Decision, combine, compare
from musclejax.evaluation.pairs import Pair, find_prediction, read_pair, read_references
from musclejax.evaluation.report import Evaluation
from musclejax.inference.predictor import BATCH_SIZE

if TYPE_CHECKING:
    from musclejax.models.weights import Weights

_ASSIGNED = (
    "splits that cases.csv does not name are drawn from the settings in the weights: true only if "
    "they were trained on this dataset"
)


@dataclass(frozen=True, eq=False)
class Source:
    """Where references and predictions come from.

    Attributes:
        what: Both, in one line.
        dataset: The references; each case with its split.
        predict: Makes or finds the label map of a case; also returns the classifier's decision,
            None if it was not asked.
        notes: What a reader should know before relying on the numbers.
    """

    what: str
    dataset: Dataset
    predict: Callable[[Case], tuple[Path, Decision | None]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Follow:
    """How a caller follows the cases and decides what a failure means.

    Attributes:
        attempt: Called with a case; what it returns is entered around the work on it and may
            swallow an error: then the case is left out.
        done: Called with what was measured in a case.
    """

    attempt: Callable[[Case], AbstractContextManager[Any]] = lambda case: nullcontext()
    done: Callable[[Comparison], None] = lambda comparison: None


def from_folders(reference: Path, prediction: Path, region: str = "") -> Source:
    """Compare predictions that exist already.

    Args:
        reference: As for `pairs.read_references`.
        prediction: A folder with `CASE_labels.nii.gz` or `CASE.nii.gz`.
        region: As for `pairs.read_references`.

    Raises:
        InputError: If there are no references.
    """
    dataset = read_references(reference, region)
    what = f"Predictions in {prediction} against references in {reference}"
    return Source(what, dataset, lambda case: (find_prediction(prediction, case), None))


def from_weights(
    weights: "Weights",
    data: Path,
    folder: Path,
    *,
    geometry: str = "world",
    second_look: bool = True,
    tidy: bool = True,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda slices: None,
) -> Source:
    """Segment the scans of a dataset and compare with its labels.

    Args:
        weights: The networks.
        data: The dataset.
        folder: Where the predicted label maps go; it must outlive the evaluation's pictures.
        geometry: As for `inference.segment.segment`.
        second_look: As for `inference.segment.segment`.
        tidy: As for `inference.segment.segment`.
        batch_size: Slices at once.
        advance: Called with the number of slices just segmented.

    Raises:
        InputError: If the dataset cannot be evaluated with these weights.
    """
    from musclejax.evaluation.predict import predict, read_scans, recorded_splits, resolve_splits
    from musclejax.inference.segment import Hooks

    dataset = read_scans(data, weights)
    splits = resolve_splits(dataset, weights)
    cases = (replace(c, split=splits.get(c.region, {}).get(c.name, c.split)) for c in dataset.cases)
    notes = [weights.caution] if weights.caution else []
    recorded = all(recorded_splits(weights, task) is not None for task in weights.networks)
    if not recorded and not all(case.split for case in dataset.cases):
        notes.append(_ASSIGNED)
    options: dict[str, Any] = {"geometry": geometry, "second_look": second_look}
    options |= {"tidy": tidy, "batch_size": batch_size}
    hooks = Hooks(advance=advance)

    def find(case: Case) -> tuple[Path, Decision | None]:
        decision = predict(case, dataset, weights, folder, hooks=hooks, **options)
        role = splits.get("region", {}).get(case.name, "")
        path = find_prediction(folder, case)
        return path, decision and replace(decision, split=role)

    what = f"Weights {weights.name} ({weights.hash}) on the dataset {data}"
    return Source(what, replace(dataset, cases=tuple(cases)), find, tuple(notes))


def evaluate(
    source: Source, *, all_slices: bool = False, follow: Follow | None = None
) -> Evaluation | None:
    """Compare every case.

    Args:
        source: References and predictions.
        all_slices: As for `compare.compare`.
        follow: Follow the cases, and survive those that fail.

    Returns:
        What to report; None if no case is left.

    Raises:
        InputError: If a case fails and `follow` lets the error pass.
    """
    follow = follow or Follow()
    found: list[Comparison] = []
    places: dict[str, tuple[Case, Path]] = {}
    for case in source.dataset.cases:
        with follow.attempt(case):
            path, decision = source.predict(case)
            pair = read_pair(case, source.dataset, path)
            comparison = compare(pair, all_slices=all_slices, decision=decision)
            follow.done(comparison)
            found.append(comparison)
            places[case.name] = case, path
    if not found:
        return None

    def load(name: str) -> Pair:
        case, path = places[name]
        return read_pair(case, source.dataset, path)

    which = "Every axial slice" if all_slices else "Only slices on which the reference shows muscle"
    compared = f"{which} counts; volumes are those of the compared slices"
    notes = [*source.notes, compared, *_unnamed(source.dataset)]
    return Evaluation(source.what, combine(found), notes, load)


def _unnamed(dataset: Dataset) -> list[str]:
    """Return a note for each region in which the references leave muscles out."""
    notes = []
    for name in dataset.regions:
        numbers = {number for region, number in dataset.values.values() if region == name}
        absent = [m.abbreviation for m in anatomy.REGIONS[name].muscles if m.number not in numbers]
        if absent:
            notes.append(
                f"not compared, as the {name} references never name it: " + ", ".join(absent)
            )
    return notes
