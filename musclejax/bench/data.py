"""What feeds training, one call at a time: loading, augmentation, weight maps, batches."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import jax
import nibabel as nib
import numpy as np
from scipy.ndimage import distance_transform_edt

import musclejax
from musclejax import anatomy
from musclejax.bench.job import Job
from musclejax.config import default_config
from musclejax.data.augment import Limbs, augment, augmentation
from musclejax.data.augment_imgaug import STEPS, apply_steps
from musclejax.data.batches import SliceFeed, make_batch, make_feeds, training_items
from musclejax.data.dataset import Dataset, read_dataset
from musclejax.data.slices import case_slices, find_limbs
from musclejax.data.spline import to_coefficients
from musclejax.data.weight_map import weight_map
from musclejax.data.write import write_index
from musclejax.scan.grid import to_model_grid
from musclejax.scan.intensity import body_mask, normalise
from musclejax.scan.volume import load_nifti

SAMPLE = "test_up"
TASK = "thigh"
CLASSES, W0, SIGMA_PX = 13, 10.0, 7.0


def prepare_data(job: Job) -> Callable[[], object]:
    """Return what one call of a data job does; the muscles are painted onto the sample scan."""
    return {
        "augment": _augmenting,
        "weight_map": _weighing,
        "batch": _batching,
        "load_case": _loading,
        "phantom": _drawing,
    }[job.variant](job)


def _augmenting(job: Job) -> Callable[[], object]:
    """Every step of the paper happens to the image; one image a call."""
    settings = augmentation(_config(), enabled=True)
    image, labels, limbs = painted_slice()
    numbers = count()
    if job.engine == "imgaug":
        return lambda: apply_steps(
            STEPS, np.random.default_rng(next(numbers)), image, labels, limbs, settings
        )
    jitted = jax.jit(augment, static_argnames="settings")
    coefficients = to_coefficients(image[None])[0]
    return lambda: jax.block_until_ready(
        jitted(jax.random.key(next(numbers)), coefficients, labels, limbs, settings)
    )


def _weighing(job: Job) -> Callable[[], object]:
    """Make the weight map of Eq. 2 of one slice."""
    _, labels, _ = painted_slice()
    classes = np.ones(CLASSES, np.float32)
    if job.engine == "scipy":
        return lambda: _scipy_weights(labels, classes)
    jitted = jax.jit(lambda labels, classes: weight_map(labels, classes, W0, SIGMA_PX))
    return lambda: jax.block_until_ready(jitted(labels, classes))


def _scipy_weights(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Make the weight map from SciPy's distances, as one would write it."""
    distances = [distance_transform_edt(labels != n) for n in range(1, CLASSES)]
    first, second = np.partition(distances, 1, axis=0)[:2]
    border = W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA_PX**2))
    return np.asarray(classes[labels] + border)


def _batching(job: Job) -> Callable[[], object]:
    """Make a batch as training is fed with it, in the same thread."""
    config = _config()
    with tempfile.TemporaryDirectory() as folder:
        feed = _feed(write_sample(Path(folder)), config)
    classes, steps = np.ones(CLASSES, np.float32), count()

    def call() -> object:
        items, numbers = training_items(feed, next(steps), job.batch_size)
        return make_batch(feed, items, numbers, classes, config)

    return call


def _loading(job: Job) -> Callable[[], object]:
    """Read a case of 31 slices, bring it onto the model grid, clean its labels."""
    folder = tempfile.TemporaryDirectory()
    dataset, config = write_sample(Path(folder.name)), _config()

    def call() -> object:
        assert Path(folder.name).exists()  # and keeps the folder alive
        return case_slices(dataset.cases[0], dataset, config)

    return call


def _drawing(job: Job) -> Callable[[], object]:
    """Draw synthetic slices of the whole model grid, as many at once as there are threads."""
    from musclejax.phantom.draw import Phantom
    from musclejax.phantom.slice import Settings
    from musclejax.phantom.templates import load_anatomy

    phantom = Phantom(load_anatomy(TASK, "held_out"), "mixed", 0, Settings())
    pool, numbers = ThreadPoolExecutor(job.threads), count()

    def draw(number: int) -> object:
        return jax.block_until_ready(phantom.draw(number % len(phantom), number))

    return lambda: list(pool.map(draw, islice(numbers, job.slices)))


def _config() -> Any:
    config = default_config()
    config.task = TASK
    config.augment.probability = 1.0
    return config


def _feed(dataset: Dataset, config: Any) -> SliceFeed:
    slices = case_slices(dataset.cases[0], dataset, config)
    return make_feeds({"train": slices, "validation": slices}, config)["train"]


def painted_slice() -> tuple[np.ndarray, np.ndarray, Limbs]:
    """Return the middle slice of the thighs, a muscle in each twelfth of a limb, and the limbs."""
    slices, _ = to_model_grid(load_nifti(_sample()))
    middle = len(slices) // 2
    limbs = find_limbs(body_mask(slices), slices.shape[1:])
    limbs = Limbs(*(np.asarray(field[middle]) for field in limbs))
    image = normalise(slices, default_config().intensity)[middle]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    labels = np.zeros(image.shape, np.uint8)
    for top, bottom, left, right in np.asarray(limbs.boxes):
        y = (2 * rows - top - bottom) / (bottom - top)
        x = (2 * columns - left - right) / (right - left)
        _paint(labels, np.ones(labels.shape, bool), y, x, CLASSES)
    return image, labels, limbs


def write_sample(folder: Path) -> Dataset:
    """Write the sample scan as a dataset of one case, a muscle in each sector of a limb."""
    scan: Any = nib.load(_sample())
    data = np.asarray(scan.dataobj)
    body = body_mask(data)
    labels = np.zeros(data.shape, np.uint8)
    half = data.shape[0] // 2
    for part in (np.s_[:half], np.s_[half:]):
        for z in range(data.shape[2]):
            limb = body[part][..., z]
            x, y = (n - np.average(n, weights=limb) for n in np.indices(limb.shape))
            radius = np.sqrt(limb.sum() / np.pi)
            classes = anatomy.REGIONS[TASK].num_classes
            _paint(labels[part][..., z], limb, y / radius, x / radius, classes)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    nib.save(scan, folder / "imagesTr" / "sample_0000.nii.gz")
    nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labelsTr" / "sample.nii.gz")
    write_index(folder, TASK, 1, None)
    return read_dataset(folder)


def _paint(labels: np.ndarray, where: np.ndarray, y: np.ndarray, x: np.ndarray, n: int) -> None:
    """Write labels 1 ... n - 1 in sectors of the ring around the origin, with gaps between."""
    turn = np.arctan2(y, x) / (2 * np.pi) % 1 * (n - 1)
    radius = np.hypot(x, y)
    inside = where & (radius < 0.8) & (radius > 0.2) & (np.abs(turn % 1 - 0.5) < 0.46)
    labels[inside] = 1 + turn[inside].astype(np.uint8)


def _sample() -> Path:
    return Path(musclejax.__file__).parent / "samples" / f"{SAMPLE}.nii.gz"
