"""From options to jobs: lists of values, their product, and the engines that are installed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from musclejax.anatomy import SLICE_PX
from musclejax.bench.engines import (
    DEFAULT,
    ENGINES,
    REFERENCE,
    engines_of,
    unavailable_reason,
)
from musclejax.bench.job import Job
from musclejax.bench.options import COMMANDS, BenchOptions
from musclejax.bench.sample import BUNDLED_VARIANT, own_window, trained
from musclejax.errors import InputError
from musclejax.models.spec import PRECISIONS
from musclejax.models.variants import VARIANTS, find
from musclejax.system import available_threads

DATA: dict[str, tuple[str, ...]] = {
    "augment": ("jax", "imgaug"),
    "weight_map": ("jax", "scipy"),
    "batch": ("jax",),
    "load_case": ("jax",),
    "phantom": ("jax",),
}
"""What the kind "data" measures -> its engines; see `bench.data_workloads`."""
CASE_SLICES = 31
"""Slices of the sample scan."""
PHANTOMS = 8
"""Synthetic slices per call, computed at once on as many threads as there are processors."""
DEFAULT_BATCH = {"infer": "4", "train": "5", "segment": "4", "cohort": "4", "data": "5"}
DEFAULT_VARIANT = "paper"


@dataclass(frozen=True)
class Grid:
    """Values of the options; their product is measured. An empty `slices` means one batch.

    Attributes:
        sizes: Height and width by variant; of those without, the whole model grid.
    """

    variants: Sequence[str] = (DEFAULT_VARIANT,)
    engines: Sequence[str] = (REFERENCE,)
    precisions: Sequence[str] = ("float32",)
    batch_sizes: Sequence[int] = (1,)
    threads: Sequence[int] = (1,)
    slices: Sequence[int] = ()
    scans: Sequence[int] = (1,)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def jobs_of(options: BenchOptions) -> tuple[list[Job], list[str]]:
    """Return the jobs to measure, and a line for each engine and precision that is left out.

    Raises:
        InputError: If an option is wrong, or no requested engine can run here.
    """
    engines, skipped = _installed(_engines(options))
    planned = plan(options.kind, _grid(engines, options))
    jobs = [job for job in planned if not unavailable_reason(job.engine, job.precision)]
    for engine, precision in dict.fromkeys((j.engine, j.precision) for j in planned):
        if reason := unavailable_reason(engine, precision):
            skipped.append(f"{engine}: no {precision} here, left out ({reason})")
    for name in engines:
        if not any(j.engine == name for j in planned):
            has = " and ".join(ENGINES[name].precisions[options.kind])
            skipped.append(f"{name}: computes in {has} only, left out")
    if not jobs:
        raise _nothing(options, skipped)
    return jobs, skipped


def _nothing(options: BenchOptions, skipped: list[str]) -> InputError:
    """Return the error about options of which nothing can be measured here."""
    reasons, wanted = "; ".join(skipped), options.precision
    able = engines_of(options.kind, wanted)
    if wanted in PRECISIONS and not {*_engines(options)} & {*able}:
        found = f"{wanted}, which none of the engines has ({reasons})"
        others = f"an engine that has it in `bench {options.kind}`: {', '.join(able)}"
        return InputError("--precision", found, f"float32, or {others}" if able else "float32")
    found = f"nothing that can run here ({reasons})"
    return InputError("--engine", found, "jax in float32, which always can")


def plan(kind: str, grid: Grid) -> list[Job]:
    """Return a job for each combination that exists, ordered so that rivals stand together."""
    if kind == "data":
        return _plan_data(grid)
    whole = (SLICE_PX, SLICE_PX)
    return [
        Job(kind, variant, engine, precision, batch, threads, *size, slices, scans)
        for variant, threads, batch in product(grid.variants, grid.threads, grid.batch_sizes)
        for size in [grid.sizes.get(variant, whole)]
        for slices, scans in product(grid.slices or (batch,), grid.scans)
        for engine in grid.engines
        for precision in ((DEFAULT,) if engine == DEFAULT else grid.precisions)
        if precision in ENGINES[engine].precisions.get(kind, ())
    ]


def _plan_data(grid: Grid) -> list[Job]:
    slices = {"load_case": CASE_SLICES, "phantom": PHANTOMS}
    return [
        Job("data", step, engine, "float32", batch, threads, slices=slices.get(step, batch))
        for threads in grid.threads
        for step in DATA
        for batch in (grid.batch_sizes if step == "batch" else (1,))
        for engine in grid.engines
        if engine in DATA[step]
    ]


def _engines(options: BenchOptions) -> list[str]:
    known = engines_of(options.kind)
    if options.engine is None and options.kind in COMMANDS:
        return [DEFAULT]
    if options.engine in (None, "all"):
        return known
    return _values("--engine", options.engine or "", _one_of("--engine", known))


def _installed(engines: list[str]) -> tuple[list[str], list[str]]:
    """Return the engines that are installed, and a line for each of the others."""
    present, skipped = [], []
    for name in engines:
        reason = unavailable_reason(name)
        if reason:
            install = f"pip install 'musclejax[{ENGINES[name].extra}]'"
            skipped.append(f"{name}: not installed, skipped ({install}; {reason})")
        else:
            present.append(name)
    return present, skipped


def _grid(engines: list[str], options: BenchOptions) -> Grid:
    most, kind = available_threads(), options.kind
    default = BUNDLED_VARIANT if kind in COMMANDS else DEFAULT_VARIANT
    known = _one_of("--variant", VARIANTS)
    chosen = ",".join(trained(options.weights)) if options.weights else options.variant
    variants = _values("--variant", default if chosen is None else chosen, known)
    precisions = _values("--precision", options.precision, _one_of("--precision", PRECISIONS))
    batch_sizes = options.batch_size or DEFAULT_BATCH[kind]
    return Grid(
        variants=variants,
        engines=engines,
        precisions=precisions,
        batch_sizes=_numbers("--batch-size", batch_sizes, 10_000),
        threads=_numbers("--threads", options.threads or str(most), most, ", as this machine has"),
        slices=_slices(options),
        scans=_numbers("--scans", options.scans, 100_000) if kind == "cohort" else (1,),
        sizes={variant: _size(options, variant) for variant in variants},
    )


def _size(options: BenchOptions, variant: str) -> tuple[int, int]:
    """Return height and width of the images of a variant."""
    if options.size is None:
        return own_window(variant) if options.kind == "infer" else (SLICE_PX, SLICE_PX)
    sizes = [_number("--size", text, 4096) for text in options.size.split("x")]
    if not 1 <= len(sizes) <= 2:
        raise InputError("--size", repr(options.size), "a number of pixels, or two as 432x240")
    multiple = find(variant).size_multiple
    if any(px % multiple for px in sizes):
        raise InputError("--size", options.size, f"multiples of {multiple} for {variant}")
    return sizes[0], sizes[-1]


def _slices(options: BenchOptions) -> list[int]:
    text = options.slices or (str(CASE_SLICES) if options.kind in COMMANDS else "")
    return _numbers("--slices", text, 100_000) if text else []


def _values(option: str, text: str, check: Callable[[str], Any]) -> list[Any]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InputError(option, "an empty list", "values with commas between")
    return list(dict.fromkeys(check(word) for word in words))


def _numbers(option: str, text: str, most: int, note: str = "") -> list[int]:
    return _values(option, text, lambda word: _number(option, word, most, note))


def _number(option: str, text: str, most: int, note: str = "") -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise InputError(option, repr(text), f"1 to {most}{note}")
    return int(text)


def _one_of(option: str, known: Collection[str]) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word not in known:
            raise InputError.choice(option, word, known)
        return word

    return check
