"""A trial of `musclejax tune` in this process."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from ml_collections import ConfigDict

from musclejax.app.stop import until
from musclejax.training.events import RunStopped
from musclejax.tuning.trial import trial_steps


def run_trial(
    config: ConfigDict,
    epochs: int,
    workdir: Path,
    data_folders: Sequence[Path],
    stop: Callable[[], bool],
) -> Mapping[str, float]:
    """Train a trial in this process; see `app.trial_worker.train_trial`."""
    clock = time.perf_counter
    steps = trial_steps(config, epochs, workdir, data_folders=data_folders, clock=clock)
    with closing(until(steps, stop)) as events:
        while True:
            try:
                if isinstance(next(events), RunStopped):
                    raise KeyboardInterrupt
            except StopIteration as end:
                return end.value
