"""The first line of every command that uses weights."""

from musclejax.app import console
from musclejax.models.weights import Weights, load_weights


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
