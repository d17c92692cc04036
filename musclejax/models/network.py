"""One network of the tree: its settings, its architecture and its arrays."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from ml_collections import ConfigDict

from musclejax.anatomy import TASKS
from musclejax.models.classifier import RegionClassifier
from musclejax.models.shapes import flatten_arrays
from musclejax.models.spec import NetworkSpec
from musclejax.models.variants import task_spec
from musclejax.models.vnet import VNet

Variables = Mapping[str, Any]
"""Nested dicts of float32 arrays: "params" and, with batch norm, "batch_stats"."""


@runtime_checkable
class Module(Protocol):
    """The part of a Flax module that other rooms use: a pure function of variables and images."""

    spec: NetworkSpec
    num_classes: int

    def apply(self, variables: Any, *arguments: Any, **options: Any) -> Any:
        """Return logits; with `mutable`, the changed collections too."""
        ...


def build(variant_or_spec: str | NetworkSpec, task: str) -> Module:
    """Return the Flax module of one network of the tree.

    Args:
        variant_or_spec: Name of a row of `VARIANTS`, or a specification of your own.
        task: "region" for the classifier, else the name of a region.

    Raises:
        InputError: If the variant or the task does not exist.
    """
    spec = task_spec(variant_or_spec, task)
    kind = RegionClassifier if TASKS[task].is_classifier else VNet
    module: Module = kind(spec, TASKS[task].num_classes)
    return module


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """One network of the tree, ready to apply.

    Attributes:
        config: Its settings, as in `musclejax.config.default_config`.
        spec: Its architecture, whole; the variant's name in the settings is never looked up.
        variables: Its arrays.
    """

    config: ConfigDict
    spec: NetworkSpec
    variables: Variables

    def __repr__(self) -> str:
        """Return one line: task, variant, checksum."""
        return f"<Network {self.task}: variant {self.config.variant}, {self.hash}>"

    @property
    def task(self) -> str:
        """Return its row of `anatomy.TASKS`: "region", "thigh" or "leg"."""
        return str(self.config.task)

    @property
    def module(self) -> Module:
        """Return the Flax module that the variables belong to."""
        return build(self.spec, self.task)

    @property
    def hash(self) -> str:
        """Return the first 12 digits of its checksum."""
        return self.checksum[:12]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over its task, architecture, settings and every array; 64 digits."""
        return checksum_of(texts_of(self), self.variables)


class Texts(NamedTuple):
    """A network but for its arrays, as files hold it and checksums take it."""

    task: str
    spec: str
    config: str


def texts_of(network: Network) -> Texts:
    """Return a network's task, and its specification and settings as JSON."""
    tables = asdict(network.spec), network.config.to_dict()
    return Texts(network.task, *(json.dumps(table, sort_keys=True) for table in tables))


def checksum_of(texts: Texts, variables: Variables) -> str:
    """Return the SHA-256 of a network; arrays count as float32, however they are stored."""
    digest = hashlib.sha256("\n".join(texts).encode())
    for path, array in flatten_arrays(variables).items():
        digest.update(f"\n{'/'.join(path)} {np.shape(array)}\n".encode())
        digest.update(np.ascontiguousarray(array, np.float32))
    return digest.hexdigest()
