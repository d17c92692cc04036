"""A dataset's scans segmented with given weights, so that they can be compared."""

from dataclasses import replace
from pathlib import Path

from musclejax import anatomy
from musclejax.data.dataset import (
    Case,
    Dataset,
    read_dataset,
    to_our_numbers,
)
from musclejax.data.split import assign_splits
from musclejax.errors import InputError
from musclejax.evaluation.compare import Decision
from musclejax.inference.predictor import BATCH_SIZE
from musclejax.inference.segment import Hooks, classify, segment
from musclejax.models.weights import Weights
from musclejax.scan.grid import to_model_grid
from musclejax.scan.volume import check, load_nifti, save_labels


def read_scans(folder: Path, weights: Weights) -> Dataset:
    """Read the dataset through the channel that the networks see.

    Raises:
        InputError: If it is no dataset, or its images are no scanner intensities, or the
            networks see different channels.
    """
    channels = {task: int(n.config.data.channel) for task, n in weights.networks.items()}
    if len(set(channels.values())) != 1:
        found = ", ".join(f"{task} of channel {channel}" for task, channel in channels.items())
        raise InputError(f"weights {weights.name}", found or "no network", "one channel for all")
    dataset = read_dataset(folder, next(iter(channels.values())))
    if dataset.intensity is not None:
        remedy = "Evaluate the dataset that it was made from."
        accepted = "scanner intensities"
        raise InputError(folder, "images that are normalised already", accepted, remedy)
    return replace(dataset, cases=tuple(_with_region(c, dataset) for c in dataset.cases))


def resolve_splits(dataset: Dataset, weights: Weights) -> dict[str, dict[str, str]]:
    """Return, for each network, the split of each of its cases.

    What `cases.csv` says stands. Elsewhere it is what the weights record of their training, and
    every case that they do not name is a test case. Weights without a record get the split that
    training would draw from their settings: true only if they were trained on this dataset.

    Raises:
        InputError: As `data.split.assign_splits`.
    """
    splits = {}
    for task, network in weights.networks.items():
        seen = recorded_splits(weights, task)
        if seen is None:
            # All cases at once, whatever their region, as `training.prepare` does.
            splits[task] = assign_splits(dataset.cases, network.config.split)
        else:
            splits[task] = {c.name: c.split or seen.get(c.name, "test") for c in dataset.cases}
    return splits


def recorded_splits(weights: Weights, task: str) -> dict[str, str] | None:
    """Return the split of the cases that a network was trained on, as `weights export` notes it."""
    data = weights.provenance.get("report", {}).get(task, {}).get("data")
    if data is None:
        return None
    parts = {name: data[name]["cases"] for name in ("train", "validation") if name in data}
    return {case: name for name, cases in parts.items() for case in cases}


def predict(
    case: Case,
    dataset: Dataset,
    weights: Weights,
    folder: Path,
    *,
    geometry: str = "world",
    second_look: bool = True,
    tidy: bool = True,
    batch_size: int = BATCH_SIZE,
    hooks: Hooks | None = None,
) -> Decision | None:
    """Segment a case with the network of its own region, into `CASE_labels.nii.gz`.

    Args:
        case: A case of `dataset`.
        dataset: As `read_scans` gives it.
        weights: The networks.
        folder: Where to write.
        geometry: As for `inference.segment.segment`.
        second_look: As for `inference.segment.segment`.
        tidy: As for `inference.segment.segment`.
        batch_size: Slices at once.
        hooks: Follow stages and progress.

    Returns:
        The classifier's decision, which is not acted upon, without a split; None if the weights
        have no classifier.

    Raises:
        InputError: If the scan cannot be segmented, or the weights lack the network.
    """
    volume = load_nifti(case.image)
    check(volume, case.image)
    region = case.region or to_our_numbers(load_nifti(case.labels).data, dataset, case)[1]
    found = segment(
        volume,
        weights,
        region=region,
        geometry=geometry,
        second_look=second_look,
        tidy=tidy,
        batch_size=batch_size,
        hooks=hooks,
    )
    path = folder / f"{case.name}_labels.nii.gz"
    save_labels(path, found.labels, volume, anatomy.REGIONS[region])
    if "region" not in weights.networks:
        return None
    slices, _ = to_model_grid(volume, geometry)
    probabilities = classify(weights.networks["region"], slices, geometry)
    best = max(probabilities, key=lambda name: probabilities[name])
    return Decision(best, probabilities[best], split="")


def _with_region(case: Case, dataset: Dataset) -> Case:
    """Add the region that only the labels tell; a case without is reported when its turn comes."""
    if case.region:
        return case
    try:
        return replace(case, region=to_our_numbers(load_nifti(case.labels).data, dataset, case)[1])
    except InputError:
        return case
