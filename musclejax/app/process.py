"""The process of a command: threads, compilation cache, clock, and errors of usage."""

import hashlib
import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from platformdirs import user_cache_path

from musclejax.errors import InputError
from musclejax.loops import Stage
from musclejax.system import cpu_model, keep_heap, limit_threads

Result = TypeVar("Result")
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
    """Set up the process; must run before numpy and jax are imported.

    A command calls it before it imports its program, a worker of a cluster before it does.

    Args:
        threads: Processors to use; all that the process may use if None. XLA's thread pool
            follows the processor affinity; no flag of its own limits it.

    Raises:
        BadUsage: If there are not so many, or the system cannot limit them.
    """
    global _configured
    _configured = time.perf_counter()
    if threads is not None:
        with usage():
            limit_threads(threads)
    keep_heap()
    # One folder for each kind of processor: machines of a cluster may share a home.
    kind = hashlib.sha256(cpu_model().encode()).hexdigest()[:8]
    folder = user_cache_path("musclejax") / f"xla-{kind}"
    cache = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    # Every compilation is worth keeping here: a run compiles two or three functions.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if not _can_make(cache):
        del os.environ["JAX_COMPILATION_CACHE_DIR"]


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


def _can_make(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
