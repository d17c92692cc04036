"""The worked example of docs/training.md, cut short: two real thighs, from data to figures."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
from ml_collections import ConfigDict

from musclejax.config import load_recipe
from musclejax.data.batches import make_batch
from musclejax.data.dataset import IGNORE, read_case, read_dataset
from musclejax.data.sampler import validation_indices
from musclejax.models.weights import load_weights
from musclejax.scan.volume import Volume
from musclejax.training import loop
from musclejax.training.progress import Totals, add, summarize
from musclejax.training.setup import initial_variables, load_data
from musclejax.training.step import initial_state
from musclejax.training.workdir import read_metrics, read_run
from tests.test_cli import call

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA, RECIPE = EXAMPLES / "huashan_thigh", EXAMPLES / "huashan.py"
SHORT = "--set=train.epoch_slices=8"
GAIN = 0.005
"""Validation DSC that two epochs of four steps must gain over the bundled weights."""


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


def dsc_before_training(config: ConfigDict) -> float:
    """Return the validation DSC of the bundled weights, as the training loop measures it."""
    data, size = load_data([DATA], config), int(config.train.batch_size)
    pixels = size * math.prod(config.data.crop_px)
    variables, _ = initial_variables(config, load_weights("phantom"))
    steps, totals = loop.make_steps(config, pixels), Totals()
    state = initial_state(config, variables, pixels)
    for step in range(math.ceil(len(data.samplers["validation"]) / size)):
        indices, seeds = validation_indices(data.samplers["validation"], step, size)
        batch = make_batch(data.samplers["validation"], indices, seeds, data.classes, config)
        totals = add(totals, steps.validate(state, batch))
    return summarize("validation", totals, config)["validation_dsc"]


def test_the_example_goes_all_the_way(tmp_path: Path) -> None:
    checked = call("dataset", "check", DATA)
    assert checked.exit_code == 0
    assert "27 annotated slices: fit for training" in checked.stdout

    work = tmp_path / "run"
    train = ("train", "--config", RECIPE, "--data", DATA, "--workdir", work, "--init", "phantom")
    first = call(*train, SHORT, "--set=train.epochs=1")
    assert "from the thigh network of phantom" in first.stdout
    second = call(*train, SHORT, "--set=train.epochs=2", "--resume")
    assert "epoch 2/2" in second.stdout
    best = max(metrics["validation_dsc"] for metrics in read_metrics(work))
    print(best, dsc_before_training(load_recipe(RECIPE)))
    assert best > dsc_before_training(load_recipe(RECIPE)) + GAIN

    export = ("weights", "export", work, "-o", tmp_path / "weights", "--no-check")
    assert "thigh, best epoch" in call(*export).stdout
    splits = read_run(work)["data"]
    assert [scan["case"] for scan in splits["train"]["scans"]] == ["Thigh_001"]
    assert [scan["case"] for scan in splits["validation"]["scans"]] == ["Thigh_002"]
