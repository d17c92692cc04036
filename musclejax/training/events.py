"""Events of a training run."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class RunResumed(NamedTuple):
    """The run resumes from the best checkpoint, as the last one is not there.

    Attributes:
        epoch: Epochs done.
    """

    epoch: int


class StepDone(NamedTuple):
    """A step is done.

    Attributes:
        step: Steps done, those of earlier commands included.
        total: Steps of the whole run.
        waited: Seconds that the step waited for data.
    """

    step: int
    total: int
    waited: float


class EpochDone(NamedTuple):
    """An epoch is done and saved.

    Attributes:
        metrics: The line that was added to `metrics.jsonl`.
    """

    metrics: Mapping[str, Any]


class RunStopped(NamedTuple):
    """The run stops, as was requested; its checkpoint is written.

    Attributes:
        step: Steps done.
    """

    step: int


TrainEvent = RunResumed | StepDone | EpochDone | RunStopped
