"""Any answer, no other answer, and whether two are the same."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Answer = Mapping[str, Any]
Judge = Callable[[Answer, Answer, bytes], str]
"""Valid answer, accepted answer, changed content -> why it is silently wrong; "" if it is not."""


def free(valid: Answer, answer: Answer, content: bytes) -> str:
    """Accept any answer: the change makes another valid input."""
    return ""


def exact(valid: Answer, answer: Answer, content: bytes) -> str:
    """A checksum stands in the file: nothing else than the valid answer may be accepted."""
    return "the checksum does not fit: " + ", ".join(
        k for k in valid if not same(valid[k], answer[k])
    )


def same(first: Any, second: Any) -> bool:
    """Return whether two answers are equal, arrays to the last bit."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.array_equal(first, second, equal_nan=np.asarray(first).dtype.kind == "f")
    return repr(first) == repr(second)
