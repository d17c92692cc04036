"""What was measured, and the events of measuring."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from musclejax.bench.job import Job
from musclejax.bench.meter import Usage, bound

STAGES = ("startup", "load", "resample", "classify", "network", "restore", "save", "total")
"""Stages of `musclejax segment`, as its run record names them."""


@dataclass(frozen=True)
class Sample:
    """One repeat.

    Attributes:
        job: What was measured.
        group: Jobs of one group took turns; ratios are taken within it.
        round: Number of the turn, from 1.
        usage: What a call took, the mean over the repeat.
        peak_memory_mib: Of its process until then.
        latencies: Seconds of each call.
        stages: Seconds by stage, where they are known.
    """

    job: Job
    group: int
    round: int
    usage: Usage
    peak_memory_mib: float | None = None
    latencies: tuple[float, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Wall time of a call."""
        return self.usage.seconds

    @property
    def disturbed(self) -> bool:
        """Whether more ran meanwhile than `meter.bound` allows."""
        return self.usage.others is not None and self.usage.others > bound(self.job.threads)


class Peak(NamedTuple):
    """The fastest arithmetic that was seen in a round: GFLOP/s, and of what."""

    gflops: float
    by: str


class Accuracy(NamedTuple):
    """How good the labels of the sample scan are.

    Attributes:
        agreement: Share of the foreground with the same label as by jax in float32.
        dsc: Mean Dice over the muscles of a reference, in the slices that it labels.
    """

    agreement: float | None = None
    dsc: float | None = None


@dataclass(frozen=True)
class Record:
    """All that has been measured; it grows while jobs take turns.

    Attributes:
        samples: Every repeat.
        prepared: What each job's process reported of its preparation: seconds, versions.
        peaks: Peak of each round by (threads, precision).
        accuracy: Of the jobs with trained weights.
        warnings: What could not be measured.
    """

    samples: list[Sample] = field(default_factory=list)
    prepared: dict[Job, dict[str, Any]] = field(default_factory=dict)
    peaks: dict[tuple[int, str], list[Peak]] = field(default_factory=dict)
    accuracy: dict[Job, Accuracy] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class GroupBegins(NamedTuple):
    """Jobs that fit into memory together begin to take turns.

    Attributes:
        number: Of the group, from 1.
        total: Number of groups.
        jobs: Jobs of the group.
    """

    number: int
    total: int
    jobs: Sequence[Job]


class Prepared(NamedTuple):
    """A job is ready to take turns."""

    job: Job
    seconds: float


class Sampled(NamedTuple):
    """A job had its turn."""

    sample: Sample


class Failed(NamedTuple):
    """A job failed and is left out from now on."""

    job: Job
    reason: str


class RoundDone(NamedTuple):
    """Every job of a group had its turn.

    Attributes:
        round: Number of the turn, from 1.
        record: All that is measured so far.
    """

    round: int
    record: Record


Event = GroupBegins | Prepared | Sampled | Failed | RoundDone
