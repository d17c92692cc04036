"""The whole way of a user: check, train, resume, export, tune, evaluate, on simple limbs."""

import json
from pathlib import Path

import pandas as pd
import pytest

from musclejax.config import load_recipe
from musclejax.training.workdir import read_metrics
from tests import limbs
from tests.small import LEARNER, VARIANT
from tests.test_cli import call

pytestmark = pytest.mark.usefixtures("small_variants")
SPLITS = ("train", "train", "train", "train", "validation", "test")
SETTINGS = [
    "task=leg",
    f"variant={LEARNER}",
    "data.crop_px=(96, 144)",
    "train.batch_size=4",
    "train.epoch_slices=128",
    "loss.class_weights=none",
    "loss.border_weight=1.0",
    "augment.backend=none",  # as the limbs are alike; test_example augments
]
REACHED = 0.85
"""DSC that the run must reach on the test subject; it was 0.96 when this was written."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limbs")
    return limbs.write_dataset(folder, subjects=6, slices=4, splits=SPLITS, scale=0.5)


def run(*arguments: object) -> str:
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def settings(*changes: str) -> list[str]:
    return [f"--set={change}" for change in (*SETTINGS, *changes)]


def test_from_the_data_to_the_tables(data: Path, tmp_path: Path) -> None:
    assert "6 cases of 6 subjects, 24 annotated slices: fit for training" in run(
        "dataset", "check", data
    )
    samples = tmp_path / "samples.png"
    run("dataset", "show", "--data", data, *settings(), "--slices", 2, "-o", samples)
    assert samples.read_bytes()[:4] == b"\x89PNG"

    work = tmp_path / "run"
    train = ("train", "--config", "tiny", "--data", data, "--workdir", work)
    assert "epoch 1/1" in run(*train, *settings("train.epochs=1"))
    assert "epoch 6/6" in run(*train, *settings("train.epochs=6"), "--resume")
    assert [m["epoch"] for m in read_metrics(work)] == [1, 2, 3, 4, 5, 6]

    assert "leg, best epoch" in run("weights", "export", work, "-o", tmp_path / "weights")
    scores = tmp_path / "scores"
    run("evaluate", "--weights", tmp_path / "weights", "--data", data, "-o", scores)
    muscles = pd.read_csv(scores / "muscles.csv")
    test = muscles[(muscles["split"] == "test") & (muscles["side"] == "both")]
    assert len(test) == 6
    print(test["dsc"].mean(), muscles[muscles["side"] == "left"]["dsc"].mean())
    assert test["dsc"].mean() > REACHED
    assert muscles[muscles["side"] == "left"]["dsc"].mean() > REACHED
    assert "subject05" in (scores / "table3.md").read_text()
    assert (scores / "report.md").is_file()


@pytest.mark.usefixtures("quick_compilation")
def test_the_search_and_what_it_ends_with(data: Path, tmp_path: Path) -> None:
    """Hyperband with two brackets; its best recipe trains."""
    quick = f"variant={VARIANT}", "train.epoch_slices=16"
    changes = settings(*quick, "tune.max_epochs=2", "tune.eta=2")
    work = tmp_path / "search"
    search = ("tune", "--config", "tiny", "--data", data, "--workdir", work, *changes)
    output = run(*search)
    assert "best" in output
    trials = [json.loads(line) for line in (work / "trials.jsonl").read_text().splitlines()]
    # Two brackets: 2 trials for 1 epoch, the better one to 2; then 2 trials for 2 epochs.
    budgets = sorted((t["bracket"], t["rung"], t["budget"]) for t in trials)
    assert budgets == [(0, 0, 2), (0, 0, 2), (1, 0, 1), (1, 0, 1), (1, 1, 2)]
    before = (work / "trials.jsonl").read_text()
    run(*search)
    assert (work / "trials.jsonl").read_text() == before
    config = load_recipe(work / "best.py")
    assert config.task == "leg"
    trained = run(
        "train",
        "--config",
        work / "best.py",
        "--data",
        data,
        "--workdir",
        tmp_path / "run",
        "--set=train.epochs=1",
    )
    assert "epoch 1/1" in trained
