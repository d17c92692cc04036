"""What a piece of work took: seconds, processor seconds, energy, and what else ran meanwhile."""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")
"""Linux's table of what each processor did since the machine started."""
POWERCAP = Path("/sys/class/powercap")
"""Linux's counters of energy (RAPL); often only root may read them."""
_BUSY = (0, 1, 2, 5, 6, 7)
"""Columns user, nice, system, irq, softirq and steal. Source: `man 5 proc_stat`."""
OTHERS, OTHERS_SHARE = 0.15, 0.02
"""Processors, and their share, from which what else ran disturbs. Source: ours; the system counts
in steps of 10 ms, which reads as up to 0.04 processors in half a second."""


class Usage(NamedTuple):
    """What a piece of work took; None where the system does not report it.

    Attributes:
        seconds: Wall time.
        cpu_s: Seconds of all processors, of this process and those it waited for.
        others: Processors that everything else kept busy meanwhile, of those that it may use.
        energy_j: Joule of all processor packages, whoever used them.
    """

    seconds: float
    cpu_s: float | None = None
    others: float | None = None
    energy_j: float | None = None


class Reading(NamedTuple):
    """Counters at one time: seconds; of energy, microjoule and where each counter starts anew."""

    wall: float
    own: float
    busy: float | None
    energy: tuple[tuple[int, int], ...]


def read(processors: Collection[int]) -> Reading:
    """Read the counters; `processors` are those that the work may use."""
    own = time.process_time() + _children()
    return Reading(time.perf_counter(), own, _busy_seconds(processors), _energy())


def usage(before: Reading, after: Reading, calls: int = 1) -> Usage:
    """Return what lies between two readings, per call."""
    wall, own = after.wall - before.wall, after.own - before.own
    others = None
    if before.busy is not None and after.busy is not None and wall:
        others = max(0.0, (after.busy - before.busy - own) / wall)
    pairs = zip(before.energy, after.energy, strict=True)
    spent = [(new - old) % wrap for (old, wrap), (new, _) in pairs]
    energy = sum(spent) / 1e6 / calls if spent else None
    return Usage(wall / calls, own / calls, others, energy)


def bound(processors: int) -> float:
    """Return how many processors everything else may keep busy before it disturbs."""
    return max(OTHERS, OTHERS_SHARE * processors)


def own_processors() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _children() -> float:
    """Return the processor seconds of processes that this one has waited for."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_seconds(processors: Collection[int]) -> float | None:
    try:
        lines = STAT.read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in processors}
    rows = [line.split() for line in lines if line.split(" ", 1)[0] in names]
    ticks = sum(int(row[1 + column]) for row in rows for column in _BUSY)
    return ticks / os.sysconf("SC_CLK_TCK") if rows else None


def _energy() -> tuple[tuple[int, int], ...]:
    """Return each package's counter; () where one cannot be read."""
    try:
        packages = sorted(
            folder
            for folder in POWERCAP.glob("intel-rapl:*")
            if (folder / "name").read_text().startswith("package")
        )
        return tuple(
            (_number(folder / "energy_uj"), _number(folder / "max_energy_range_uj"))
            for folder in packages
        )
    except (OSError, ValueError):
        return ()


def _number(file: Path) -> int:
    return int(file.read_text())
