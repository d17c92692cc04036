"""300 malformed inputs: no traceback, hang, death or memory blow-up, nothing silently wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory on Linux")
def test_malformed_inputs_are_refused_or_read_right(tmp_path: Path) -> None:
    """In a process of its own, which has no threads yet: it forks."""
    command = [sys.executable, "-m", "tests.fuzz", "--count", "300", "--failures", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
