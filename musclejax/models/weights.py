"""Saved networks: variables, configuration and provenance in a folder that is safe to load."""

import json
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import musclejax
from musclejax import anatomy
from musclejax.config import config_hash, default_config, from_dict
from musclejax.errors import InputError
from musclejax.files import staging_folder, write_json
from musclejax.models import variants
from musclejax.models.spec import NetworkSpec

INDEX = "weights.json"
FORMAT = 1
BUNDLED = Path(musclejax.__file__).parent / "bundled"
"""Folder of the weights that ship with the package."""


@dataclass(frozen=True, eq=False)
class Network:
    """One network of the tree, ready to apply.

    Attributes:
        config: Its settings, as in `musclejax.config.default_config`.
        variables: "params" and, with batch norm, "batch_stats": nested dicts of float32 arrays.
    """

    config: ConfigDict
    variables: Mapping[str, Any]

    @property
    def task(self) -> str:
        """Return "region", "thigh" or "leg"."""
        return str(self.config.task)

    @property
    def spec(self) -> NetworkSpec:
        """Return the specification of the variant."""
        return variants.find(self.config.variant)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits over the configuration."""
        return config_hash(self.config.to_dict())

    @property
    def module(self) -> nn.Module:
        """Return the Flax module that the variables belong to."""
        return variants.build_network(self.spec, self.task)


@dataclass(frozen=True, eq=False)
class Weights:
    """The networks of a tree, any subset of the three, and where they come from.

    Attributes:
        name: Name of the bundled weights, or of the folder.
        networks: Networks by task.
        provenance: What trained them, on what, under which licence; "trained" is False for
            weights that are random; "caution" is shown with every result.
    """

    name: str
    networks: Mapping[str, Network]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether the networks have learnt anything; random weights say no."""
        return bool(self.provenance.get("trained", True))

    @property
    def caution(self) -> str:
        """What a user must know before relying on the labels; empty if nothing."""
        random = "" if self.trained else "random weights, not trained: the labels mean nothing"
        return str(self.provenance.get("caution", random))

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits over the configurations and a checksum of every array."""
        sums = {
            task: [zlib.crc32(np.asarray(a).tobytes()) for a in jax.tree.leaves(n.variables)]
            for task, n in self.networks.items()
        }
        configs = {task: n.config.to_dict() for task, n in self.networks.items()}
        return config_hash({"configs": configs, "sums": sums})


def initialise(task: str, variant: str = "paper", seed: int = 0) -> Network:
    """Return an untrained network: Glorot-normal kernels (paper), zero biases.

    Raises:
        InputError: If the task or variant does not exist.
    """
    config = default_config()
    config.task, config.variant = task, variant
    return Network(config, draw_variables(variants.find(variant), task, seed))


def draw_variables(spec: NetworkSpec, task: str, seed: int) -> dict[str, Any]:
    """Draw the variables of an untrained network.

    The same distribution as `module.init` (a test compares them); drawn by NumPy, because XLA
    needs a minute to compile the random numbers of so many shapes.
    """
    # Half a second to import, and nobody who labels scans needs it.
    from scipy.stats import truncnorm

    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        match path[-1].key:
            case "kernel":
                fans = math.prod(leaf.shape[:-2]) * (leaf.shape[-2] + leaf.shape[-1])
                # Flax cuts the normal distribution at two standard deviations and widens it.
                cut = truncnorm.rvs(-2, 2, size=leaf.shape, random_state=rng)
                return np.asarray(cut * math.sqrt(2 / fans) / truncnorm.std(-2, 2), np.float32)
            case "scale" | "var":
                return np.ones(leaf.shape, np.float32)
            case _:
                return np.zeros(leaf.shape, np.float32)

    expected = variants.expected_variables(spec, task)
    return dict(jax.tree.map_with_path(draw, expected))


def save_weights(
    folder: str | Path,
    networks: Mapping[str, Network],
    provenance: Mapping[str, Any],
    *,
    half: bool = False,
) -> None:
    """Write a weights folder: an orbax checkpoint per network and one readable index.

    Args:
        folder: Folder to make; an existing weights folder is replaced once the new one is whole.
        networks: Networks by task, any subset of the three.
        provenance: JSON-able; what trained them ("trained": bool, "description", "data",
            "licence", ...).
        half: Whether kernels are stored in half precision; what is loaded is float32 again.
    """
    import orbax.checkpoint as ocp

    index = {
        "format": FORMAT,
        "networks": {task: network.config.to_dict() for task, network in networks.items()},
        "provenance": dict(provenance),
        "versions": _versions(),
    }
    folder = Path(folder).absolute()
    with (
        staging_folder(folder, "weights", last=INDEX) as stage,
        ocp.StandardCheckpointer() as saver,
    ):
        for task, network in networks.items():
            saver.save(stage / task, _stored(network.variables, half=half))
        saver.wait_until_finished()
        write_json(stage / INDEX, index)
        # The old ones go only now that the new ones are whole, and only if weights they are.
        if (folder / INDEX).is_file():
            (folder / INDEX).unlink()
            for task in anatomy.TASKS:
                shutil.rmtree(folder / task, ignore_errors=True)


def _stored(variables: Mapping[str, Any], *, half: bool) -> dict[str, Any]:
    """Return arrays as they are written; scales, biases and statistics are few and stay whole."""

    def stored(array: Any) -> np.ndarray:
        return np.asarray(array, np.float16 if half and np.ndim(array) > 1 else None)

    return jax.tree.map(stored, dict(variables))


def load_weights(name_or_folder: str | Path) -> Weights:
    """Load bundled weights by name, or any weights folder.

    Nothing is unpickled, executed or downloaded: the index is JSON, arrays are TensorStore.

    Raises:
        InputError: If there are no such weights, or an array is missing or of another shape
            than its variant has.
    """
    folder = _find(name_or_folder)
    index = _read_index(folder)
    networks = {
        task: _load_network(folder / task, from_dict(config))
        for task, config in index["networks"].items()
    }
    return Weights(folder.name, networks, index["provenance"])


def list_weights() -> dict[str, dict[str, Any]]:
    """Return the index of each set of weights that ships with the package, by name."""
    return {p.parent.name: _read_index(p.parent) for p in sorted(BUNDLED.glob(f"*/{INDEX}"))}


def _find(name_or_folder: str | Path) -> Path:
    bundled = BUNDLED / str(name_or_folder)
    for folder in (Path(name_or_folder), bundled):
        if (folder / INDEX).is_file():
            return folder.absolute()
    names = ", ".join(p.parent.name for p in sorted(BUNDLED.glob(f"*/{INDEX}")))
    state = "a folder without weights.json" if Path(name_or_folder).is_dir() else "no such weights"
    accepted = f"a bundled name ({names}) or a folder made by import-keras or train"
    raise InputError(f"weights {name_or_folder}", state, accepted)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(index["networks"]) - set(anatomy.TASKS)
        found = f"format {index['format']} with networks {', '.join(index['networks'])}"
        readable = index["format"] == FORMAT and not unknown and "provenance" in index
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        readable, found = False, f"{type(error).__name__}: {error}"
    if not readable:
        raise InputError(path, found, f"an index of format {FORMAT} naming {anatomy.TASKS}")
    return index


def _load_network(folder: Path, config: ConfigDict) -> Network:
    import orbax.checkpoint as ocp

    try:
        with ocp.PyTreeCheckpointer() as loader:
            variables = loader.restore(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        remedy = "Copy the folder again, whole."
        raise InputError(folder, f"no readable arrays ({reason})", "a checkpoint", remedy) from None
    found = {jax.tree_util.keystr(k): a.shape for k, a in jax.tree.leaves_with_path(variables)}
    expected = variants.expected_variables(variants.find(config.variant), config.task)
    for key, leaf in jax.tree.leaves_with_path(expected):
        name = jax.tree_util.keystr(key)
        if found.get(name) != leaf.shape:
            shape = f"{name} of shape {found[name]}" if name in found else f"no array {name}"
            raise InputError(folder, shape, f"{leaf.shape} as variant {config.variant} has")
    return Network(config, jax.tree.map(lambda a: np.asarray(a, np.float32), variables))


def _versions() -> dict[str, str]:
    versions = {}
    for package in ("musclejax", "jax", "flax", "orbax-checkpoint", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
