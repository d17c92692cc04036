"""Long loops are generators: the events that they yield, and how to run one to its end.

A loop knows nothing of bars and terminals: whoever runs it looks at what it yields, and gives it a
clock if it is to record seconds. Loops with more to tell have events of their own beside these.
"""

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")


class Stage(NamedTuple):
    """A stage begins; the one before it is done."""

    name: str


class Advance(NamedTuple):
    """So many of so many items are done; the total may grow on the way."""

    done: int
    total: int


def result_of(steps: Generator[Any, None, Result]) -> Result:
    """Run a loop to its end, its events unseen, and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
