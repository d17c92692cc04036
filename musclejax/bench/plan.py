"""From options to jobs: lists of values, their product, and the engines that are installed."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from musclejax.anatomy import SLICE_PX
from musclejax.bench.engines import ENGINES, REFERENCE, engines_of, unavailable_reason
from musclejax.bench.job import Job
from musclejax.bench.options import BenchOptions
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
DEFAULT_BATCH = {"infer": "4", "train": "5", "segment": "4", "data": "5"}


@dataclass(frozen=True)
class Grid:
    """Values of the options; their product is measured. An empty `slices` means one batch."""

    variants: Sequence[str] = ("paper",)
    engines: Sequence[str] = (REFERENCE,)
    precisions: Sequence[str] = ("float32",)
    batch_sizes: Sequence[int] = (1,)
    threads: Sequence[int] = (1,)
    slices: Sequence[int] = ()
    height: int = SLICE_PX
    width: int = SLICE_PX


def jobs_of(options: BenchOptions) -> tuple[list[Job], list[str]]:
    """Return the jobs to measure, and a line for each engine that is left out.

    Raises:
        InputError: If an option is wrong, or no requested engine can run here.
    """
    engines, skipped = _installed(_engines(options))
    jobs = plan(options.kind, _grid(engines, options))
    for name in engines:
        if not any(j.engine == name for j in jobs):
            has = " and ".join(ENGINES[name].precisions[options.kind])
            skipped.append(f"{name}: computes in {has} only, left out")
    if not jobs:
        reasons = "; ".join(skipped)
        found = f"nothing that can run here ({reasons})"
        raise InputError("--engine", found, "jax, which always can")
    return jobs, skipped


def plan(kind: str, grid: Grid) -> list[Job]:
    """Return a job for each combination that exists, ordered so that rivals stand together."""
    if kind == "data":
        return _plan_data(grid)
    return [
        Job(kind, variant, engine, precision, batch, threads, grid.height, grid.width, slices)
        for variant, threads, batch in product(grid.variants, grid.threads, grid.batch_sizes)
        for slices in grid.slices or (batch,)
        for engine, precision in product(grid.engines, grid.precisions)
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
    if options.engine is None and options.kind == "segment":
        return [REFERENCE]
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
    most = available_threads()
    variants = _values("--variant", options.variant, _one_of("--variant", VARIANTS))
    height, width = _size(options, variants)
    precisions = _values("--precision", options.precision, _one_of("--precision", PRECISIONS))
    batch_sizes = options.batch_size or DEFAULT_BATCH[options.kind]
    return Grid(
        variants=variants,
        engines=engines,
        precisions=precisions,
        batch_sizes=_numbers("--batch-size", batch_sizes, 10_000),
        threads=_numbers("--threads", options.threads or str(most), most, ", as this machine has"),
        slices=_slices(options),
        height=height,
        width=width,
    )


def _size(options: BenchOptions, variants: list[str]) -> tuple[int, int]:
    sizes = [_number("--size", text, 4096) for text in options.size.split("x")]
    if not 1 <= len(sizes) <= 2:
        raise InputError("--size", repr(options.size), "a number of pixels, or two as 432x240")
    for variant in variants:
        multiple = find(variant).size_multiple
        if any(px % multiple for px in sizes):
            raise InputError("--size", options.size, f"multiples of {multiple} for {variant}")
    if options.kind == "segment" and set(sizes) != {SLICE_PX}:
        raise InputError("--size", options.size, f"{SLICE_PX}, the model grid, with segment")
    return sizes[0], sizes[-1]


def _slices(options: BenchOptions) -> list[int]:
    if options.slices and options.kind in ("train", "data"):
        remedy = "Give --batch-size."
        raise InputError("--slices", options.slices, f"none with {options.kind}", remedy)
    text = options.slices or (str(CASE_SLICES) if options.kind == "segment" else "")
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
