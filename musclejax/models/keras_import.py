"""The HDF5 weights of the 2021 release -> networks. Reads arrays only: nothing is unpickled."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musclejax.anatomy import TASKS
from musclejax.config import load_recipe
from musclejax.errors import InputError
from musclejax.models.network import Network
from musclejax.models.shapes import ArrayPath, Shape, expected_shapes, flatten_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import find, task_spec

if TYPE_CHECKING:
    import h5py

Layer = tuple[str, dict[str, np.ndarray]]
"""Name of a layer in the file and its arrays by short name, such as "kernel" or "gamma"."""

_COPY = "Download or copy the file again."
_OWN = "arrays that the file itself holds"
_MOST_PACKED, _MOST_BYTES = 8, 2**31
"""Bytes of arrays for each of the file, and in all. Source: ours; compression takes a tenth off
weights, and the networks of 2021 have 0.1 GB."""
_NORM = {
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
}
"""Keras's batch-norm names -> ours."""


def import_keras(path: Path, task: str) -> Network:
    """Read one network of the 2021 release.

    Layers are matched by order and kind; the numbers in their names mean nothing.

    Args:
        path: Keras 2 weights-only HDF5 file: `weights_thighleg.hdf5` for the region,
            `weights_thigh.hdf5` or `weights_leg.hdf5` for a segmentation network.
        task: "region", "thigh" or "leg".

    Returns:
        The paper's network, with the intensity handling of the 2021 code.

    Raises:
        InputError: If h5py is not installed, or the file is damaged or is not that network; names
            the layer, the expected and the found shape.

    Source: facts-2021, sections Weights files and Inference.
    """
    config = load_recipe(task)
    is_classifier = TASKS[task].is_classifier
    config.intensity.mode = "divide" if is_classifier else "raw"
    layers = _read_layers(path)
    convolutions = [layer for layer in layers if "kernel" in layer[1]]
    norms = [layer for layer in layers if "gamma" in layer[1]]
    spec = find(config.variant)
    units = forward_order(task_spec(spec, task), expanding=not is_classifier)
    for kind, found, expected_count in (
        ("convolution or dense", convolutions, len(units) + 1),
        ("batch normalization", norms, len(units)),
    ):
        if len(found) != expected_count:
            accepted = f"{expected_count}, as the {task} network of 2021 has"
            raise InputError(path, f"{len(found)} {kind} layers", accepted, "Is it another file?")
    expected = expected_shapes(spec, task)
    filled: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for (block, unit), convolution, norm in zip(units, convolutions, norms, strict=False):
        transposed = block.startswith("expand") and unit == "resample"
        place = {c: filled[c].setdefault(block, {}).setdefault(unit, {}) for c in filled}
        place["params"].update(_convolution(convolution, transposed))
        for array, (collection, name) in _NORM.items():
            place[collection].setdefault("norm", {})[name] = _array(path, norm, array)
    filled["params"]["head"] = _head(convolutions[-1], expected["params", "head", "kernel"])
    names = _layer_names(units, convolutions, norms)
    _check_shapes(path, filled, expected, names)
    return Network(config, spec, filled)


def forward_order(spec: NetworkSpec, *, expanding: bool) -> list[tuple[str, str]]:
    """Return (block, unit) of every convolution unit, in the order in which they are applied."""
    blocks = [f"contract_{level}" for level in range(len(spec.widths))]
    if expanding:
        blocks += [f"expand_{level}" for level in reversed(range(len(spec.widths) - 1))]
    units = ["resample", *(f"unit_{i}" for i in range(spec.units))]
    return [(block, unit) for block in blocks for unit in units]


def _read_layers(path: Path) -> list[Layer]:
    """Return the layers that have weights, in forward order."""
    if not path.is_file():  # nor a pipe, which would wait for ever
        raise InputError(path, "no such file", "an HDF5 file of the 2021 release")
    try:
        import h5py
    except ImportError:
        remedy = "Run: pip install 'musclejax[keras]'"
        raise InputError(path, "no package h5py to read it", "an installed one", remedy) from None
    try:
        with h5py.File(path, "r") as file:
            if "layer_names" not in file.attrs:
                found = "HDF5 without the attribute layer_names"
                raise InputError(path, found, "a Keras 2 weights-only file")
            _check_links(path, file)
            layers = [(n, _datasets(file[n])) for n in _texts(file.attrs["layer_names"])]
            _check_sizes(path, [d for _, datasets in layers for d in datasets.values()])
            return [(name, _read_arrays(datasets)) for name, datasets in layers if datasets]
    except InputError:
        raise
    except Exception as error:  # h5py raises a dozen types on damaged files
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise InputError(path, f"no readable HDF5 ({reason})", "a whole file", _COPY) from None


def _check_links(path: Path, file: "h5py.File") -> None:
    """Check that nothing in a file stands for another file; links are looked at, not followed.

    Raises:
        InputError: If something does.
    """
    import h5py

    outside = file.visititems_links(
        lambda name, link: name if isinstance(link, h5py.ExternalLink) else None
    )
    if outside is not None:
        raise InputError(path, f"a link to another file at {outside[:60]}", _OWN)


def _datasets(group: "h5py.Group") -> dict[str, "h5py.Dataset"]:
    names = _texts(group.attrs["weight_names"])
    # "conv2d_7/kernel:0" -> "kernel"
    return {n.split("/")[-1].split(":")[0]: group[n] for n in names}


def _check_sizes(path: Path, datasets: Sequence["h5py.Dataset"]) -> None:
    """Check what arrays declare, before one is read.

    Raises:
        InputError: If one lies in another file, holds no numbers, or is larger than such a file
            can hold.
    """
    for dataset in datasets:
        if dataset.external or dataset.is_virtual:
            raise InputError(path, f"{dataset.name} stored in another file", _OWN)
        if dataset.dtype.kind not in "fiu":
            raise InputError(path, f"{dataset.name} of type {dataset.dtype}", "numbers")
    most = min(path.stat().st_size * _MOST_PACKED, _MOST_BYTES)
    chunks = [math.prod(d.chunks or ()) * d.dtype.itemsize for d in datasets]
    declared = sum(d.size * d.dtype.itemsize for d in datasets)
    if max([declared, *chunks]) > most:
        found = f"arrays that declare {max([declared, *chunks])} bytes"
        raise InputError(path, found, f"at most {most}, as the file's size allows", _COPY)


def _read_arrays(datasets: Mapping[str, "h5py.Dataset"]) -> dict[str, np.ndarray]:
    return {name: np.asarray(dataset, np.float32) for name, dataset in datasets.items()}


def _texts(values: np.ndarray) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _array(path: Path, layer: Layer, name: str) -> np.ndarray:
    if name not in layer[1]:
        found = f"layer {layer[0]} with {', '.join(layer[1])}"
        raise InputError(path, found, f"a layer with {name}")
    return layer[1][name]


def _convolution(layer: Layer, transposed: bool) -> dict[str, np.ndarray]:
    kernel = layer[1]["kernel"]
    if transposed and kernel.ndim == 4:
        kernel = kernel.transpose(0, 1, 3, 2)  # Keras stores (k, k, out, in)
    return {**layer[1], "kernel": kernel}


def _head(layer: Layer, expected: Shape) -> dict[str, np.ndarray]:
    kernel = layer[1]["kernel"]
    one_by_one = kernel.ndim == 4 and kernel.shape[:2] == (1, 1) and len(expected) == 2
    return {**layer[1], "kernel": kernel[0, 0] if one_by_one else kernel}


def _layer_names(
    units: list[tuple[str, str]], convolutions: list[Layer], norms: list[Layer]
) -> dict[str, str]:
    """Return which layer of the file each unit of ours was read from."""
    names = {"head": convolutions[-1][0]}
    for (block, unit), convolution, norm in zip(units, convolutions, norms, strict=False):
        names[f"{block}/{unit}"] = convolution[0]
        names[f"{block}/{unit}/norm"] = norm[0]
    return names


def _check_shapes(
    path: Path,
    filled: Mapping[str, Any],
    expected: Mapping[ArrayPath, Shape],
    names: Mapping[str, str],
) -> None:
    found = flatten_arrays(filled)
    for key, accepted in expected.items():
        layer = names["/".join(key[1:-1])]
        shape = found[key].shape if key in found else None
        if shape != accepted:
            state = f"{key[-1]} of shape {shape}" if shape else f"no {key[-1]}"
            raise InputError(f"{path}, layer {layer}", state, f"shape {accepted} for {key[1]}")
        if not np.isfinite(found[key]).all():
            found_values = "NaN or infinite values"
            raise InputError(f"{path}, layer {layer}", found_values, "finite weights", _COPY)
        if key[-1] == "var" and (found[key] < 0).any():
            raise InputError(f"{path}, layer {layer}", "negative variances", "0 or more", _COPY)
    extra = sorted(found.keys() - expected.keys())
    if extra:
        raise InputError(path, f"an unknown array {'/'.join(extra[0])}", "the layers of 2021")
