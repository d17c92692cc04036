"""A network as one file for other programs, compared with JAX before it is kept."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

from musclejax.anatomy import TASKS
from musclejax.errors import InputError
from musclejax.export import onnx, stablehlo
from musclejax.export.check import Outputs, compare
from musclejax.export.metadata import network_metadata
from musclejax.export.result import MAX_DIFFERENCE, MIN_AGREEMENT, Check
from musclejax.files import staging_folder, write_json
from musclejax.models.network import Network
from musclejax.models.weights import Weights
from musclejax.prediction.engines import INSTALL


@dataclass(frozen=True)
class Format:
    """One format of a file.

    Attributes:
        suffix: Of the file.
        packages: What it takes to write and check it.
        serialize: Network and metadata -> content of the file.
        run: Content, images -> logits and labels, classes last.
        axes: What the axes of input and outputs are, for the metadata.
    """

    suffix: str
    packages: tuple[str, ...]
    serialize: Callable[[Network, Mapping[str, Any]], bytes | bytearray]
    run: Callable[[Any, np.ndarray], Outputs]
    axes: Mapping[str, list[str]]


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxruntime"), onnx.serialize, onnx.run, onnx.AXES),
    "stablehlo": Format(
        ".stablehlo", ("flatbuffers",), stablehlo.serialize, stablehlo.run, stablehlo.AXES
    ),
}
"""Name -> format."""


def export(weights: Weights, task: str, path: Path, format: str) -> Check:
    """Write a network to a file, and its metadata to the same name with .json added.

    Neither is written if the file, loaded again, does not compute what JAX computes.

    Args:
        weights: Weights that hold the network.
        task: "region", or the name of a region.
        path: File to write; its suffix is that of the format.
        format: One of `FORMATS`.

    Raises:
        InputError: If the options do not fit, a package is missing, or the comparison failed.
        OSError: If the folder cannot be written.
    """
    check_options(weights, task, path, format)
    kind, network = FORMATS[format], weights.networks[task]
    metadata = {**network_metadata(weights, task), "format": format, "axes": _axes(kind, task)}
    content = kind.serialize(network, metadata)
    check = compare(network, partial(kind.run, content))
    metadata["check"] = {"against": f"JAX {jax.__version__}", **asdict(check)}
    if not check.passed:
        found = f"labels {check.agreement:.3%} equal, logits {check.difference:.1e} apart"
        accepted = f"at least {MIN_AGREEMENT:.2%} and at most {MAX_DIFFERENCE:.0e} of their scale"
        raise InputError(path, f"{found} from JAX", accepted, "Nothing was written.")
    with staging_folder(path.parent, path.name, last=path.name) as stage:
        write_json(stage / f"{path.name}.json", metadata)
        (stage / path.name).write_bytes(content)
    return check


def check_options(weights: Weights, task: str, path: Path, format: str) -> None:
    """Check what can be checked before any work.

    Raises:
        InputError: If a choice does not exist, the suffix is another format's, or a package is
            missing.
    """
    if format not in FORMATS:
        raise InputError.choice("format", format, FORMATS)
    if task not in weights.networks:
        has = ", ".join(weights.networks)
        raise InputError(f"weights {weights.name}", f"networks {has}", f"a {task} network")
    kind = FORMATS[format]
    if path.suffix != kind.suffix:
        raise InputError(path, f"suffix {path.suffix or 'none'}", f"{kind.suffix} for {format}")
    missing = [package for package in kind.packages if find_spec(package) is None]
    if missing:
        found = f"no package {', '.join(missing)}"
        raise InputError(f"format {format}", found, "the extra `engines`", f"Run: {INSTALL}")


def _axes(kind: Format, task: str) -> dict[str, list[str]]:
    """Return the axes by input and output; the classifier's outputs have no rows and columns."""
    gone = {"row", "column"} if TASKS[task].is_classifier else set()
    return {
        name: [axis for axis in axes if name == "image" or axis not in gone]
        for name, axes in kind.axes.items()
    }
