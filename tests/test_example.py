"""The worked example of docs/training.md, cut short: two real thighs, from data to figures."""

import signal
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from musclejax.data.dataset import IGNORE, read_case, read_dataset
from musclejax.scan.volume import Volume
from musclejax.training.run import read_metrics
from tests.test_pipeline import command, run

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA, RECIPE = EXAMPLES / "huashan_thigh", EXAMPLES / "huashan.py"
REACHED = 0.81
"""DSC over the eleven muscles of the other person's slices that must be reached in two epochs of
twenty steps from the bundled weights; it was 0.819 when this was written, 0.816 after one, and
0.730 before training."""


def test_labels_are_ours_and_the_unknown_is_unknown() -> None:
    dataset = read_dataset(DATA)
    for case in dataset.cases:
        volume, labels, region = read_case(case, dataset)
        assert region == "thigh"
        assert set(np.unique(labels)) == {*range(12), IGNORE}
        # Lateral is away from the middle of the body, on both sides.
        x = nib.affines.apply_affine(volume.affine, np.argwhere(labels > 0))[:, 0]
        middle = (x.min() + x.max()) / 2
        for side in (-1, 1):
            lateral, medial = (side * (positions(volume, labels, n) - middle) for n in (1, 6))
            assert lateral[lateral > 0].mean() > medial[medial > 0].mean() + 30


def positions(volume: Volume, labels: np.ndarray, number: int) -> np.ndarray:
    """Return the world x, in mm, of the voxels of a muscle."""
    return nib.affines.apply_affine(volume.affine, np.argwhere(labels == number))[:, 0]


def test_the_example_goes_all_the_way(tmp_path: Path) -> None:
    assert "27 annotated slices: fit for training" in run("dataset", "check", DATA)
    work = tmp_path / "run"
    train = ("train", "--config", RECIPE, "--data", DATA, "--workdir", work, "--init", "phantom")
    train += ("--set=train.epochs=2",)
    first = subprocess.Popen(command(*train), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not read_metrics(work) and time.monotonic() < deadline:
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    output = run(*train, "--resume")
    assert "from the thigh network of phantom" in output
    assert "epoch 2/2" in output
    assert max(m["validation_dsc"] for m in read_metrics(work)) > REACHED

    search = tmp_path / "search"
    changes = [
        "variant=compact4",
        "data.crop_px=(96, 192)",
        "train.epoch_slices=2",
        "tune.max_epochs=1",  # one trial; test_pipeline has brackets
    ]
    run(
        "tune",
        "--config",
        RECIPE,
        "--data",
        DATA,
        "--workdir",
        search,
        *(f"--set={change}" for change in changes),
    )
    assert (search / "best.py").is_file()

    run("weights", "export", work, "-o", tmp_path / "weights")
    scores = tmp_path / "scores"
    run("evaluate", "--weights", tmp_path / "weights", "--data", DATA, "-o", scores)
    cases = pd.read_csv(scores / "cases.csv").set_index("case")
    assert cases.loc["Thigh_001", "split"] == "train"
    assert cases.loc["Thigh_002", "split"] == "validation"
    assert cases.loc["Thigh_001", "dsc"] > cases.loc["Thigh_002", "dsc"] > 0.25
