"""A network as one file for other programs, compared with JAX before it is kept."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

import musclejax
from musclejax.errors import InputError
from musclejax.files import staging_folder, write_json
from musclejax.inference import card, onnx_graph, stablehlo
from musclejax.inference.engines import INSTALL, folded
from musclejax.models.weights import Network, Weights
from musclejax.scan.grid import to_model_grid, to_thumbnails
from musclejax.scan.intensity import normalise
from musclejax.scan.volume import load

MIN_AGREEMENT = 0.9999
"""Share of pixels (of slices, for the classifier) that must get the label that JAX gives."""
MAX_DIFFERENCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit. Source: ours; rounding makes
1e-6 to 1e-5."""
OUTPUTS = (onnx_graph.LOGITS, "labels")
_SAMPLES = {"thigh": ("test_up",), "leg": ("test_low",), "region": ("test_up", "test_low")}


@dataclass(frozen=True)
class Check:
    """How an exported network compares with JAX on real slices.

    Attributes:
        slices: Slices compared.
        agreement: Share of equal labels.
        difference: Largest difference of a logit, as a share of the largest logit.
    """

    slices: int
    agreement: float
    difference: float


@dataclass(frozen=True)
class Format:
    """One format of a file.

    Attributes:
        suffix: Of the file.
        packages: What it takes to write and check it.
        serialise: Network and metadata -> content of the file.
        run: Content, images -> logits and labels, classes last.
        axes: What the axes of input and outputs are, for the metadata.
    """

    suffix: str
    packages: tuple[str, ...]
    serialise: Callable[[Network, Mapping[str, Any]], bytes | bytearray]
    run: Callable[[Any, np.ndarray], Mapping[str, np.ndarray]]
    axes: Mapping[str, list[str]]


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
    described = {**card.describe(weights, task), "format": format, "axes": _axes(kind, task)}
    content = kind.serialise(network, described)
    check = compare(network, partial(kind.run, content))
    described["check"] = {"against": f"JAX {jax.__version__}", **vars(check)}
    if not (check.agreement >= MIN_AGREEMENT and check.difference <= MAX_DIFFERENCE):
        found = f"labels {check.agreement:.3%} equal, logits {check.difference:.1e} apart"
        accepted = f"at least {MIN_AGREEMENT:.2%} and at most {MAX_DIFFERENCE:.0e} of their scale"
        raise InputError(path, f"{found} from JAX", accepted, "Nothing was written.")
    with staging_folder(path.parent, path.name, last=path.name) as stage:
        write_json(stage / f"{path.name}.json", described)
        (stage / path.name).write_bytes(content)
    return check


def check_options(weights: Weights, task: str, path: Path, format: str) -> None:
    """Check what can be checked before any work.

    Raises:
        InputError: If a choice does not exist, the suffix is another format's, or a package is
            missing.
    """
    if format not in FORMATS:
        raise InputError("format", repr(format), ", ".join(FORMATS))
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


def compare(network: Network, run: Callable[[np.ndarray], Mapping[str, np.ndarray]]) -> Check:
    """Compare logits and labels with those of the network as it was trained, in JAX."""
    images = sample_slices(network)[..., None]
    apply = jax.jit(partial(network.module.apply, train=False))
    expected = np.asarray(apply(dict(network.variables), images))
    found = run(images)
    difference = np.abs(found["logits"] - expected).max() / np.abs(expected).max()
    same = found["labels"] == expected.argmax(-1)
    return Check(len(images), float(same.mean()), float(difference))


def sample_slices(network: Network) -> Float[np.ndarray, "n r c"]:
    """Return four slices of the real scans that ship with the package, as the network sees them."""
    names = _SAMPLES[network.task]
    chosen = []
    for name in names:
        volume = load(Path(musclejax.__file__).parent / "samples" / f"{name}.nii.gz")
        slices = normalise(to_model_grid(volume)[0], network.config.intensity)
        slices = slices[np.linspace(3, len(slices) - 4, 4 // len(names)).astype(int)]
        chosen.append(to_thumbnails(slices) if network.task == "region" else slices)
    return np.concatenate(chosen)


def _axes(kind: Format, task: str) -> dict[str, list[str]]:
    """Return the axes by input and output; the classifier's outputs have no rows and columns."""
    gone = {"row", "column"} if task == "region" else set()
    return {
        name: [axis for axis in axes if name == onnx_graph.IMAGE or axis not in gone]
        for name, axes in kind.axes.items()
    }


def _to_onnx(network: Network, described: Mapping[str, Any]) -> bytes:
    from onnx import helper

    module, variables = folded(network)
    model = onnx_graph.build(module.spec, network.task, variables["params"], OUTPUTS)
    model.doc_string = f"{described['use']} {described['caution']}".strip()
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in described.items()}
    helper.set_model_props(model, texts)
    return model.SerializeToString()


def _run_onnx(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    channel_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    logits, labels = session.run(list(OUTPUTS), {onnx_graph.IMAGE: channel_first})
    return {"logits": np.moveaxis(logits, 1, -1), "labels": labels}


def _to_stablehlo(network: Network, described: Mapping[str, Any]) -> bytearray:
    return stablehlo.serialise(network)


_PIXELS = ["batch", "row", "column"]
FORMATS = {
    "onnx": Format(
        ".onnx",
        ("onnx", "onnxruntime"),
        _to_onnx,
        _run_onnx,
        {
            "image": ["batch", "channel", "row", "column"],
            "logits": ["batch", "class", "row", "column"],
            "labels": _PIXELS,
        },
    ),
    "stablehlo": Format(
        ".stablehlo",
        ("flatbuffers",),
        _to_stablehlo,
        stablehlo.run,
        {"image": [*_PIXELS, "channel"], "logits": [*_PIXELS, "class"], "labels": _PIXELS},
    ),
}
"""Name -> format."""
