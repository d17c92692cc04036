"""How a signal stops a command: a training with a checkpoint first."""

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from musclejax.training.events import TrainEvent

Result = TypeVar("Result")
_interrupts: list[int] = []
"""Ctrl-C, as often as it was pressed within `noticing_interrupts`."""
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


@contextmanager
def noticing_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise as usual, and be remembered for `raise_if_interrupted`."""
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: object) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    _interrupts.clear()
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _interrupts.clear()


def raise_if_interrupted() -> None:
    """Raise what a library has swallowed: in a callback from native code Ctrl-C is only printed."""
    if _interrupts:
        raise KeyboardInterrupt
