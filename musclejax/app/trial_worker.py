"""A trial of `musclejax tune`, in the process of the command or in a worker of a cluster.

As in a command, the process is set up before the program, and jax with it, is imported.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musclejax.app.process import configure

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def never() -> bool:
    """Return False: nobody stops the trials of a cluster."""
    return False


def train_trial(
    config: "ConfigDict",
    epochs: int,
    workdir: Path,
    *,
    data_folders: Sequence[Path],
    stop: Callable[[], bool] = never,
) -> Mapping[str, float]:
    """Train a trial; see `hyperband.RunTrial`.

    Args:
        config: Settings of the trial.
        epochs: The budget.
        workdir: Folder of the trial.
        data_folders: Datasets.
        stop: Whether the trial shall stop; it then writes a checkpoint first.

    Raises:
        KeyboardInterrupt: If it was stopped: the whole search stops.
    """
    configure(None, trains=True)
    from musclejax.app.trial import run_trial

    return run_trial(config, epochs, workdir, data_folders, stop)


def check_batch(config: dict[str, Any]) -> None:
    """Check that the devices of this worker can share a batch.

    Raises:
        InputError: If they cannot: each of its trials would fail.
    """
    configure(None, trains=True)
    from musclejax.config import from_dict
    from musclejax.training.loop import check_batch_size

    check_batch_size(from_dict(config))
