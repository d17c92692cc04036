"""What runs the network or prepares training data: the engines of `segment`, and their rivals."""

import platform
from dataclasses import dataclass
from importlib.util import find_spec

from musclejax.bench.options import COMMANDS
from musclejax.models.cpu import onednn_library
from musclejax.models.spec import PRECISIONS
from musclejax.prediction import engines

REFERENCE = "jax"
"""The engine that ratios are relative to."""
DEFAULT = "default"
"""Engine and precision that `musclejax segment` takes here when it is given neither."""


@dataclass(frozen=True)
class Engine:
    """What can be measured of an engine, and what it needs.

    Attributes:
        precisions: Kind of measurement -> precisions that the engine computes in.
        modules: Python modules that it needs beyond those that musclejax requires.
        ours: Whether musclejax itself runs it. Then its process is set up (cache, collector) like
            one of `musclejax segment` or `train`; rivals get the kept heap alone.
        versioned: Distributions that a result depends on.
        extra: Extra of musclejax that installs it.
        training_mib: MiB of its process, libraries and compilation included, and MiB of activations
            per slice of 432 x 432 at the paper's width, while training. Source: ours; at batch 5
            the paper's network took 6.1 (jax and onednn), 5.3 (torch), 6.5 (keras) and 9 GB (flax).
            Processes keep most of it between turns.
    """

    precisions: dict[str, tuple[str, ...]]
    modules: tuple[str, ...] = ()
    ours: bool = False
    versioned: tuple[str, ...] = ("jax", "jaxlib", "flax")
    extra: str = "bench"
    training_mib: tuple[int, int] = (0, 0)


def _own(
    name: str, *versioned: str, mib: tuple[int, int] = (0, 0), **also: tuple[str, ...]
) -> Engine:
    """Return the row of an engine of `segment`; `also` gives precisions of other kinds."""
    facts = engines.ENGINES[name]
    kinds: dict[str, tuple[str, ...]] = dict.fromkeys(("infer", *COMMANDS), PRECISIONS)
    return Engine(kinds | also, facts.packages, True, versioned, training_mib=mib)


_JAX = ("jax", "jaxlib", "flax")
_F32 = ("float32",)
ENGINES: dict[str, Engine] = {
    DEFAULT: Engine(dict.fromkeys(COMMANDS, (DEFAULT,)), ours=True),
    "jax": _own("jax", *_JAX, mib=(1500, 620), train=_F32, data=_F32),
    "onednn": _own("onednn", *_JAX, onednn_library.PACKAGE, mib=(1500, 580), train=PRECISIONS),
    "openvino": _own("openvino", "openvino"),
    "onnxruntime": Engine(
        {"infer": _F32}, ("onnx", "onnxruntime"), versioned=("onnxruntime",), extra="engines"
    ),
    "flax": Engine({"infer": _F32, "train": _F32}, training_mib=(1500, 1150)),
    "torch": Engine(
        {"infer": PRECISIONS, "train": PRECISIONS},
        ("torch",),
        versioned=("torch",),
        training_mib=(700, 700),
    ),
    "keras": Engine(
        {"infer": PRECISIONS, "train": PRECISIONS},
        ("tensorflow", "keras"),
        versioned=("keras", "tensorflow", "tensorflow-cpu"),
        training_mib=(1200, 850),
    ),
    "imgaug": Engine(
        {"data": _F32}, ("imgaug",), versioned=("imgaug", "opencv-python"), extra="imgaug"
    ),
    "scipy": Engine({"data": _F32}, versioned=("scipy",)),
}
"""Name -> engine, ours first. flax: the network in plain Flax layers, as a rival."""


def engines_of(kind: str, precision: str = "") -> list[str]:
    """Return the engines that a kind of measurement knows; of a precision, those that have it."""
    return [
        name
        for name, engine in ENGINES.items()
        if kind in engine.precisions and (not precision or precision in engine.precisions[kind])
    ]


def unavailable_reason(engine: str, precision: str = "float32") -> str:
    """Return what the engine lacks here; empty if nothing."""
    if engine == "onednn":
        absent = onednn_library.unavailable_reason()
        if absent or precision == "float32":
            return absent
        return onednn_library.bfloat16_unavailable_reason()
    for module in ENGINES[engine].modules:
        if find_spec(module) is None:
            return f"no module {module}" + _package_here(module)
    return ""


def _package_here(module: str) -> str:
    """Return which package has the module on this system, where systems differ."""
    if module != "tensorflow":
        return ""
    small = platform.system() == "Linux" and platform.machine() == "x86_64"
    return f" (package {'tensorflow-cpu' if small else 'tensorflow'})"
