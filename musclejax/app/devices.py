"""What JAX finds when a command starts: its devices, and functions compiled by earlier commands."""

import glob
import os
import re
import warnings
from pathlib import Path
from typing import Any

import click

from musclejax.errors import InputError

_CACHE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '([^']+)': (.*)"
)
"""How JAX warns about its compile cache: what failed, the function, and why."""


def check_devices() -> None:
    """Check that there is a device of the kind that JAX_PLATFORMS names; imports JAX if it does.

    Raises:
        InputError: If there is none.
    """
    wanted = os.environ.get("JAX_PLATFORMS", "")
    if wanted in ("", "cpu"):
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        found = f"{wanted}, but no such device on this machine"
        remedy = "Run: export JAX_PLATFORMS=cpu"
        raise InputError("JAX_PLATFORMS", found, "cpu", remedy) from None


def compute_at_once() -> None:
    """Let XLA compute on the thread that calls, which then waits, not on threads of its own.

    That thread's heap keeps the gigabytes that a training step needs. The heaps of others give
    large blocks back at once, so that each step takes them anew, page by page: an eighth of its
    processor time. Source: ours; benchmarks/README.md.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def mend_compile_cache() -> None:
    """Remove entries of JAX's compile cache that cannot be read or were not written whole.

    JAX warns about such an entry, compiles, and never replaces it: it would do so at every start.
    The entry goes when the warning comes, before JAX writes the new one.
    """
    if getattr(warnings.showwarning, "mends_cache", False):
        return
    shown = warnings.showwarning

    def show(message: Any, *rest: Any, **options: Any) -> None:
        trouble = _CACHE.match(" ".join(str(message).split()))
        if trouble is None:
            shown(message, *rest, **options)
        else:
            _remove_entries(trouble[2])
            _report(*trouble.group(1, 3))

    show.mends_cache = True  # type: ignore[attr-defined]
    warnings.showwarning = show
    warnings.filterwarnings("always", message="Error (reading|writing) persistent compilation")


def _remove_entries(function: str) -> None:
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not folder:
        return
    for entry in Path(folder).glob(f"{glob.escape(function)}-*"):
        try:
            entry.unlink(missing_ok=True)
        except OSError:
            continue


_reported: set[str] = set()


def _report(what: str, reason: str) -> None:
    """Warn once that functions cannot be kept; those that are mended need no word."""
    if what == "writing" and what not in _reported:
        folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
        line = f"{folder}: compiled functions cannot be kept ({reason[:100]}); a start takes longer"
        click.echo(f"warning: {line}", err=True)
        _reported.add(what)
