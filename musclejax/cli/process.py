"""The process: threads, compilation cache, clock, memory and what it runs on."""

import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.heap import keep_heap
from musclejax.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

VERSIONED = ("musclejax", "jax", "jaxlib", "flax", "numpy", "scipy", "nibabel")


class BadUsage(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = 2


@contextmanager
def usage() -> Iterator[None]:
    """Turn errors about options into exit code 2."""
    try:
        yield
    except InputError as error:
        raise BadUsage(str(error)) from error


def check_output(folder: Path) -> None:
    """Make the folder for results if needed.

    Raises:
        BadUsage: If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise BadUsage(f"-o: found {folder}, which cannot be written; accepted: a folder.")


def configure(threads: int | None) -> None:
    """Set up the process; must run before jax is imported.

    Args:
        threads: Processors to use; all that the process may use if None. XLA's thread pool
            follows the processor affinity; no flag of its own limits it.

    Raises:
        InputError: If there are not so many, or the system cannot limit them.
    """
    if threads is not None:
        _limit_threads(threads)
    keep_heap()
    from platformdirs import user_cache_path

    # One folder for each kind of processor: machines of a cluster may share a home.
    kind = hashlib.sha256(cpu_model().encode()).hexdigest()[:8]
    folder = user_cache_path("musclejax") / f"xla-{kind}"
    cache = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    # Every compilation is worth keeping here: a run compiles two or three functions.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if not _can_make(cache):
        del os.environ["JAX_COMPILATION_CACHE_DIR"]


def progress_bar() -> "Progress":
    """Return a progress bar with the time left that shows itself on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def available_threads() -> int:
    """Return the number of processors that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_mib() -> float | None:
    """Return the largest resident memory of the process so far; None where it is not told."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(peak / unit, 1)


def machine(libraries: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a result depends on besides its input: processor, system and versions.

    Args:
        libraries: Versions of what else was used.
    """
    versions = {package: version(package) for package in VERSIONED}
    return {
        "versions": {"python": platform.python_version(), **versions, **(libraries or {})},
        "machine": {"cpu": cpu_model(), "system": platform.platform()},
        "threads": available_threads(),
        "heap": "kept" if keep_heap() else "system",
    }


def cpu_model() -> str:
    """Return the name of the processor, or its architecture where the name is not told."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            models = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
    except OSError:
        models = []
    return models[0] if models else platform.processor() or platform.machine()


class Stopwatch:
    """Seconds by stage; a stage that is still open counts up to now."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._open: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under a name; the same name adds up."""
        self._open[name] = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._since(name)
            del self._open[name]

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far, in the order in which they began."""
        names = dict.fromkeys([*self._seconds, *self._open])
        return {name: round(self._since(name), 4) for name in names}

    def _since(self, name: str) -> float:
        begun = self._open.get(name)
        running = time.perf_counter() - begun if begun is not None else 0.0
        return self._seconds.get(name, 0.0) + running


def _limit_threads(threads: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        remedy = "Leave --threads out."
        raise InputError("--threads", f"a {platform.system()} system", "Linux", remedy)
    processors = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(processors):
        raise InputError("--threads", str(threads), f"1 to {len(processors)}, as this machine has")
    os.sched_setaffinity(0, processors[:threads])


def _can_make(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
