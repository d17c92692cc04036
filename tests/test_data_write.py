"""The fixed set of augmented slices: written, read again, resumed."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from musclejax.config import load_recipe
from musclejax.data.batches import make_batch
from musclejax.data.dataset import read_dataset
from musclejax.errors import InputError
from musclejax.training.setup import load_data
from tests import limbs
from tests.test_cli import call

SETTINGS = ["task=leg", "data.crop_px=(96, 144)"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return limbs.write_dataset(folder, subjects=3, slices=2, scale=0.5)


def augment(data: Path, output: Path, *extra: object) -> Result:
    options = [f"--set={setting}" for setting in SETTINGS]
    return call("augment", "--config", "tiny", "--data", data, "-o", output, *options, *extra)


def test_the_fixed_set_is_what_training_would_have_made(data: Path, tmp_path: Path) -> None:
    result = augment(data, tmp_path / "set", "--n", 9)
    assert result.exit_code == 0, result.output
    assert call("dataset", "check", tmp_path / "set").exit_code == 0
    cases = read_dataset(tmp_path / "set").cases
    assert [c.split for c in cases].count("validation") == 3
    by_split = {s: {c.subject for c in cases if c.split == s} for s in ("train", "validation")}
    assert not by_split["train"] & by_split["validation"]

    source = load_data([data], load_recipe("tiny", SETTINGS))
    plain = load_recipe("tiny", [*SETTINGS, "augment.backend=none"])
    fixed = load_data([tmp_path / "set"], plain)
    sampler, one = fixed.samplers["train"], np.array([1])
    made = make_batch(source.samplers["train"], one, np.array([5]), source.classes, plain)
    place = [o.case.name[:10] for o in sampler.slices.origins].index("train00005")
    again = make_batch(sampler, np.array([place]), one, source.classes, plain)
    # The window is centered anew on what is in the slice: compare what both show.
    labels = [batch.labels[0] for batch in (made, again)]
    boxes = [tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(each)) for each in labels]
    np.testing.assert_array_equal(labels[0][boxes[0]], labels[1][boxes[1]])
    images = [b.image[0, ..., 0][box] for b, box in zip((made, again), boxes, strict=True)]
    np.testing.assert_allclose(*images, atol=2 / 8192)


def test_a_stopped_set_goes_on(data: Path, tmp_path: Path) -> None:
    assert augment(data, tmp_path / "a", "--n", 6).exit_code == 0
    assert augment(data, tmp_path / "b", "--n", 6).exit_code == 0
    labels = sorted((tmp_path / "b" / "labelsTr").iterdir())
    times = {p.name: p.stat().st_mtime_ns for p in labels[1:]}
    labels[0].unlink()
    assert augment(data, tmp_path / "b", "--n", 6).exit_code == 0
    for path in sorted((tmp_path / "a").rglob("*.nii.gz")):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert twin.stat().st_size == path.stat().st_size
        assert twin.stat().st_mtime_ns == times.get(twin.name, twin.stat().st_mtime_ns)


def test_a_set_of_other_settings_is_refused(data: Path, tmp_path: Path) -> None:
    assert augment(data, tmp_path / "set", "--n", 4).exit_code == 0
    other = augment(data, tmp_path / "set", "--n", 4, "--set", "seed=1")
    assert other.exit_code == 2
    assert "found files of other settings (config.seed: 0 against 1)" in other.stderr


def test_another_normalization_is_refused(data: Path, tmp_path: Path) -> None:
    """The slices are normalized once; a network that expects another scale must not get them."""
    assert augment(data, tmp_path / "set", "--n", 4).exit_code == 0
    other = load_recipe("tiny", [*SETTINGS, "intensity.percentile=90.0"])
    with pytest.raises(InputError, match="Augment again with this recipe"):
        load_data([tmp_path / "set"], other)


def test_wrong_usage(data: Path, tmp_path: Path) -> None:
    same = augment(data, data, "--n", 4)
    assert same.exit_code == 2
    assert "which is the data" in same.stderr
    region = augment(data, tmp_path / "x", "--set", "task=region")
    assert region.exit_code == 2
    assert "the classifier's recipe" in region.stderr
    few = augment(data, tmp_path / "x", "--n", 1)
    assert "--n: found 1; accepted: 2 or more" in few.stderr
    assert not (tmp_path / "x").exists()
    show = call("dataset", "show", "--data", data, "--set", "task=region", "-o", tmp_path / "x.png")
    assert show.exit_code == 2
    assert not (tmp_path / "x.png").exists()
