"""The data steps of training, one call at a time: loading, augmentation, weight maps, batches."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import jax
import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import distance_transform_edt

from musclejax.anatomy import TASKS
from musclejax.bench.job import TASK, Job
from musclejax.config import default_config
from musclejax.data.augment import Limbs, augment, augmentation
from musclejax.data.augment_imgaug import STEPS, apply_steps
from musclejax.data.batches import make_batch
from musclejax.data.bspline import to_coefficients
from musclejax.data.dataset import Dataset, read_dataset
from musclejax.data.sampler import SliceSampler, make_samplers, training_indices
from musclejax.data.slices import case_slices, find_limbs
from musclejax.data.weight_map import weight_map
from musclejax.data.write import write_index
from musclejax.phantom.generator import Phantom
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import load_anatomy
from musclejax.samples import SAMPLES
from musclejax.scan.grid import to_model_grid
from musclejax.scan.intensity import body_mask, normalize
from musclejax.scan.nifti import load_nifti

SAMPLE = SAMPLES["test_up"]
CLASSES = TASKS[TASK].num_classes
W0, SIGMA_PX = default_config().loss.border_weight, default_config().loss.border_sigma_px


def prepare_data(job: Job) -> Callable[[], object]:
    """Return one call of a data job; the muscles are painted onto the sample scan."""
    return {
        "augment": _augmenting,
        "weight_map": _weighing,
        "batch": _batching,
        "load_case": _loading,
        "phantom": _synthesizing,
    }[job.variant](job)


def _augmenting(job: Job) -> Callable[[], object]:
    """Augment one image with every step of the paper."""
    settings = augmentation(_config(), enabled=True)
    image, labels, limbs = painted_slice()
    seeds = count()
    if job.engine == "imgaug":
        return lambda: apply_steps(
            STEPS, np.random.default_rng(next(seeds)), image, labels, limbs, settings
        )
    jitted = jax.jit(augment, static_argnames="settings")
    coefficients = to_coefficients(image[None])[0]
    return lambda: jax.block_until_ready(
        jitted(jax.random.key(next(seeds)), coefficients, labels, limbs, settings)
    )


def _weighing(job: Job) -> Callable[[], object]:
    """Make the weight map of Eq. 2 of one slice."""
    _, labels, _ = painted_slice()
    classes = np.ones(CLASSES, np.float32)
    if job.engine == "scipy":
        return lambda: _scipy_weights(labels, classes)
    jitted = jax.jit(lambda labels, classes: weight_map(labels, classes, W0, SIGMA_PX))
    return lambda: jax.block_until_ready(jitted(labels, classes))


def _scipy_weights(
    labels: UInt8[np.ndarray, "h w"], classes: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "h w"]:
    """Make the weight map from SciPy's distances, as one would write it."""
    distances = [distance_transform_edt(labels != n) for n in range(1, CLASSES)]
    first, second = np.partition(distances, 1, axis=0)[:2]
    border = W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA_PX**2))
    return np.asarray(classes[labels] + border)


def _batching(job: Job) -> Callable[[], object]:
    """Make a batch as training gets it, in the same thread."""
    config = _config()
    with tempfile.TemporaryDirectory() as folder:
        sampler = _sampler(write_sample(Path(folder)), config)
    classes, steps = np.ones(CLASSES, np.float32), count()

    def call() -> object:
        indices, seeds = training_indices(sampler, next(steps), job.batch_size)
        return make_batch(sampler, indices, seeds, classes, config)

    return call


def _loading(job: Job) -> Callable[[], object]:
    """Read a case of 31 slices, bring it onto the model grid, post-process its labels."""
    folder = tempfile.TemporaryDirectory()
    dataset, config = write_sample(Path(folder.name)), _config()

    def call() -> object:
        assert Path(folder.name).exists()  # and keeps the folder alive
        return case_slices(dataset.cases[0], dataset, config)

    return call


def _synthesizing(job: Job) -> Callable[[], object]:
    """Sample synthetic slices of the whole model grid, as many at once as there are threads."""
    phantom = Phantom(load_anatomy(TASK, "held_out"), "mixed", 0, Settings())
    pool, seeds = ThreadPoolExecutor(job.threads), count()

    def sample(seed: int) -> object:
        return jax.block_until_ready(phantom.sample(seed % len(phantom), seed))

    return lambda: list(pool.map(sample, islice(seeds, job.slices)))


def _config() -> Any:
    config = default_config()
    config.task = TASK
    config.augment.probability = 1.0
    return config


def _sampler(dataset: Dataset, config: Any) -> SliceSampler:
    slices = case_slices(dataset.cases[0], dataset, config)
    return make_samplers({"train": slices, "validation": slices}, config)["train"]


def painted_slice() -> tuple[Float[np.ndarray, "h w"], UInt8[np.ndarray, "h w"], Limbs]:
    """Return the middle slice of the thighs, a muscle in each twelfth of a limb, and the limbs."""
    slices, _ = to_model_grid(load_nifti(SAMPLE))
    middle = len(slices) // 2
    limbs = find_limbs(body_mask(slices), slices.shape[1:])
    limbs = Limbs(*(np.asarray(field[middle]) for field in limbs))
    image = normalize(slices, default_config().intensity)[middle]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    labels = np.zeros(image.shape, np.uint8)
    for top, bottom, left, right in np.asarray(limbs.boxes):
        y = (2 * rows - top - bottom) / (bottom - top)
        x = (2 * columns - left - right) / (right - left)
        _paint(labels, np.ones(labels.shape, bool), y, x)
    return image, labels, limbs


def write_sample(folder: Path) -> Dataset:
    """Write the sample scan as a dataset of one case, a muscle in each sector of a limb."""
    scan: Any = nib.load(SAMPLE)
    data = np.asarray(scan.dataobj)
    body = body_mask(data)
    labels = np.zeros(data.shape, np.uint8)
    half = data.shape[0] // 2
    for part in (np.s_[:half], np.s_[half:]):
        for z in range(data.shape[2]):
            limb = body[part][..., z]
            x, y = (n - np.average(n, weights=limb) for n in np.indices(limb.shape))
            radius = np.sqrt(limb.sum() / np.pi)
            _paint(labels[part][..., z], limb, y / radius, x / radius)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    nib.save(scan, folder / "imagesTr" / "sample_0000.nii.gz")
    nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labelsTr" / "sample.nii.gz")
    write_index(folder, TASK, 1, None)
    return read_dataset(folder)


def _paint(
    labels: UInt8[np.ndarray, "r c"],
    where: Bool[np.ndarray, "r c"],
    y: Float[np.ndarray, "r c"],
    x: Float[np.ndarray, "r c"],
) -> None:
    """Write a label per muscle in sectors of the ring around the origin, with gaps between."""
    turn = np.arctan2(y, x) / (2 * np.pi) % 1 * (CLASSES - 1)
    radius = np.hypot(x, y)
    inside = where & (radius < 0.8) & (radius > 0.2) & (np.abs(turn % 1 - 0.5) < 0.46)
    labels[inside] = 1 + turn[inside].astype(np.uint8)
