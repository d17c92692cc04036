"""Two processes train as one does."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from musclejax.training import checkpoint
from musclejax.training.workdir import read_metrics
from tests import limbs
from tests.conftest import QUICK
from tests.small import VARIANT
from tests.test_training_loop import SMALL

CHANGES = [
    *SMALL,
    f"variant={VARIANT}",
    "data.crop_px=(96, 192)",
    "train.epoch_slices=4",
    "optim.dropout=0.2",
    "optim.learning_rate=0.0001",
    "loss.reduction=mean",
    "optim.epsilon=0.01",
]
"""Small steps: two orders of summation differ by 1e-6 after the first, and large ones would let
that grow. Epsilon: the gradient of a bias before batch norm is zero but for rounding, and with
Keras's 1e-7 Adam makes whole steps of that."""

ROUNDING = 5e-5
"""Of four steps, each of up to 1e-4: on AVX-512, 4 of 73728 kernel elements were 1.5e-5 apart with
JAX 0.10, 1 of 147456 was 3.3e-5 apart with JAX 0.12."""

QUICKLY = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
"""What these processes compile takes longer than what they compute."""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return int(server.getsockname()[1])


def start(data: Path, run: Path, *options: str, changes: Sequence[str] = ()) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.small", "train", "--config", "tiny"]
    command += ["--data", str(data), "--workdir", str(run), *options]
    command += [f"--set={change}" for change in (*CHANGES, *changes)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XLA_FLAGS": QUICKLY},
    )


def test_two_processes_end_as_one(tmp_path: Path) -> None:
    """Four steps with dropout: batch statistics, loss and gradient are those of the whole batch."""
    data = limbs.write_dataset(tmp_path / "data", subjects=3, slices=2)
    address = f"localhost:{free_port()}"
    pair = [
        start(data, tmp_path / "two", "--coordinator", address, "--processes", "2", "--process", n)
        for n in "01"
    ]
    outputs = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert "epoch 2/2" in outputs[0]
    assert "epoch" not in outputs[1]  # the first process speaks for all
    alone = start(data, tmp_path / "one")
    output = alone.communicate(timeout=300)[0]
    assert "epoch 2/2" in output, output

    one, two = (checkpoint.load(tmp_path / name, "last") for name in ("one", "two"))
    assert one is not None
    assert two is not None
    for name in ("params", "batch_stats"):
        for a, b in zip(jax.tree.leaves(one[0][name]), jax.tree.leaves(two[0][name]), strict=True):
            scale = max(1.0, float(np.abs(a).max()))
            np.testing.assert_allclose(b, a, atol=ROUNDING * scale, rtol=ROUNDING)
    for a, b in zip(read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(b["validation_loss"], a["validation_loss"], rtol=1e-5)
        assert b["step"] == a["step"]


def test_a_batch_that_two_processes_cannot_share(tmp_path: Path) -> None:
    data = limbs.write_dataset(tmp_path / "data", subjects=2, slices=1)
    address = f"localhost:{free_port()}"
    options = ("--coordinator", address, "--processes", "2", "--process")
    pair = [
        start(data, tmp_path / "run", *options, n, changes=["train.batch_size=3"]) for n in "01"
    ]
    for process in pair:
        output = process.communicate(timeout=120)[0]
        assert process.returncode != 0
        assert "train.batch_size: found 3; accepted: a positive multiple of" in output
