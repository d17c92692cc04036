"""Memory of a scan: the volume's own arrays grow with its slices, and little else does."""

import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musclejax.anatomy import LEVELS, REGIONS
from musclejax.models.weights import Weights
from musclejax.prediction import level, postprocess, tta
from musclejax.prediction.batches import Prediction
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.segment import segment
from musclejax.reports.pages.scan import write_scan_page
from musclejax.reports.pictures import slices as pictures
from musclejax.reports.segmentation import save
from musclejax.scan import model_grid
from musclejax.scan.nifti import save_scan
from musclejax.scan.volume import Volume
from tests import limbs
from tests.networks import network_of
from tests.small import SMALL_VARIANTS, VARIANT

FEW, MANY = 12, 36
MOST = 0.6
"""Of the own arrays: the confidence has 0.2, as has any other map of a byte per voxel."""
OWN_BYTES = 4 + 1
"""Per voxel of the volume's own arrays: the scan as it is loaded, and one label map."""
CLASSES, FAT = REGIONS["thigh"].num_classes, 15
OPTIONS = SegmentOptions(region="thigh", tta=False)


def predict(_: Any, images: np.ndarray, *__: Any) -> Prediction:
    """Return the labels that `write_scan` has made intensities of."""
    found = np.rint(images * FAT).astype(np.uint8)
    labels = np.where(found < CLASSES, found, np.uint8(0))
    probabilities = np.zeros((*images.shape, CLASSES), np.uint8)
    np.put_along_axis(probabilities, labels[..., None], 250, -1)
    return Prediction(labels, probabilities.max(-1), probabilities)


def no_opinions(_: Any, thumbnails: Iterable[np.ndarray]) -> np.ndarray:
    """Take each level for as likely as the others."""
    return np.full((sum(1 for _ in thumbnails), len(LEVELS)), 1 / len(LEVELS))


def write_scan(path: Path, slices: int) -> int:
    """Write two thighs, all slices alike; return the bytes of the volume's own arrays."""
    image, labels = limbs.volume("thigh", 3, 1, 2.0)
    slice_of = np.where(labels, labels, np.where(image > 100, FAT, 0)).astype(np.float32)
    data = np.repeat(slice_of, slices, 2)
    save_scan(path, Volume(data, np.diag([-1.0, -1.0, 2.0, 1.0])))
    return OWN_BYTES * data.size


def peak_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a function returns, and the most memory of arrays and objects on the way."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Networks that know the labels and no levels; few slices at once, as of a long scan."""
    monkeypatch.setattr(tta, "predict_batch", predict)
    monkeypatch.setattr(level, "predict_classes", no_opinions)
    monkeypatch.setattr(model_grid, "_CHUNK", 4)
    monkeypatch.setattr(model_grid, "_KEPT", 2)
    monkeypatch.setattr(postprocess, "_CHUNK", 4)
    monkeypatch.setattr(level, "_AT_ONCE", 2**15)
    monkeypatch.setattr(pictures, "_write_names", lambda *_: None)  # takes most of the time
    spec, none = SMALL_VARIANTS[VARIANT], {"params": {}}
    return Weights("known", {task: network_of(spec, task, none) for task in ("thigh", "level")})


def test_little_but_the_volumes_own_arrays_grows_with_a_scan(
    weights: Weights, tmp_path: Path
) -> None:
    def measure(slices: int) -> np.ndarray:
        """Return the bytes of the own arrays, of what labeling takes beyond, and of writing."""
        path = tmp_path / f"scan{slices}.nii.gz"
        own = write_scan(path, slices)
        result, labeling = peak_of(lambda: segment(path, weights, OPTIONS))
        assert len(np.unique(result.labels)) == CLASSES
        _, writing = peak_of(lambda: save(result, tmp_path))
        _, page = peak_of(lambda: write_scan_page(tmp_path, result.volume.name, result=result))
        return np.array([own, labeling - own, writing, page])

    own, *grown = measure(MANY) - measure(FEW)
    assert max(grown) < MOST * own, grown / own
