"""The process of a command: threads, compilation cache, clock, and errors of usage."""

import errno
import hashlib
import os
import shlex
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from musclejax.app.devices import check_devices, compute_at_once, mend_compile_cache
from musclejax.errors import InputError
from musclejax.files import DISK_FULL, cache_folder, is_private
from musclejax.loops import Stage
from musclejax.system import cpu_model, keep_heap, limit_threads, rest_collector

Result = TypeVar("Result")
_TRANSIENT = (*DISK_FULL, errno.EIO)
"""Errors of a disk that another time, or more room, may mend."""
_configured = time.perf_counter()
"""When `configure` was last called."""


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


def check_output(folder: Path, option: str = "-o") -> None:
    """Check that a folder could be made or written, before hours are spent; nothing is made.

    Raises:
        BadUsage: If not.
    """
    # `Path.exists` raises where a folder above may not be searched.
    places = (folder, *folder.absolute().parents)
    nearest = next(place for place in places if os.access(place, os.F_OK))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise _unwritable(option, folder, f"{nearest} is not a folder to write in")


def _unwritable(option: str, folder: Path, reason: str) -> BadUsage:
    found = f"{folder}, which cannot be written ({reason})"
    return BadUsage(str(InputError(option, found, "a folder", f"Take another {option}.")))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of the disk, while a command writes into its -o, into one line.

    Raises:
        BadUsage: If nothing can be written there.
        ClickException: If the disk is full or fails.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _TRANSIENT:
            found = f"found {folder}, which cannot be written ({reason})"
            raise click.ClickException(f"-o: {found}. Make room and repeat the command.") from error
        raise _unwritable("-o", folder, reason) from error


def configure(threads: int | None, *, joins: bool = False, trains: bool = False) -> None:
    """Set up the process; must run before numpy and jax are imported.

    A command calls it before it imports its program, a worker of a cluster before it does.

    Args:
        threads: Processors to use; all that the process may use if None. XLA's thread pool
            follows the processor affinity; no flag of its own limits it.
        joins: The process will join others, and must do so before it looks for its devices.
        trains: The process trains, and keeps the memory of a step; see `devices.compute_at_once`.

    Raises:
        BadUsage: If the machine has fewer, the system cannot limit them, or JAX_PLATFORMS names
            devices that are not there.
    """
    global _configured
    _configured = time.perf_counter()
    if threads is not None:
        with usage():
            limit_threads(threads)
    # NumPy's matrix products are small here: a second thread saves no time, and waits at full load.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    keep_heap()
    rest_collector()
    mend_compile_cache()
    folder = _cache_folder()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and folder and is_private(folder):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # Every compilation is worth keeping here: a run compiles two or three functions.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if trains and not joins:
        compute_at_once()
    if not joins:
        with usage():
            check_devices()


def command_line() -> str:
    """Return the command of this process, as it is typed into a shell."""
    return shlex.join(["musclejax", *sys.argv[1:]])


def since_configured() -> float:
    """Return the seconds since `configure`: the imports of a program are a part of its start."""
    return time.perf_counter() - _configured


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

    def add(self, name: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere to a stage."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def timed(self, steps: Generator[Any, None, Result]) -> Generator[Any, None, Result]:
        """Pass the events of a loop on; time its stages, each until the next one begins."""
        with ExitStack() as current:
            while True:
                try:
                    event = next(steps)
                except StopIteration as end:
                    return end.value
                if isinstance(event, Stage):
                    current.close()
                    current.enter_context(self.stage(event.name))
                yield event

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far, in the order in which they began."""
        names = dict.fromkeys([*self._seconds, *self._open])
        return {name: round(self._since(name), 4) for name in names}

    def _since(self, name: str) -> float:
        begun = self._open.get(name)
        running = time.perf_counter() - begun if begun is not None else 0.0
        return self._seconds.get(name, 0.0) + running


def _cache_folder() -> Path | None:
    """Return the folder for compiled functions; None where the user has no home."""
    # One for each kind of processor: machines of a cluster may share a home.
    kind = hashlib.sha256(cpu_model().encode()).hexdigest()[:8]
    folder = cache_folder()
    return folder and folder / f"xla-{kind}"
