"""One network in one safetensors file: its arrays, and a header with all the rest.

Nothing is unpickled or executed: the header's metadata are JSON, and arrays are checked against
the specification that the header holds.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import musclejax
from musclejax.anatomy import TASKS
from musclejax.config import from_dict
from musclejax.errors import InputError
from musclejax.models.network import Network, Texts, checksum_of, texts_of
from musclejax.models.provenance import Provenance, provenance_from_json
from musclejax.models.shapes import ArrayPath, Shape, expected_shapes, flatten_arrays, nest_arrays
from musclejax.models.spec import NetworkSpec, spec_from_json
from musclejax.models.variants import task_spec

SUFFIX = ".safetensors"
FORMAT = 1
_FORMAT_NAME = "musclejax"
"""Other programs leave names of their own under "format"."""
_DTYPES = {"F16", "F32"}
_SIZE = 8
"""Bytes of the number that a file begins with, the size of its header; the header is padded to a
multiple of it. Source: the safetensors format."""
_COPY = "Copy the file again, whole."


@dataclass(frozen=True)
class Header:
    """The header of a file: all about its network but the arrays.

    Attributes:
        texts: Task, specification and settings, as they stand in the file.
        spec: The architecture.
        config: The settings.
        provenance: Where the network comes from.
        musclejax: Version that wrote the file.
        checksum: Over texts and arrays; see `network.checksum_of`.
    """

    texts: Texts
    spec: NetworkSpec
    config: ConfigDict
    provenance: Provenance
    musclejax: str
    checksum: str

    @property
    def hash(self) -> str:
        """Return the first 12 digits of the checksum."""
        return self.checksum[:12]


def check_network(path: Path, network: Network) -> None:
    """Check that a network belongs into a file.

    Raises:
        InputError: If it is another task's, or an array has not the shape that the specification
            states.
    """
    if network.task != path.stem:
        raise InputError(path, f"a network of task {network.task}", path.stem)
    shapes = {p: np.shape(a) for p, a in flatten_arrays(network.variables).items()}
    _check_shapes(path, shapes, network.spec, network.task)


def write_network(path: Path, network: Network, provenance: Provenance, *, half: bool) -> None:
    """Write a network to a file, in place: the caller moves the file where others read it.

    Args:
        path: File to write.
        network: The network, as `check_network` accepts it.
        provenance: Where it comes from.
        half: Whether kernels are stored as float16; scales, biases and statistics are few and stay
            float32.

    Raises:
        TypeError: If the provenance is not JSON-able.
    """
    arrays = flatten_arrays(network.variables)
    kept = {p: np.asarray(a, _stored_type(np.ndim(a), half)) for p, a in arrays.items()}
    texts = texts_of(network)
    metadata = {
        "format": f"{_FORMAT_NAME} {FORMAT}",
        **texts._asdict(),
        "provenance": json.dumps(asdict(provenance)),
        "musclejax": musclejax.__version__,
        "hash": checksum_of(texts, nest_arrays(kept)),
    }
    named = {"/".join(p): np.ascontiguousarray(a) for p, a in kept.items()}
    path.write_bytes(_sorted_metadata(save(named, metadata)))


def _sorted_metadata(content: bytes) -> bytes:
    """Return a file whose metadata are sorted: the library's own order differs from run to run."""
    size = int.from_bytes(content[:_SIZE], "little")
    header = json.loads(content[_SIZE : _SIZE + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _SIZE)
    return len(text).to_bytes(_SIZE, "little") + text + content[_SIZE + size :]


def _stored_type(axes: int, half: bool) -> type[np.floating[Any]]:
    return np.float16 if half and axes > 1 else np.float32


def read_header(path: Path) -> Header:
    """Read the header of a file; its arrays are not read.

    Raises:
        InputError: If the file is damaged, another program's or a later version's, or states a
            specification or settings that do not exist.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        _check_format(metadata.get("format", ""))
        texts = Texts(metadata["task"], metadata["spec"], metadata["config"])
        header = Header(
            texts,
            spec_from_json(_table(texts.spec)),
            from_dict(_table(texts.config)),
            provenance_from_json(_table(metadata["provenance"])),
            metadata["musclejax"],
            metadata["hash"],
        )
        _check_task(path, header)
        task_spec(header.spec, texts.task)
    except InputError as error:
        raise InputError(f"{path}, {error.subject}", *_parts(error)) from None
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    return header


def read_network(path: Path, header: Header) -> Network:
    """Read the network of a file.

    Args:
        path: The file.
        header: Its header, from `read_header`.

    Raises:
        InputError: If the file is damaged, or not the one that the header was read from.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            types = {view.get_dtype() for view in views.values()} - _DTYPES
            if types:
                raise InputError(path, f"arrays of type {', '.join(sorted(types))}", "F16 or F32")
            shapes = {_path(n): tuple(view.get_shape()) for n, view in views.items()}
            _check_shapes(path, shapes, header.spec, header.texts.task)
            arrays = {_path(n): np.asarray(file.get_tensor(n), np.float32) for n in views}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None
    variables = nest_arrays(dict(sorted(arrays.items())))
    if checksum_of(header.texts, variables) != header.checksum:
        found = "content that its checksum does not fit"
        raise InputError(path, found, "the file as it was written", _COPY)
    network = Network(header.config, header.spec, variables)
    vars(network)["checksum"] = header.checksum  # it has just been computed
    return network


def _path(name: str) -> ArrayPath:
    return tuple(name.split("/"))


def _table(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{type(values).__name__} in place of a table")
    return values


def _check_format(text: str) -> None:
    name, _, number = text.partition(" ")
    if name != _FORMAT_NAME or not number.isdecimal():
        raise InputError("format", repr(text), f"{_FORMAT_NAME} {FORMAT}", "Is it another file?")
    if int(number) != FORMAT:
        remedy = "Run: pip install --upgrade musclejax"
        raise InputError("format", text, f"{_FORMAT_NAME} {FORMAT}", remedy)


def _check_task(path: Path, header: Header) -> None:
    task = header.texts.task
    if task not in TASKS:
        raise InputError.choice("task", task, TASKS)
    if (path.stem, header.config.task) != (task, task):
        found = f"a {task} network with settings of {header.config.task}"
        raise InputError("task", found, f"a {path.stem} network, as the file is named")


def _check_shapes(
    path: Path, found: Mapping[ArrayPath, Shape], spec: NetworkSpec, task: str
) -> None:
    expected = expected_shapes(spec, task)
    for array, shape in expected.items():
        if found.get(array) != shape:
            name = "/".join(array)
            state = f"{name} of shape {found[array]}" if array in found else f"no array {name}"
            raise InputError(path, state, f"{shape}, as its specification states")
    extra = sorted(found.keys() - expected.keys())
    if extra:
        raise InputError(path, f"an array {'/'.join(extra[0])}", "those of its specification")


def _parts(error: InputError) -> tuple[str, str, str]:
    return error.found, error.accepted, error.remedy


def _damaged(path: Path, error: Exception) -> InputError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
    return InputError(path, f"no readable weights ({reason})", "a whole file", _COPY)
