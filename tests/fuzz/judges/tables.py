"""Datasets, tables and logs: one meaning for each number and name, values of their types."""

import csv
import io
from collections import Counter

from tests.fuzz.judges.base import Answer, same


def labels(valid: Answer, answer: Answer, content: bytes) -> str:
    """The numbers of a dataset must mean one muscle each."""
    values, ignore = answer["values"], answer["ignore"]
    muscles = Counter(values.values())
    if 0 in values or min(values) < 0 or (ignore is not None and ignore <= 0) or ignore in values:
        return "label 0 or below, or two meanings of one number"
    return "two numbers of one muscle" if max(muscles.values()) > 1 else ""


def label_maps(valid: Answer, answer: Answer, content: bytes) -> str:
    """A changed header may be refused or told; it must not move labels or change their numbers."""
    return "" if same(valid["labels"], answer["labels"]) else "other labels"


def cases(valid: Answer, answer: Answer, content: bytes) -> str:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig", "replace"))))
    twice = [name for name, n in Counter(row[0].strip() for row in rows if row).items() if n > 1]
    return f"row {twice[0]} twice" if twice else ""


def metrics(valid: Answer, answer: Answer, content: bytes) -> str:
    """Whole epochs are numbered; a damaged last line may be left out."""
    epochs = [row["epoch"] for row in answer["metrics"]]
    if epochs != list(range(1, len(epochs) + 1)):
        return f"epochs {epochs}"
    whole = [line for line in content.split(b"\n")[:-1] if line.strip(b"\0 \r")]
    return "" if len(epochs) >= len(whole) - 1 else f"epochs {epochs} of {len(whole)}"


_TYPES = {"trial": int, "bracket": int, "rung": int, "budget": int, "metric": str, "failed": str}


def trials(valid: Answer, answer: Answer, content: bytes) -> str:
    """Entries must be what `tune` writes: numbers where numbers belong."""
    for entry in answer["entries"]:
        wrong = [n for n, kind in _TYPES.items() if type(getattr(entry, n)) is not kind]
        numbers = [*entry.settings.values(), *entry.metrics.values(), entry.seconds, entry.value]
        if wrong or not all(type(number) in (int, float) for number in numbers):
            return f"an entry with {', '.join(wrong) or 'settings or metrics'} of another type"
    return ""
