"""One trial of a search is one training run, which ends at a budget and resumes from there."""

import json
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from pathlib import Path

from ml_collections import ConfigDict

from musclejax.config import from_dict
from musclejax.training.events import TrainEvent
from musclejax.training.loop import train_steps
from musclejax.training.setup import Data, initial_variables, load_data

_FIGURES = ("train_", "validation_")


def trial_steps(
    config: ConfigDict,
    epochs: int,
    workdir: Path,
    *,
    data_folders: Sequence[Path],
    clock: Callable[[], float],
) -> Generator[TrainEvent, bool | None, dict[str, float]]:
    """Train from the last checkpoint in the trial's folder up to `epochs` epochs in all.

    Events and the way to stop are those of `train_steps`.

    Args:
        config: Settings of the trial; the same at every call.
        epochs: The budget.
        workdir: Folder of the trial.
        data_folders: Datasets.
        clock: As for `train_steps`.

    Returns:
        The figures of the last epoch.

    Raises:
        InputError: If the loss is no number any more, or the run cannot resume.
    """
    variables, start = initial_variables(config, None)
    data = load_search_data(data_folders, config)
    history = yield from train_steps(
        config,
        data,
        workdir,
        variables,
        clock=clock,
        resume=True,
        epochs=epochs,
        record={"start": start},
    )
    last = history[-1] if history else {}
    # The rest of the line is about the run; a muscle that is nowhere has no figure.
    figures = {name: x for name, x in last.items() if name.startswith(_FIGURES)}
    return {name: float(x) for name, x in figures.items() if x is not None}


def load_search_data(folders: Sequence[Path], config: ConfigDict) -> Data:
    """Load the data that all trials of a search share; a process does so once.

    Raises:
        InputError: If the data cannot be learned from; see `setup.load_data_steps`.
    """
    values = config.to_dict()
    # Trials differ in these; they do not bear on the data.
    shared = {name: value for name, value in values.items() if name not in ("optim", "plateau")}
    return _load(tuple(map(str, folders)), json.dumps(shared))


@lru_cache(maxsize=1)
def _load(folders: tuple[str, ...], config_json: str) -> Data:
    return load_data(folders, from_dict(json.loads(config_json)))
