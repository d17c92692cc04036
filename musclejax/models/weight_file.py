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
from safetensors import safe_open
from safetensors.numpy import save

import musclejax
from musclejax.anatomy import TASKS
from musclejax.config import check_settings, from_dict
from musclejax.errors import InputError
from musclejax.files import sha256
from musclejax.models.network import Network, Texts, checksum_of, texts_of
from musclejax.models.provenance import Provenance, provenance_from_json
from musclejax.models.shapes import ArrayPath, Shape, expected_shapes, flatten_arrays, nest_arrays
from musclejax.models.spec import NetworkSpec, spec_from_json
from musclejax.models.variants import task_spec
from musclejax.system import newer_than_this

SUFFIX = ".safetensors"
FORMAT = 1
_METADATA_HASH = "metadata_hash"
_KEYS = {"format", "task", "spec", "config", "provenance", "musclejax", "hash"}
"""What the header's metadata hold; files of before November 2026 lack the hash of them."""
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
        InputError: If it is another task's, an array has not the shape that the specification
            states, or one holds NaN or infinity, as after a training that diverged.
    """
    if network.task != path.stem:
        raise InputError(path, f"a network of task {network.task}", path.stem)
    arrays = flatten_arrays(network.variables)
    shapes = {p: np.shape(a) for p, a in arrays.items()}
    _check_shapes(path, shapes, network.spec, network.task)
    _check_finite(path, arrays)


def write_network(path: Path, network: Network, provenance: Provenance, *, half: bool) -> None:
    """Write a network to a file, in place: the caller moves the file where others read it.

    Args:
        path: File to write.
        network: The network, as `check_network` accepts it.
        provenance: Where it comes from.
        half: Whether kernels are stored as float16; scales, biases and statistics are few and stay
            float32.

    Raises:
        InputError: If an array is too large for half precision.
        TypeError: If the provenance is not JSON-able.
    """
    arrays = flatten_arrays(network.variables)
    with np.errstate(over="ignore"):  # checked in the next line
        kept = {p: np.asarray(a, _stored_type(np.ndim(a), half)) for p, a in arrays.items()}
    _check_finite(path, kept)
    texts = texts_of(network)
    metadata = {
        "format": f"{_FORMAT_NAME} {FORMAT}",
        **texts._asdict(),
        "provenance": json.dumps(asdict(provenance)),
        "musclejax": musclejax.__version__,
        "hash": checksum_of(texts, nest_arrays(kept)),
    }
    metadata[_METADATA_HASH] = _hash_of(metadata)
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
    later = ""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        later = newer_than_this(metadata.get("musclejax"))
        _check_format(metadata.get("format", ""))
        _check_metadata(metadata)
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
        check_settings(header.config)
    except InputError as error:
        remedy = later or error.remedy or _COPY
        raise InputError(f"{path}, {error.subject}", error.found, error.accepted, remedy) from None
    except Exception as error:  # the libraries raise a dozen types
        raise _damaged(path, error, later) from None
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
    except InputError:
        raise
    except Exception as error:  # the libraries raise a dozen types
        raise _damaged(path, error) from None
    variables = nest_arrays(dict(sorted(arrays.items())))
    if checksum_of(header.texts, variables) != header.checksum:
        found = "content that its checksum does not fit"
        raise InputError(path, found, "the file as it was written", _COPY)
    _check_finite(path, arrays)
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


def _hash_of(metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 over all the metadata but itself: words, too, can be damaged."""
    kept = {name: text for name, text in metadata.items() if name != _METADATA_HASH}
    return sha256(json.dumps(kept, sort_keys=True).encode())


def _check_metadata(metadata: Mapping[str, str]) -> None:
    missing, extra = _KEYS - metadata.keys(), metadata.keys() - _KEYS - {_METADATA_HASH}
    if missing or extra:
        found = f"no {min(missing)}" if missing else f"{min(extra)[:40]!r}"
        raise InputError("header", found, ", ".join(sorted(_KEYS)), _COPY)
    if metadata.get(_METADATA_HASH, _hash_of(metadata)) != _hash_of(metadata):
        found = "words that its checksum does not fit"
        raise InputError("header", found, "the file as it was written", _COPY)


def _check_finite(path: Path, arrays: Mapping[ArrayPath, Any]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            found = f"NaN or infinity in {'/'.join(name)}"
            raise InputError(path, found, "finite weights", "Train or export it again.")


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
        accepted = f"a {path.stem} network, as the file is named"
        raise InputError("task", found, accepted, f"Name it {task}{SUFFIX}.")


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


def _damaged(path: Path, error: Exception, later: str = "") -> InputError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
    return InputError(path, f"no readable weights ({reason})", "a whole file", later or _COPY)
