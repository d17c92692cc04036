"""Loops that yield events, run by tests."""

from collections.abc import Generator
from typing import Any


def run(steps: Generator[Any, None, Any]) -> tuple[Any, list[Any]]:
    """Return what a loop returns, and its events."""
    events: list[Any] = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return end.value, events
