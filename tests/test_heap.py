"""The heap of the process: kept by the command line only, safe elsewhere, switchable off."""

import os
import subprocess
import sys
from unittest import mock

import pytest

from musclejax.cli import heap

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")
# Frees 64 MiB, which lie below a small block that still lives; tells what stays resident, in MiB.
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
    keep = "from musclejax.cli.heap import keep_heap; keep_heap()"
    assert resident_mib(keep) >= 64
    assert resident_mib("import musclejax") < 64
    assert resident_mib(keep, MUSCLEJAX_HEAP="system") < 64


def fresh() -> bool:
    return heap.keep_heap.__wrapped__()


@pytest.mark.parametrize("failure", [OSError("no libc.so.6"), AttributeError("mallopt")])
def test_without_glibc_nothing_happens(failure: Exception) -> None:
    with mock.patch.object(heap.ctypes, "CDLL", side_effect=failure):
        assert fresh() is False


def test_an_allocator_of_the_users_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    with mock.patch.object(heap.ctypes, "CDLL") as library:
        assert fresh() is False
    library.assert_not_called()


def test_other_systems_are_left_alone() -> None:
    with mock.patch.object(heap.sys, "platform", "darwin"):
        assert fresh() is False
