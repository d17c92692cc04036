"""The heap of the process: memory that XLA frees is kept for its next buffers.

XLA allocates its buffers anew at each call. glibc gives large ones back to the system at once and
asks for them again, and the system fills every page with zeros before it is used: with gigabytes a
step this costs more than a third of the time. The settings hold for the process that makes them and
need no privileges.

Source: ours; figures in benchmarks/README.md.
"""

import ctypes
import os
import sys
from functools import lru_cache

VARIABLE = "MUSCLEJAX_HEAP"
"""Set to "system" to leave the heap as the system sets it."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from glibc's malloc.h."""
_FOREVER = -1


@lru_cache(maxsize=1)
def keep_heap() -> bool:
    """Keep freed memory in the process; must first be called before XLA allocates.

    Returns:
        Whether it is kept: not where glibc is absent, where the user chose the system's heap, or
        where an allocator of the user's (LD_PRELOAD) stands in for glibc's.
    """
    if os.environ.get(VARIABLE) == "system" or "malloc" in os.environ.get("LD_PRELOAD", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")  # glibc's name; musl has none of it
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _FOREVER))
