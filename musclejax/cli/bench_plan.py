"""The options of `musclejax bench` as jobs: lists, numbers, names, and what is installed."""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from musclejax.errors import InputError

if TYPE_CHECKING:
    from musclejax.bench.job import Grid, Job

DEFAULT_BATCH = {"infer": "4", "train": "5", "segment": "4", "data": "5"}


def jobs_of(kind: str, options: dict[str, Any]) -> tuple[list["Job"], list[str]]:
    """Return what to measure, and a line for each engine that is left out.

    Args:
        kind: What is measured.
        options: The options of the command, as text.

    Raises:
        InputError: If an option is wrong, or nothing that is asked for can run here.
    """
    from musclejax.bench.job import ENGINES, missing_package, plan

    named, skipped = _engines(kind, options["engine"]), []
    present = []
    for name in named:
        package = missing_package(name)
        if package:
            extra = "test" if name == "imgaug" else "bench"
            skipped.append(
                f"{name}: not installed, skipped (pip install 'musclejax[{extra}]'; "
                f"no module {package})"
            )
        else:
            present.append(name)
    grid = _grid(kind, present, options)
    jobs = plan(kind, grid)
    for name in present:
        if not any(j.engine == name for j in jobs):
            has = " and ".join(ENGINES[name].precisions[kind])
            skipped.append(f"{name}: computes in {has} only, left out")
    if not jobs:
        why = "; ".join(skipped)
        raise InputError("--engine", f"nothing that can run here ({why})", "jax, which always can")
    return jobs, skipped


def _engines(kind: str, text: str | None) -> list[str]:
    from musclejax.bench.job import engines_of

    known = engines_of(kind)
    if text is None and kind == "segment":
        return ["jax"]
    if text in (None, "all"):
        return known
    return _values("--engine", text or "", _one_of("--engine", known))


def _grid(kind: str, engines: list[str], options: dict[str, Any]) -> "Grid":
    from musclejax.bench.job import CASE_SLICES, PRECISIONS, Grid
    from musclejax.cli.process import available_threads
    from musclejax.models.variants import VARIANTS, find

    most = available_threads()
    variants = _values("--variant", options["variant"], _one_of("--variant", list(VARIANTS)))
    sizes = [_number("--size", text, 4096) for text in options["size"].split("x")]
    if not 1 <= len(sizes) <= 2:
        raise InputError("--size", repr(options["size"]), "a number of pixels, or two as 432x240")
    for variant in variants:
        multiple = find(variant).size_multiple
        if any(px % multiple for px in sizes):
            raise InputError("--size", options["size"], f"multiples of {multiple} for {variant}")
    if kind == "segment" and options["size"] != "432":
        raise InputError("--size", options["size"], "432, the model grid, with segment")
    if options["slices"] and kind in ("train", "data"):
        raise InputError("--slices", options["slices"], f"none with {kind}", "Give --batch-size.")
    slices = options["slices"] or (str(CASE_SLICES) if kind == "segment" else "")
    return Grid(
        variants=variants,
        engines=engines,
        precisions=_values(
            "--precision", options["precision"], _one_of("--precision", list(PRECISIONS))
        ),
        batch_sizes=_numbers("--batch-size", options["batch_size"] or DEFAULT_BATCH[kind], 10_000),
        threads=_numbers(
            "--threads", options["threads"] or str(most), most, ", as this machine has"
        ),
        slices=_numbers("--slices", slices, 100_000) if slices else (),
        height=sizes[0],
        width=sizes[-1],
    )


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


def _one_of(option: str, known: list[str]) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else ""
            raise InputError(option, repr(word), ", ".join(known), hint)
        return word

    return check
