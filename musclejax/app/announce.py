"""The first lines of every command that uses weights."""

from musclejax.app import console
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction.engine_choice import resolve
from musclejax.prediction.options import SegmentOptions


def load_announced(name_or_folder: str) -> Weights:
    """Load weights; print their summary, and their warning if there is one.

    Raises:
        InputError: If there are no such weights.
    """
    loaded = load_weights(name_or_folder)
    console.say(loaded.summary)
    console.detail(loaded.description)
    if loaded.warning:
        console.warn(f"warning: {loaded.warning}")
    return loaded


def resolved_announced(options: SegmentOptions, weights: Weights) -> SegmentOptions:
    """State engine and precision; say what was measured, or why bfloat16 is off.

    Raises:
        InputError: If the engine cannot be used here.
    """
    resolved = resolve(options, weights)
    if resolved.details:
        console.detail(resolved.details)
    if resolved.hint:
        console.say(resolved.hint)
    if resolved.warning:
        console.warn(resolved.warning)
    return resolved.options
