"""What was measured, and the events of measuring."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from musclejax.bench.job import Job

STAGES = ("startup", "load", "resample", "classify", "network", "restore", "save", "total")
"""Stages of `musclejax segment`, as its run record names them."""


@dataclass(frozen=True)
class Sample:
    """One repeat.

    Attributes:
        job: What was measured.
        group: Jobs of one group took turns; ratios are taken within it.
        round: Number of the turn, from 1.
        seconds: Of the repeat.
        peak_memory_mib: Of its process until then.
        stages: Seconds by stage, where they are known.
    """

    job: Job
    group: int
    round: int
    seconds: float
    peak_memory_mib: float | None = None
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """All that has been measured; it grows while jobs take turns.

    Attributes:
        samples: Every repeat.
        prepared: What each job's process reported of its preparation: seconds, versions.
        peaks: GFLOP/s of the best matrix product by (threads, precision).
    """

    samples: list[Sample] = field(default_factory=list)
    prepared: dict[Job, dict[str, Any]] = field(default_factory=dict)
    peaks: dict[tuple[int, str], float] = field(default_factory=dict)


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
