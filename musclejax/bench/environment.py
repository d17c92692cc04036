"""The machine that a measurement was made on, as far as its speed depends on it."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import musclejax
from musclejax.system import (
    available_threads,
    first_processor,
    free_memory_mib,
    machine,
    memory_mib,
)

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_ISA = re.compile(r"sse4_2|f16c|fma|avx\w*|amx_\w+|asimd\w*|sve\w*|bf16|i8mm")
"""Instruction sets that matrix products use, as Linux names them on x86-64 and aarch64."""
_GIT_SECONDS = 10


def environment() -> dict[str, Any]:
    """Return processor, memory, system, load and versions; None where the system does not say."""
    here = machine()
    processor = first_processor()
    return {
        "versions": here["versions"],
        "commit": commit(),
        "machine": {
            **here["machine"],
            "vendor": processor.get("vendor_id") or processor.get("CPU implementer"),
            "family": processor.get("cpu family") or processor.get("CPU architecture"),
            "model": processor.get("model") or processor.get("CPU part"),
            "stepping": processor.get("stepping") or processor.get("CPU revision"),
            "isa": isa(processor),
            "hypervisor": "hypervisor" in processor.get("flags", "").split(),
            "processors": os.cpu_count(),
            "available": available_threads(),
            "memory_mib": _rounded(memory_mib()),
            "free_memory_mib": _rounded(free_memory_mib()),
            "huge_pages": _huge_pages(),
            "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "heap": here["heap"],
        },
    }


def isa(processor: Mapping[str, str]) -> list[str]:
    """Return the instruction sets of a processor that speed depends on, by name."""
    flags = processor.get("flags") or processor.get("Features") or ""
    return sorted(flag for flag in flags.split() if _ISA.fullmatch(flag))


def commit() -> str | None:
    """Return the Git commit of the code, "+" behind it if files differ; None if not of Git."""
    folder = Path(musclejax.__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + "+" * bool(changed)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
    return run.stdout.strip()


def _huge_pages() -> str | None:
    """Return when the system gives huge pages: "always", "madvise" or "never"."""
    try:
        chosen = re.search(r"\[(\w+)\]", HUGE_PAGES.read_text())
    except OSError:
        return None
    return chosen[1] if chosen else None


def _rounded(number: float | None) -> int | None:
    return None if number is None else round(number)
