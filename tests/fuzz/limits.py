"""Limits of time and memory for one process (Linux)."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS, WALL_SECONDS = 5, 60
"""Of processor and of clock for one input. Source: ours; a valid one takes 10 ms, and a machine may
be busy with other things."""
MEMORY_MIB, ADDRESS_MIB = 256, 5632
"""Growth of resident memory that counts as too much, and of addresses that the system refuses.
Source: ours. A valid input has 30 kB; pydicom asks for the 4 GiB that an element can declare, and
touches what is there."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Let the system end this process, in whatever library it is, when its time is over."""
    clocks = (signal.ITIMER_PROF, SECONDS), (signal.ITIMER_REAL, WALL_SECONDS)
    for clock, seconds in clocks:
        signal.setitimer(clock, seconds)
    yield
    for clock, _ in clocks:
        signal.setitimer(clock, 0)


def limit_memory() -> None:
    """Let the system refuse what no small input needs."""
    status = Path("/proc/self/statm").read_text().split()
    most = int(status[0]) * resource.getpagesize() + (ADDRESS_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def peak_mib(*, reset: bool = False) -> float:
    """Return the most memory that this process has held since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
