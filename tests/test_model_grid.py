"""A scan on the model grid slice by slice: the same slices, in little memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musclejax.anatomy import SLICE_PX
from musclejax.config import default_config
from musclejax.loops import result_of
from musclejax.models.initialization import initialize
from musclejax.prediction import tta
from musclejax.prediction.batches import Prediction
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.restore import Restoring
from musclejax.prediction.windows import predict_in_windows_steps
from musclejax.scan import model_grid
from musclejax.scan.grid import to_model_grid
from musclejax.scan.intensity import normalize
from musclejax.scan.model_grid import ModelGrid, normalized
from musclejax.scan.slices import spread_over
from musclejax.scan.study import load
from musclejax.scan.volume import Volume

INTENSITY = default_config().intensity


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_grid, "_CHUNK", 4)
    monkeypatch.setattr(model_grid, "_KEPT", 2)


def phantom(slices: int) -> Volume:
    """A round limb of three intensities in 64 x 64 pixels of 5 mm."""
    x, y = np.meshgrid(*[np.arange(64) - 32.0] * 2)
    limb = (np.hypot(x, y) < 12) * (2.0 + (x > 3)) + np.zeros((slices, 1, 1))
    return Volume(limb.transpose(2, 1, 0).astype(np.float32), np.diag([5.0, 5, 2, 1]))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("geometry", ["world", "2021"])
def test_slices_are_those_of_the_whole_scan_in_any_order(geometry: str, thigh_path: Path) -> None:
    volume = load(thigh_path)
    slices, transform = to_model_grid(volume, geometry)
    grid = ModelGrid(volume, geometry)
    assert len(grid) == len(slices) == transform.stop - transform.start
    for z in (0, 21, 3, 4, 11, 12, 0):
        np.testing.assert_array_equal(grid[z], slices[z])
        np.testing.assert_array_equal(grid.body[z], slices[z] >= volume.lps.body_threshold)
    np.testing.assert_array_equal(grid.take(np.array([5, 1])), slices[[5, 1]])
    expected = normalize(slices, INTENSITY)
    np.testing.assert_allclose(normalized(grid, INTENSITY)[9], expected[9], rtol=1e-6)
    np.testing.assert_array_equal(normalized(slices, INTENSITY)[9], expected[9])


def test_a_scan_is_resampled_and_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str) -> None:
        function = getattr(model_grid, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(model_grid, name, call)

    counted("resample")
    counted("find_scale")
    grid = ModelGrid(phantom(40))
    for _ in range(2):
        scaled = normalized(grid, INTENSITY)
        assert [scaled[z].max() > 0 for z in range(40)] == [True] * 40
    assert sorted(calls) == ["find_scale", *3 * ["resample"]]


@pytest.mark.parametrize(
    ("count", "chosen"), [(0, []), (1, [0]), (3, [0, 1, 2]), (10, [1, 3, 6, 8])]
)
def test_slices_are_chosen_at_even_distances(count: int, chosen: list[int]) -> None:
    assert spread_over(count, 4).tolist() == chosen


@pytest.mark.usefixtures("small_chunks")
def test_memory_does_not_grow_with_what_the_network_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slice of the model grid has 0.7 MB, its probabilities 2.4 MB: sums by column are kept."""

    def predict(_: Any, images: np.ndarray, *__: Any) -> Prediction:
        labels = (images > 0.5).astype(np.uint8)
        probabilities = np.full((*images.shape, 13), 9, np.uint8)
        probabilities[..., 1] = labels * np.uint8(150)
        return Prediction(labels, labels * np.uint8(150), probabilities)  # all are uncertain

    monkeypatch.setattr(tta, "predict_batch", predict)
    network = initialize("thigh", "compact4")
    network.config.data.crop_px = (SLICE_PX, SLICE_PX)

    def peak(slices: int) -> int:
        grid = ModelGrid(phantom(slices))
        tracemalloc.start()
        restored = Restoring(grid.transform, 13, keep_probabilities=False)
        steps = predict_in_windows_steps(
            network, normalized(grid, INTENSITY), grid.body, SegmentOptions(), restored.take
        )
        totals = result_of(steps)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert totals.tta_slices == slices
        assert restored.labels.any((0, 1)).all()
        return found

    growth = (peak(48) - peak(16)) / 32
    assert growth < 0.3e6
