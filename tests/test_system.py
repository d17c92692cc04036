"""The process: its memory; its heap, kept by the command line only, safe elsewhere."""

import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from musclejax import system

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")
# Frees 64 MiB below a small block that still lives; prints the resident memory in MiB.
STAYS = """
import ctypes
{setup}
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
block = libc.malloc(64 << 20)
ctypes.memset(block, 1, 64 << 20)
libc.free(block)
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * 4096 >> 20)
"""


def resident_mib(setup: str, **environment: str) -> int:
    code = STAYS.format(setup=setup)
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return int(run.stdout)


@LINUX
def test_freed_memory_stays_with_the_command_line_only() -> None:
    keep = "from musclejax.system import keep_heap; keep_heap()"
    assert resident_mib(keep) >= 64
    assert resident_mib("import musclejax") < 64
    assert resident_mib(keep, MUSCLEJAX_HEAP="system") < 64


def fresh() -> bool:
    return system.keep_heap.__wrapped__()


@pytest.mark.parametrize("failure", [OSError("no libc.so.6"), AttributeError("mallopt")])
def test_without_glibc_nothing_happens(failure: Exception) -> None:
    with mock.patch.object(system.ctypes, "CDLL", side_effect=failure):
        assert fresh() is False


def test_an_allocator_of_the_users_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    with mock.patch.object(system.ctypes, "CDLL") as library:
        assert fresh() is False
    library.assert_not_called()


def test_other_systems_are_left_alone() -> None:
    with mock.patch.object(system.sys, "platform", "darwin"):
        assert fresh() is False


def test_peak_memory_counts_what_was_taken() -> None:
    if system.peak_memory_mib() is None:
        pytest.skip("the system does not report it")
    ballast = np.ones(2**25)  # 256 MiB
    assert system.peak_memory_mib() >= ballast.nbytes / 2**20


def test_versions_leave_out_what_is_not_installed() -> None:
    found = system.versions(("numpy", "no-such-package"))
    assert found == {"numpy": np.__version__}
