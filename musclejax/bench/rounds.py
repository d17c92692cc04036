"""Which jobs take a turn in which round: until all were measured in calm, or the time is over."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from musclejax.bench.job import Job
from musclejax.bench.record import Sample

EXTRA = 1
"""Further rounds in place of disturbed ones, for each round that was requested. Source: ours."""


class Budget(NamedTuple):
    """When measuring ends.

    Attributes:
        repeats: Calm repeats of each job.
        seconds: In their place: how long rounds are repeated; at least one is measured.
    """

    repeats: int
    seconds: float | None = None

    def share(self, groups: int) -> "Budget":
        """Return the budget of one of several groups."""
        return self._replace(seconds=None if self.seconds is None else self.seconds / groups)


def turns(
    jobs: list[Job], samples: list[Sample], budget: Budget, start: float
) -> Iterator[tuple[int, list[Job]]]:
    """Yield the number of each round, from 1, and the jobs that take a turn in it.

    Args:
        jobs: What is measured; jobs that fail are removed meanwhile.
        samples: All repeats so far; it grows meanwhile.
        budget: When this ends.
        start: When the time began to count, by `time.monotonic`.
    """
    before, first = time.monotonic(), len(samples)
    for turn in count(1):
        now = time.monotonic()
        due = due_jobs(turn, jobs, samples[first:], budget, now - start, now - before)
        if not due:
            return
        before = now
        yield turn, due


def due_jobs(
    turn: int,
    jobs: Sequence[Job],
    samples: Sequence[Sample],
    budget: Budget,
    elapsed: float,
    last: float,
) -> list[Job]:
    """Return the jobs that take a turn in a round; none if measuring is over.

    Disturbed repeats are made up for, each beside its reference, so that ratios stay paired.

    Args:
        turn: Number of the round, from 1.
        jobs: What is measured.
        samples: Their repeats so far.
        budget: When this ends.
        elapsed: Seconds since the beginning.
        last: Seconds of the last round.
    """
    if budget.seconds is not None:
        return list(jobs) if turn == 1 or elapsed + last <= budget.seconds else []
    if turn <= budget.repeats:
        return list(jobs)
    if turn > budget.repeats * (1 + EXTRA):
        return []
    calm = Counter(s.job for s in samples if not s.disturbed)
    lacking = {job for job in jobs if calm[job] < budget.repeats}
    wanted = lacking | {job.reference for job in lacking}
    return [job for job in jobs if job in wanted]
