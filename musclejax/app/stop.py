"""How a signal stops a training: with a checkpoint first."""

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from musclejax.training.events import TrainEvent

Result = TypeVar("Result")
STOPPED = 130
"""Exit code of a command that was stopped by a signal, as shells have it."""


def until(
    steps: Generator[TrainEvent, bool | None, Result], stop: Callable[[], bool]
) -> Generator[TrainEvent, None, Result]:
    """Pass the events of a run on; request its stop once `stop()` is true."""
    wish = None
    with closing(steps):
        while True:
            try:
                event = steps.send(wish)
            except StopIteration as end:
                return end.value
            yield event
            wish = stop()


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a wish to stop; a second one stops at once."""
    requested: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        if requested:
            raise KeyboardInterrupt
        requested.append(number)

    for number in before:
        signal.signal(number, request)
    try:
        yield lambda: bool(requested)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
