"""Which cases of a dataset the networks were trained on."""

from musclejax.data.dataset import Dataset
from musclejax.data.split import assign_splits
from musclejax.models.weights import Weights


def resolve_splits(dataset: Dataset, weights: Weights) -> dict[str, dict[str, str]]:
    """Return, for each network, the split of each case.

    A split in `cases.csv` stands. Elsewhere it is the one that the weights record of their
    training, and every case that they do not name is a test case. Weights without a record get
    the split that training would assign from their settings: true only if they were trained on
    this dataset.

    Raises:
        InputError: As `data.split.assign_splits`.
    """
    splits = {}
    for task, header in weights.headers.items():
        recorded = recorded_splits(weights, task)
        if recorded is None:
            # All cases at once, whatever their region, as `training.setup` does.
            splits[task] = assign_splits(dataset.cases, header.config.split)
        else:
            splits[task] = {c.name: c.split or recorded.get(c.name, "test") for c in dataset.cases}
    return splits


def recorded_splits(weights: Weights, task: str) -> dict[str, str] | None:
    """Return the split of the cases that a network was trained on, from `weights export`."""
    data = weights.provenance[task].data if task in weights.provenance else {}
    if not data:
        return None
    parts = {name: data[name]["cases"] for name in ("train", "validation") if name in data}
    return {case: name for name, cases in parts.items() for case in cases}
