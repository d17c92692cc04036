"""One configuration to measure: its arithmetic, its memory, and which fit into memory together."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from musclejax.anatomy import SLICE_PX
from musclejax.bench.engines import ENGINES, REFERENCE
from musclejax.errors import count_of
from musclejax.models.counts import describe
from musclejax.models.description import Description
from musclejax.models.variants import find

TASK = "thigh"
"""Task of the network that is measured."""
RATED = ("infer", "train")
"""Kinds whose arithmetic is counted."""


@dataclass(frozen=True)
class Job:
    """One configuration to measure; these fields identify its rows.

    Attributes:
        kind: See `BenchOptions`.
        variant: Name of the network variant; of data, the step that is measured.
        engine: See `ENGINES`; of data, what computes the step.
        precision: See `PRECISIONS`; of the engine "default", "default".
        batch_size: Slices in a batch.
        threads: Processors.
        height: Pixels.
        width: Pixels.
        slices: Slices per repeat, or of each scan.
        scans: Scans per repeat.
    """

    kind: str
    variant: str
    engine: str = REFERENCE
    precision: str = "float32"
    batch_size: int = 1
    threads: int = 1
    height: int = SLICE_PX
    width: int = SLICE_PX
    slices: int = 1
    scans: int = 1

    @property
    def reference(self) -> "Job":
        """The same with our own engine in float32: ratios are relative to it."""
        return replace(self, engine=REFERENCE, precision="float32")

    @property
    def scenario(self) -> str:
        """Name of the scenario of MLPerf that it resembles; empty of training and its data.

        Single stream: one query after another, here of one slice (infer) or one scan (segment); its
        figure is the latency that 90 % keep. Offline: all at once; its figure is the throughput.

        Source: https://github.com/mlcommons/inference_policies, section 3; numbers of queries and
        durations are ours, so that these are no results of MLPerf.
        """
        if self.kind not in ("infer", "segment", "cohort"):
            return ""
        single = self.slices == 1 if self.kind == "infer" else self.kind == "segment"
        return "single stream" if single else "offline"

    @property
    def label(self) -> str:
        """Name for people."""
        name = self.engine + (" bf16" if self.precision == "bfloat16" else "")
        size = f"batch {self.batch_size}, {count_of(self.threads, 'thread')}"
        slices = f", {self.slices} slices" * (self.slices != self.batch_size)
        return f"{name}, {self.variant}, {size}{slices}" + f", {self.scans} scans" * (
            self.scans > 1
        )


KEYS = tuple(f.name for f in fields(Job))


def gflop_per_slice(job: Job) -> float:
    """Return 10^9 floating-point operations per slice; training counts three forward passes.

    Two for a multiply-accumulate. Source: ours; the gradients by input and by kernel cost as much
    as the forward pass each.
    """
    description = _description(job.variant)
    share = job.height * job.width / description.input_px**2
    return 2 * description.gmac * share * (3 if job.kind == "train" else 1)


@lru_cache(maxsize=64)
def _description(variant: str) -> Description:
    return describe(find(variant), TASK)


def memory_mib(job: Job) -> float:
    """Estimate the peak memory of a job's process before anything ran.

    Source: ours; inference of batch 4 with the paper's network took 1-2 GB, whichever the engine.
    """
    if job.kind == "data":
        return 1500.0
    parameters = _description(job.variant).trainable_parameters * 4 / 2**20
    width = find(job.variant).widths[0] / 32
    work = job.height * job.width / SLICE_PX**2 * job.batch_size * width
    volume = job.slices * job.height * job.width * 6 / 2**20
    if job.kind == "train":
        # Parameters, gradients, three arrays of AMSGrad's state, and copies on the way.
        base, activations = ENGINES[job.engine].training_mib
        return base + 7 * parameters + activations * work
    return 700 + 3 * parameters + 350 * work + volume


def groups(jobs: Sequence[Job], free_mib: float) -> Iterator[list[Job]]:
    """Split jobs into groups whose processes fit into memory together.

    Each job stands with its reference, if that is measured at all: then the two sides of a ratio
    always took turns. A reference may therefore be measured in several groups.
    """
    group: list[Job] = []
    for job in jobs:
        wanted = [j for j in dict.fromkeys((job.reference, job)) if j in jobs]
        added = [j for j in wanted if j not in group]
        if group and math.fsum(memory_mib(j) for j in group + added) > free_mib:
            yield group
            group, added = [], wanted
        group += added
    if group:
        yield group
