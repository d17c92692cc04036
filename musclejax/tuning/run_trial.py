"""One trial of a search is one run of `fit`, which stops at a budget and goes on from there."""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from ml_collections import ConfigDict

from musclejax.config import from_dict
from musclejax.training.fit import Hooks, RunStoppedError, fit
from musclejax.training.prepare import Data, initial_variables, load_data

_FIGURES = ("train_", "validation_")


def run_trial(
    config: ConfigDict,
    epochs: int,
    workdir: Path,
    *,
    data_folders: Sequence[Path],
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Train from the last checkpoint in the trial's folder up to `epochs` epochs in all.

    Args:
        config: Settings of the trial; the same at every call.
        epochs: The budget.
        workdir: Folder of the trial.
        data_folders: Datasets.
        stop: Asked after every step; True writes a checkpoint and stops.

    Returns:
        The figures of the last epoch.

    Raises:
        InputError: If the loss is no number any more, or the run cannot be gone on with.
        KeyboardInterrupt: If `stop` said so: the whole search stops.
    """
    variables, start = initial_variables(config, None)
    data = load_search_data(data_folders, config)
    hooks, record = Hooks(stop=stop), {"start": start}
    try:
        history = fit(
            config, data, workdir, variables, resume=True, epochs=epochs, record=record, hooks=hooks
        )
    except RunStoppedError as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    # The rest of the line is about the run; a muscle that is nowhere has no figure.
    figures = {name: x for name, x in history[-1].items() if name.startswith(_FIGURES)}
    return {name: float(x) for name, x in figures.items() if x is not None}


def load_search_data(folders: Sequence[Path], config: ConfigDict) -> Data:
    """Load what all trials of a search learn from; a process does so once.

    Raises:
        InputError: If the data cannot be learnt from; see `prepare.load_data`.
    """
    values = config.to_dict()
    # What trials differ in does not bear on the data.
    shared = {name: value for name, value in values.items() if name not in ("optim", "plateau")}
    return _load(tuple(map(str, folders)), json.dumps(shared))


@lru_cache(maxsize=1)
def _load(folders: tuple[str, ...], config_json: str) -> Data:
    return load_data(folders, from_dict(json.loads(config_json)))
