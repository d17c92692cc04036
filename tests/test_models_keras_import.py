"""The 2021 release: HDF5 in its layout, from the same network written in Keras."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

os.environ["KERAS_BACKEND"] = "jax"
keras = pytest.importorskip("keras")

from musclejax.errors import InputError
from musclejax.models.keras_import import import_keras
from musclejax.models.shapes import expected_shapes, flatten_arrays
from musclejax.models.variants import VARIANTS
from musclejax.models.weights import Weights
from musclejax.prediction.batches import predict_classes, predict_labels
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.segment import segment
from musclejax.scan.volume import Volume
from tests.conftest import quick_jit
from tests.test_grid import fit

# Keras's own, on NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WIDTHS, STRIDES = (32, 64, 128, 256, 512, 1024), (1, 2, 2, 2, 2, 3)
SMALL = (8, 9, 10, 11, 12, 13)
"""Widths of the networks whose values are compared; depth, strides and order are those of 2021."""
CLASSES = {"thigh": 13, "leg": 7, "region": 2}


def keras_network(task: str, px: int, widths: tuple[int, ...] = WIDTHS) -> "keras.Model":
    """The network of 2021 as facts-2021, section Networks, tells it, layer by layer."""
    from keras import layers

    # Random kernels would be drawn by XLA, one compilation per shape.
    zeros = {"kernel_initializer": "zeros"}

    def conv(x, width: int, size: int, stride: int = 1):
        padding = "valid" if stride == size else "same"
        return layers.Conv2D(width, size, strides=stride, padding=padding, **zeros)(x)

    def norm(x):
        return layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x)

    def residual(x, shortcut, width: int):
        x = layers.ReLU()(norm(conv(x, width, 3)))
        x = norm(conv(x, width, 3))
        return layers.ReLU()(layers.Add()([x, shortcut]))

    levels = 5 if task == "region" else 6
    x = image = keras.Input((px, px, 1))
    skips = []
    for width, stride in zip(widths[:levels], STRIDES[:levels], strict=True):
        shortcut = norm(conv(x, width, stride, stride))
        x = residual(layers.ReLU()(shortcut), shortcut, width)
        skips.append(x)
    if task == "region":
        dense = layers.Dense(2, activation="softmax", **zeros)
        return keras.Model(image, dense(layers.Flatten()(x)))
    for level in reversed(range(levels - 1)):
        width, stride = widths[level], STRIDES[level + 1]
        shortcut = norm(layers.Conv2DTranspose(width, stride, strides=stride, **zeros)(x))
        joined = layers.Concatenate()([skips[level], layers.ReLU()(shortcut)])
        x = residual(joined, shortcut, width)
    last = layers.Conv2D(CLASSES[task], 1, activation="softmax", **zeros)
    return keras.Model(image, last(x))


def seeded(model: "keras.Model", seed: int) -> "keras.Model":
    """Weights as after training: statistics away from 0 and 1, certain outputs."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        arrays = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (a.shape for a in arrays)
            arrays = [rng.uniform(0.5, 1.5, gamma), rng.normal(0, 0.3, beta)]
            arrays += [rng.normal(0, 0.3, mean), rng.uniform(0.5, 1.5, variance)]
        elif arrays:
            fan = np.prod(arrays[0].shape[:-1])
            # Values keep their scale from layer to layer, and the outputs are certain.
            arrays = [rng.normal(0, 1.5 / np.sqrt(fan), arrays[0].shape).astype(np.float32)]
            arrays += [rng.normal(0, 0.1, layer.get_weights()[1].shape)]
        layer.set_weights(arrays)
    return model


def write_2021(path: Path, model: "keras.Model", skip_empty: bool = False) -> Path:
    """Write the layout of facts-2021, section Weights files, with unhelpful layer numbers."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights or not skip_empty]
        names = [f"{type(layer).__name__.lower()}_{900 - i}" for i, layer in enumerate(layers)]
        file.attrs["layer_names"] = np.array(names, "S40")
        for name, layer in zip(names, layers, strict=True):
            group = file.create_group(name)
            weights = [f"{name}/{w.name}:0" for w in layer.weights]
            group.attrs["weight_names"] = np.array(weights, "S80")
            for weight, array in zip(weights, layer.get_weights(), strict=True):
                group[weight] = array
    return path


def predict(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    return np.asarray(quick_jit(lambda x: model(x, training=False))(images))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@pytest.fixture(scope="module")
def region_file(folder: Path) -> Path:
    """The classifier of 2021 in full width."""
    return write_2021(
        folder / "weights_thighleg.hdf5", keras_network("region", 128), skip_empty=True
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's network with fewer channels in the table."""
    monkeypatch.setitem(VARIANTS, "paper", replace(VARIANTS["paper"], widths=SMALL))


@pytest.fixture(scope="module")
def small_region(folder: Path) -> tuple[Path, "keras.Model"]:
    model = seeded(keras_network("region", 128, SMALL), 1)
    return write_2021(folder / "small_thighleg.hdf5", model, skip_empty=True), model


@pytest.fixture(scope="module")
def small_thigh(folder: Path) -> tuple[Path, "keras.Model"]:
    model = seeded(keras_network("thigh", 432, SMALL), 7)
    return write_2021(folder / "small_thigh.hdf5", model), model


@pytest.mark.parametrize("task", ["thigh", "leg", "region"])
def test_every_array_of_the_full_size_networks_has_its_place(task: str, folder: Path) -> None:
    model = keras_network(task, 128 if task == "region" else 48)
    path = write_2021(folder / "full.hdf5", model)
    network = import_keras(path, task)
    found = {p: a.shape for p, a in flatten_arrays(network.variables).items()}
    assert found == expected_shapes("paper", task)
    assert (network.spec, network.config.variant) == (VARIANTS["paper"], "paper")
    path.unlink()


@pytest.mark.usefixtures("small")
def test_segmentation_probabilities_of_the_2021_file(
    small_thigh: tuple[Path, "keras.Model"],
) -> None:
    """Full size and depth."""
    path, model = small_thigh
    network = import_keras(path, "thigh")
    image = np.random.default_rng(3).uniform(0, 2, (1, 432, 432, 1)).astype(np.float32)
    expected = predict(model, image)
    assert np.median(expected.max(-1)) > 0.4  # a flat output would agree with anything
    assert len(np.unique(expected.argmax(-1))) > 4
    apply = quick_jit(partial(network.module.apply, train=False))
    logits = apply(dict(network.variables), image)
    np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-4)
    # The folded, jitted network that users run: exact to its steps of 1/255.
    found = predict_labels(network, image[..., 0], SegmentOptions(batch_size=1))
    np.testing.assert_allclose(found.probabilities / 255, expected, atol=0.5 / 255 + 1e-4)
    assert (found.labels == expected.argmax(-1)).mean() > 0.999
    assert network.config.intensity.mode == "raw"


@pytest.mark.usefixtures("small")
def test_geometry_2021_gives_the_label_map_of_the_2021_code(
    small_thigh: tuple[Path, "keras.Model"], small_region: tuple[Path, "keras.Model"]
) -> None:
    """facts-2021, section Inference, step by step with scipy, scikit-image and Keras."""
    rng = np.random.default_rng(5)
    shape, spacing = (330, 300), 1.3
    data = ndimage.gaussian_filter(rng.uniform(0, 40, (*shape, 11)), (3, 3, 0)).astype(np.float32)
    affine = np.array([[-spacing, 0, 0, 9], [0, 0, 4, 8], [0, spacing, 0, 7], [0, 0, 0, 1]])
    factor = spacing / 1.037037

    def to_432(k: int) -> np.ndarray:
        zoomed = ndimage.zoom(data[:, :, k], factor, order=3)
        return fit(zoomed, (432, 432))[::-1, ::-1].T

    small = resize(to_432(11 // 2), (128, 128), order=3, anti_aliasing=True, preserve_range=True)
    small = small[None, ..., None].astype(np.float32) / 4096
    region = predict(small_region[1], small)[0]
    labels = np.zeros(data.shape, np.uint8)
    chosen = range(4, 11 - 5)
    images = np.stack([to_432(k) for k in chosen])[..., None].astype(np.float32)
    for k, probabilities in zip(chosen, predict(small_thigh[1], images), strict=True):
        classes = probabilities.argmax(-1)
        back = fit(ndimage.zoom(classes, 1 / factor, order=0), (shape[1], shape[0]))
        labels[:, :, k] = back[::-1, ::-1].T

    names = ("thigh", "leg")
    networks = {
        "region": import_keras(small_region[0], "region"),
        "thigh": import_keras(small_thigh[0], "thigh"),
    }
    networks["leg"] = networks["thigh"]  # whichever the random classifier picks
    weights = Weights("2021", networks)
    found = segment(Volume(data, affine), weights, SegmentOptions(geometry="2021", batch_size=1))
    assert found.region == names[int(region.argmax())]
    assert found.region_probability == pytest.approx(region.max(), abs=1e-4)
    assert len(np.unique(labels)) > 4
    assert (found.labels == labels).mean() > 0.9995


@pytest.mark.usefixtures("small")
def test_region_probabilities_of_the_2021_file(
    small_region: tuple[Path, "keras.Model"],
) -> None:
    path, model = small_region
    network = import_keras(path, "region")
    images = np.random.default_rng(4).uniform(0, 1, (3, 128, 128, 1)).astype(np.float32)
    expected = predict(model, images)
    np.testing.assert_allclose(predict_classes(network, images[..., 0]), expected, atol=1e-4)
    assert (network.config.intensity.mode, network.config.intensity.divisor) == ("divide", 4096)


def edited(edit: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            edit(file)

    return apply


def reshape_kernel(file: h5py.File) -> None:
    name = [n.decode() for n in file.attrs["layer_names"]][4]  # the third convolution
    del file[name][f"{name}/kernel:0"]
    file[name][f"{name}/kernel:0"] = np.zeros((3, 3, 32, 31), np.float32)


def drop_layer(file: h5py.File) -> None:
    file.attrs["layer_names"] = file.attrs["layer_names"][1:]


def put_nan(file: h5py.File) -> None:
    name = file.attrs["layer_names"][0].decode()
    file[name][f"{name}/bias:0"][0] = np.nan


def put_negative_variance(file: h5py.File) -> None:
    name = file.attrs["layer_names"][1].decode()
    file[name][f"{name}/moving_variance:0"][0] = -2  # its root is NaN


def rename(file: h5py.File) -> None:
    name = file.attrs["layer_names"][1].decode()
    group = file[name]
    group.move(f"{name}/beta:0", f"{name}/offset:0")
    names = [n.decode().replace("beta", "offset") for n in group.attrs["weight_names"]]
    group.attrs["weight_names"] = np.array(names, "S80")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            edited(reshape_kernel),
            r"layer conv2d_896: found kernel of shape \(3, 3, 32, 31\); accepted: shape "
            r"\(3, 3, 32, 32\)",
        ),
        (edited(drop_layer), "found 15 convolution or dense layers; accepted: 16"),
        (edited(put_nan), "layer conv2d_900: found NaN"),
        (edited(put_negative_variance), "layer batchnormalization_899: found negative variances"),
        (edited(rename), "layer batchnormalization_899 with gamma, offset"),
        (lambda p: p.write_bytes(p.read_bytes()[: 10**6]), "no readable HDF5"),
        (lambda p: p.write_text("not HDF5"), "no readable HDF5"),
        (lambda p: p.unlink(), "no such file"),
    ],
)
def test_wrong_files_are_refused_by_layer_and_shape(
    damage: Callable[[Path], None],
    message: str,
    region_file: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights.hdf5"
    path.write_bytes(region_file.read_bytes())
    damage(path)
    with pytest.raises(InputError, match=message) as error:
        import_keras(path, "region")
    assert "\n" not in str(error.value)


def test_the_file_of_another_network_is_refused(region_file: Path) -> None:
    with pytest.raises(InputError, match="found 16 convolution.*accepted: 34, as the leg"):
        import_keras(region_file, "leg")
