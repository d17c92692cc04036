"""What can be measured: engines, jobs, and which jobs fit into memory together."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import product

from musclejax.models import onednn_library
from musclejax.models.variants import Description, describe, find

KINDS = ("infer", "train", "segment", "data")
RATED = ("infer", "train")
"""Kinds whose arithmetic is counted."""
PRECISIONS = ("float32", "bfloat16")
REFERENCE = "jax"
"""The engine that ratios are taken to."""


@dataclass(frozen=True)
class Engine:
    """Something that runs the network.

    Attributes:
        precisions: By kind of measurement, what it can compute in.
        packages: Modules it needs beyond what musclejax requires.
        ours: Whether `musclejax` itself runs it: then its process is set up (heap, cache) as
            `musclejax segment` and `train` set up theirs; rivals get the system's defaults.
        versioned: Distributions that a result depends on.
    """

    precisions: dict[str, tuple[str, ...]]
    packages: tuple[str, ...] = ()
    ours: bool = False
    versioned: tuple[str, ...] = ("jax", "jaxlib", "flax")


_F32 = ("float32",)
ENGINES: dict[str, Engine] = {
    "jax": Engine(
        {"infer": PRECISIONS, "segment": PRECISIONS, "train": _F32, "data": _F32}, ours=True
    ),
    "onednn": Engine(
        {"infer": _F32, "segment": _F32, "train": _F32},
        ours=True,
        versioned=("jax", "jaxlib", "flax", onednn_library.PACKAGE),
    ),
    "onnxruntime": Engine(
        {"infer": _F32, "segment": _F32},
        ("onnxruntime", "onnx"),
        ours=True,
        versioned=("onnxruntime",),
    ),
    "openvino": Engine(
        {"infer": PRECISIONS, "segment": PRECISIONS},
        ("openvino", "onnx"),
        ours=True,
        versioned=("openvino",),
    ),
    "flax": Engine({"infer": _F32, "train": _F32}),
    "torch": Engine({"infer": PRECISIONS, "train": PRECISIONS}, ("torch",), versioned=("torch",)),
    "keras": Engine(
        {"infer": _F32, "train": _F32},
        ("tensorflow", "keras"),
        versioned=("keras", "tensorflow", "tensorflow-cpu"),
    ),
    "imgaug": Engine({"data": _F32}, ("imgaug",), versioned=("imgaug", "opencv-python")),
    "scipy": Engine({"data": _F32}, versioned=("scipy",)),
}
"""Name -> engine, ours first. onednn: JAX, its 3x3 convolutions by oneDNN; flax: the network in
plain Flax layers, as a rival."""

DATA: dict[str, tuple[str, ...]] = {
    "augment": ("jax", "imgaug"),
    "weight_map": ("jax", "scipy"),
    "batch": ("jax",),
    "load_case": ("jax",),
    "phantom": ("jax",),
}
"""What the kind "data" measures -> what does it; see `bench.data`."""
CASE_SLICES = 31
"""Slices of the sample scan."""
PHANTOMS = 8
"""Synthetic slices that one call draws, as many at once as there are processors."""


@dataclass(frozen=True)
class Job:
    """One configuration to measure; its rows are told apart by these fields.

    Attributes:
        kind: See `KINDS`.
        variant: Name of the network variant; of data, what is measured.
        engine: See `ENGINES`; of data, what does it.
        precision: See `PRECISIONS`.
        batch_size: Slices in a batch.
        threads: Processors.
        height: Pixels.
        width: Pixels.
        slices: Slices that one repeat takes.
    """

    kind: str
    variant: str
    engine: str = REFERENCE
    precision: str = "float32"
    batch_size: int = 1
    threads: int = 1
    height: int = 432
    width: int = 432
    slices: int = 1

    @property
    def reference(self) -> "Job":
        """The same with our own engine in float32: what a ratio is taken to."""
        return replace(self, engine=REFERENCE, precision="float32")

    @property
    def label(self) -> str:
        """Name for people."""
        name = self.engine + (" bf16" if self.precision == "bfloat16" else "")
        size = f"batch {self.batch_size}, {self.threads} thread" + "s" * (self.threads > 1)
        return f"{name}, {self.variant}, {size}" + f", {self.slices} slices" * (
            self.slices != self.batch_size
        )


KEYS = tuple(f.name for f in fields(Job))


@dataclass(frozen=True)
class Grid:
    """Values of the options; their product is measured. An empty `slices` means one batch."""

    variants: Sequence[str] = ("paper",)
    engines: Sequence[str] = (REFERENCE,)
    precisions: Sequence[str] = ("float32",)
    batch_sizes: Sequence[int] = (1,)
    threads: Sequence[int] = (1,)
    slices: Sequence[int] = ()
    height: int = 432
    width: int = 432


def plan(kind: str, grid: Grid) -> list[Job]:
    """Return a job for each combination that exists, ordered so that rivals stand together."""
    if kind == "data":
        return [
            Job(
                kind,
                what,
                engine,
                batch_size=batch,
                threads=threads,
                slices={"load_case": CASE_SLICES, "phantom": PHANTOMS}.get(what, batch),
            )
            for threads in grid.threads
            for what in DATA
            for batch in (grid.batch_sizes if what == "batch" else (1,))
            for engine in grid.engines
            if engine in DATA[what]
        ]
    return [
        Job(kind, variant, engine, precision, batch, threads, grid.height, grid.width, slices)
        for variant, threads, batch in product(grid.variants, grid.threads, grid.batch_sizes)
        for slices in grid.slices or (batch,)
        for engine, precision in product(grid.engines, grid.precisions)
        if precision in ENGINES[engine].precisions.get(kind, ())
    ]


def engines_of(kind: str) -> list[str]:
    """Return the names of the engines that can be measured in this way."""
    return [name for name, engine in ENGINES.items() if kind in engine.precisions]


def missing_package(engine: str) -> str:
    """Return the first package that the engine lacks here; empty if none."""
    if engine == "onednn":
        return onednn_library.PACKAGE if onednn_library.obstacle() else ""
    missing = [p for p in ENGINES[engine].packages if find_spec(p) is None]
    return missing[0] if missing else ""


def gflop_per_slice(job: Job) -> float:
    """Return 10^9 floating-point operations of one slice; training counts three forward passes.

    Two for a multiply-accumulate. Source: ours; the gradients by input and by kernel cost as much
    as the forward pass each.
    """
    description = _description(job.variant)
    share = job.height * job.width / description.input_px**2
    return 2 * description.gmac * share * (3 if job.kind == "train" else 1)


@lru_cache(maxsize=64)
def _description(variant: str) -> Description:
    return describe(find(variant), "thigh")


TRAINING_MIB = {
    "jax": (1500, 620),
    "onednn": (1500, 580),
    "torch": (700, 700),
    "keras": (1200, 850),
    "flax": (1500, 1150),
}
"""Engine -> MiB of its process, libraries and compilation included, and MiB of activations for each
slice of 432 x 432 at the paper's width, while training. Source: ours; at batch 5 the paper's
network took 6.1 (jax and onednn), 5.3, 6.5 and 9 GB. Processes keep most of it between turns."""


def memory_mib(job: Job) -> float:
    """Estimate the peak memory of a job's process before anything ran.

    Source: ours; inference of batch 4 with the paper's network took 1-2 GB, whichever the engine.
    """
    if job.kind == "data":
        return 1500
    parameters = _description(job.variant).trainable_parameters * 4 / 2**20
    width = find(job.variant).widths[0] / 32
    work = job.height * job.width / 432**2 * job.batch_size * width
    volume = job.slices * job.height * job.width * 6 / 2**20
    if job.kind == "train":
        # Parameters, gradients, three moments of AMSGrad, and copies on the way.
        base, activations = TRAINING_MIB[job.engine]
        return base + 7 * parameters + activations * work
    return 700 + 3 * parameters + 350 * work + volume


def groups(jobs: Sequence[Job], room_mib: float) -> Iterator[list[Job]]:
    """Split jobs into groups whose processes fit into memory together.

    Each job stands with its reference, if that is asked for at all: then ratios are always of runs
    that took turns. References may therefore be measured in several groups.
    """
    group: list[Job] = []
    for job in jobs:
        wanted = [j for j in dict.fromkeys((job.reference, job)) if j in jobs]
        added = [j for j in wanted if j not in group]
        if group and math.fsum(memory_mib(j) for j in group + added) > room_mib:
            yield group
            group, added = [], wanted
        group += added
    if group:
        yield group
