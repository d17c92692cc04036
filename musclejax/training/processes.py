"""Agreement among the processes of a distributed run."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from musclejax.errors import InputError


def any_process(wish: bool) -> bool:
    """Return whether any process wishes it: a checkpoint needs all of them at once."""
    if jax.process_count() == 1:
        return wish
    return bool(np.any(process_allgather(np.asarray(wish))))


def first_process(action: Callable[[], object], run: Path) -> None:
    """Let the first process act while the others wait.

    Raises:
        InputError: In all processes, if the action fails.
        OSError: In the first, if that is why.
    """
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            action()
        except (InputError, OSError) as error:
            failure = error
    if any_process(failure is not None):
        raise failure or InputError(run, "an error in the first process", "none", "See its output.")
