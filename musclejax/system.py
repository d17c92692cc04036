"""The machine and the process: processors, memory, heap, versions, each stated once."""

import atexit
import ctypes
import gc
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from musclejax import __version__
from musclejax.errors import InputError

VERSIONED = ("musclejax", "jax", "jaxlib", "flax", "numpy", "scipy", "nibabel")
"""Distributions that every result depends on."""
CPUINFO = Path("/proc/cpuinfo")
"""Linux's table of processors."""
HEAP_VARIABLE = "MUSCLEJAX_HEAP"
"""Set to "system" to leave the heap as the system sets it."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from glibc's malloc.h."""
_FOREVER = -1
_OBJECTS = 1_000_000
"""New objects between two looks for cycles; Python's default is 2,000."""
_MIB = 2**20
_imported = time.perf_counter()


def available_threads() -> int:
    """Return the number of processors that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Bind the process to its first processors; must run before jax is imported.

    XLA's thread pool follows the processor affinity; no flag of its own limits it.

    Raises:
        InputError: If there are not so many, or the system cannot limit them.
    """
    if not hasattr(os, "sched_setaffinity"):
        remedy = "Leave --threads out."
        raise InputError("--threads", f"a {platform.system()} system", "Linux", remedy)
    processors = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(processors):
        raise InputError("--threads", str(threads), f"1 to {len(processors)}, as this machine has")
    os.sched_setaffinity(0, processors[:threads])


def cpu_model() -> str:
    """Return the name of the processor, or its architecture where the system gives no name."""
    return first_processor().get("model name") or platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def first_processor() -> dict[str, str]:
    """Return what Linux says about the first processor; nothing elsewhere."""
    try:
        first = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware, as far as Linux on x86 says."""
    return bool({"avx512_bf16", "amx_bf16"} & {*first_processor().get("flags", "").split()})


def peak_memory_mib() -> float | None:
    """Return the largest resident memory of the process so far; None where it is unknown.

    Imports, weights and compilation are in it, as they are for a user.
    """
    kib = _kib_of("/proc/self/status", "VmHWM")
    if kib is not None:
        return round(kib / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (_MIB if sys.platform == "darwin" else 1024), 1)


def process_age_s() -> float:
    """Return the seconds since the process began; where that is unknown, since this was imported.

    Python's own start and the imports of a command are in it, as they are for a user.
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):  # not Linux
        return time.perf_counter() - _imported


def free_memory_mib() -> float | None:
    """Return the memory that is free for new processes; None where it is unknown."""
    kib = _kib_of("/proc/meminfo", "MemAvailable")
    return None if kib is None else kib / 1024


def memory_mib() -> float | None:
    """Return the memory of the machine; None where it is unknown."""
    kib = _kib_of("/proc/meminfo", "MemTotal")
    return None if kib is None else kib / 1024


def _kib_of(file: str, name: str) -> int | None:
    """Return a line's number from one of Linux's tables; None elsewhere."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)


def versions(packages: Iterable[str] = VERSIONED) -> dict[str, str]:
    """Return the versions of those of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def newer_than_this(version_of_file: object) -> str:
    """Return what to do about a file of a later musclejax; empty if it is of none."""
    theirs = str(version_of_file)
    if not _release(theirs) > _release(__version__):
        return ""
    made = f"It was made by musclejax {theirs}; this is {__version__}."
    return f"{made} Run: pip install --upgrade musclejax"


def _release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, as far as they are plain; () if it is none."""
    parts = re.match(r"\d+(\.\d+)*", text[:40])
    return tuple(int(part) for part in parts[0].split(".")) if parts else ()


def trim_heap() -> None:
    """Give memory that is free now back to the system; does nothing where the heap is not kept.

    Small blocks that outlive the first calls of a function may lie where its large ones did, so
    that these find another place; what is trimmed of the old ones does not count twice.
    """
    if keep_heap():
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def machine(libraries: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a result depends on besides its input: processor, system and versions.

    Args:
        libraries: Versions of what else was used.
    """
    python = {"python": platform.python_version()}
    return {
        "versions": {**python, **versions(), **(libraries or {})},
        "machine": {"cpu": cpu_model(), "system": platform.platform()},
        "threads": available_threads(),
        "heap": "kept" if keep_heap() else "system",
    }


def rest_collector() -> None:
    """Look for cycles of objects that are free less often, and not at all at exit.

    Imports make half a million objects that stay: looking through them again and again takes a
    sixth of their time, and another 0.4 s when Python exits. Source: ours.
    """
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)


@lru_cache(maxsize=1)
def keep_heap() -> bool:
    """Keep freed memory in the process; must first be called before XLA allocates.

    XLA allocates its buffers anew at each call. glibc gives large ones back to the system at once
    and requests them again, and the system fills every page with zeros before its use: with
    gigabytes a step this costs more than a third of the time. The settings hold for this process
    and need no privileges.

    Returns:
        Whether it is kept: not where glibc is absent, where the user chose the system's heap, or
        where an allocator of the user's (LD_PRELOAD) stands in for glibc's.

    Source: ours; figures in benchmarks/README.md.
    """
    if os.environ.get(HEAP_VARIABLE) == "system" or "malloc" in os.environ.get("LD_PRELOAD", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")  # glibc's name; musl has none of it
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _FOREVER))
