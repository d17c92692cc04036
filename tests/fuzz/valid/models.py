"""Small valid networks, runs and searches; the same bytes at every call."""

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from musclejax.config import load_recipe
from musclejax.models.keras_import import forward_order
from musclejax.models.network import Network
from musclejax.models.provenance import Provenance
from musclejax.models.shapes import expected_shapes, nest_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import VARIANTS, task_spec
from musclejax.models.weights import save_weights
from musclejax.training import checkpoint
from musclejax.training.workdir import append_metrics, open_run
from tests.small import SMALL_VARIANTS, VARIANT

SMALL = NetworkSpec(widths=(2, 2), strides=(1, 2))
# The paper's depth and strides, which the HDF5 files of 2021 have, on two channels.
VARIANTS[VARIANT] = SMALL_VARIANTS[VARIANT]
VARIANTS["paper"] = replace(VARIANTS["paper"], widths=(2,) * 6)


def _arrays(spec: NetworkSpec | str, task: str) -> dict[tuple[str, ...], np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = expected_shapes(spec, task)
    return {path: rng.uniform(0.1, 1, shape).astype(np.float32) for path, shape in shapes.items()}


def weights(folder: Path) -> None:
    """A thigh network of 20 kB."""
    network = Network(
        load_recipe("thigh", ["variant=unlisted"]), SMALL, nest_arrays(_arrays(SMALL, "thigh"))
    )
    data = {"train": {"subjects": ["a", "b"], "slices": 9, "source": "scans", "cases": ["a"]}}
    record = Provenance("1.0", data=data, metrics={"validation_dsc": 0.9}, license="CC0")
    save_weights(folder, {"thigh": network}, record)


def run(folder: Path) -> None:
    """A run of one epoch with its checkpoint."""
    config = load_recipe("thigh", [f"variant={VARIANT}"])
    part = {"subjects": ["a"], "cases": ["a"], "slices": 9, "source": "scans"}
    open_run(folder, config, {"data": {"train": part}, "versions": {}}, 1, resume=False)
    append_metrics(folder, {"epoch": 1, "loss": 0.5, "validation_dsc": 0.5})
    state = nest_arrays(_arrays(SMALL_VARIANTS[VARIANT], "thigh"))
    checkpoint.save(folder, "best", 2, state, {"epoch": 1})


def keras(folder: Path) -> None:
    """The classifier of 2021 in its layout, and a pipe that nobody writes to."""
    arrays, norm = _arrays("paper", "region"), ("scale", "bias", "mean", "var")
    layers: list[tuple[str, dict[str, np.ndarray]]] = []

    def add(*names: str, **values: np.ndarray) -> None:
        layers.append((f"layer_{900 - len(layers)}", values))

    for block, unit in forward_order(task_spec("paper", "region"), expanding=False):
        at = block, unit
        add(kernel=arrays["params", *at, "kernel"], bias=arrays["params", *at, "bias"])
        scale, bias = (arrays["params", *at, "norm", name] for name in norm[:2])
        mean, var = (arrays["batch_stats", *at, "norm", name] for name in norm[2:])
        add(gamma=scale, beta=bias, moving_mean=mean, moving_variance=var)
    add(kernel=arrays["params", "head", "kernel"], bias=arrays["params", "head", "bias"])
    with h5py.File(folder / "weights.hdf5", "w") as file:
        file.attrs["layer_names"] = np.array([name for name, _ in layers], "S40")
        for name, values in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{v}:0" for v in values], "S40")
            for value, array in values.items():
                group[f"{name}/{value}:0"] = array
    os.mkfifo(folder / "pipe")
