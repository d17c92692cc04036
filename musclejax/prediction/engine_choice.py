"""Which engine computes a network, and in which precision: stated, by default, or measured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from musclejax.anatomy import REGIONS
from musclejax.models.cpu import onednn
from musclejax.models.weights import Weights
from musclejax.prediction import engine_speed
from musclejax.prediction.engine_speed import Pair
from musclejax.prediction.engines import ENGINES, unavailable_reason
from musclejax.prediction.options import SegmentOptions
from musclejax.system import has_bfloat16

_FAST = ("onednn", "openvino")
"""Engines that bfloat16 makes faster; of JAX alone it is taken only by name."""
_HINT = "this processor computes twice as fast with oneDNN: pip install 'musclejax[onednn]'"
_SEVERAL: dict[str, tuple[str, ...]] = {"default": ("onednn", "jax"), "auto": tuple(ENGINES)}


class Resolved(NamedTuple):
    """How a scan is segmented, engine and precision stated.

    Attributes:
        options: With one of `ENGINES` and of `PRECISIONS`.
        warning: Why bfloat16 is not taken although it was requested; else empty.
        details: What was measured to choose, or why bfloat16 is not taken by itself; may be empty.
        hint: How to be faster on this machine; empty if nothing is left out.
    """

    options: SegmentOptions
    warning: str = ""
    details: str = ""
    hint: str = ""


def check(options: SegmentOptions) -> None:
    """Check that what was requested by name can be used here.

    Raises:
        InputError: If not.
    """
    if options.engine in ENGINES:
        wanted = "float32" if options.precision == "auto" else options.precision
        if reason := unavailable_reason(options.engine, wanted):
            raise reason


def resolve(options: SegmentOptions, weights: Weights) -> Resolved:
    """State engine and precision.

    bfloat16 needs a processor for it. It is taken on request, and by itself for bundled weights,
    whose labels were compared; not for other weights, nor with geometry 2021.

    Args:
        options: "default" means oneDNN in bfloat16, else JAX; "auto" the fastest engine here.
        weights: Their networks are of one kind: one that labels muscles is timed if need be.

    Raises:
        InputError: As `check`.
    """
    check(options)
    pairs = _pairs(options, weights)
    chosen, details = pairs[0], ""
    task = next((name for name in REGIONS if name in weights.networks), None)
    if options.engine == "auto" and len(pairs) > 1 and task:
        seconds = engine_speed.measured(weights, task, pairs, options.batch_size)
        chosen = min(seconds, key=lambda pair: seconds[pair])
        details = engine_speed.line(seconds, options.batch_size)
    stated = replace(options, **chosen._asdict())
    if not _wants_half(options, weights) or any(pair.precision == "bfloat16" for pair in pairs):
        return Resolved(stated, details=details)
    reason = onednn.bfloat16_unavailable_reason()
    line = f"bfloat16 gains nothing here ({reason}): computed in float32"
    if options.precision == "bfloat16":
        return Resolved(stated, line, details)
    hint = _HINT if onednn.unavailable_reason() and has_bfloat16() else ""
    return Resolved(stated, "", details or line, hint)


def _wants_half(options: SegmentOptions, weights: Weights) -> bool:
    """Return whether bfloat16 is taken where there is an engine for it."""
    if options.precision == "auto":
        return weights.bundled and options.geometry == "world" and options.engine != "jax"
    return options.precision == "bfloat16"


def _pairs(options: SegmentOptions, weights: Weights) -> list[Pair]:
    """Return what may be used, best guess first; never empty."""
    if options.engine in ENGINES and options.precision != "auto":
        return [Pair(options.engine, options.precision)]
    engines = _SEVERAL.get(options.engine, (options.engine,))
    half = _wants_half(options, weights)
    in_half = _usable([e for e in engines if e in _FAST], "bfloat16") if half else []
    if in_half and (options.engine != "auto" or options.precision == "bfloat16"):
        return in_half
    # Of these, "default" takes JAX, whose label maps do not change with what is installed.
    single = ("jax",) if options.engine == "default" else engines
    return [*in_half, *_usable(single, "float32")]


def _usable(engines: Sequence[str], precision: str) -> list[Pair]:
    return [Pair(e, precision) for e in engines if not unavailable_reason(e, precision)]
