"""Datasets, tables and logs: one meaning for each number and name, values of their types."""

import csv
import io
import re
from collections import Counter

from tests.fuzz.judges.base import Answer, same


def labels(valid: Answer, answer: Answer, content: bytes) -> str:
    """The numbers of a dataset must mean one muscle each; sides and parts have several."""
    values, ignore = answer["values"], answer["ignore"]
    muscles = Counter(values.values())
    if 0 in values or min(values) < 0 or (ignore is not None and ignore <= 0) or ignore in values:
        return "label 0 or below, or two meanings of one number"
    apart = re.search(rb"left|right|longus|brevis", content, re.IGNORECASE)
    return "two numbers of one muscle" if max(muscles.values()) > 1 and not apart else ""


def label_maps(valid: Answer, answer: Answer, content: bytes) -> str:
    """A changed header may be refused or told; it must not move labels or change their numbers."""
    return "" if same(valid["labels"], answer["labels"]) else "other labels"


def figures(valid: Answer, answer: Answer, content: bytes) -> str:
    """A changed header may be refused; it must not change a figure."""
    return "" if same(valid["figures"], answer["figures"]) else "other figures"


def vouching(valid: Answer, answer: Answer, content: bytes) -> str:
    """A record must vouch for no file and no scan whose checksum or size it does not state."""
    (name, checksum), found = *valid["record"]["files"].items(), answer["record"]
    stated, about = found.get("files"), found.get("source_files", valid["record"]["source_files"])
    if (not isinstance(stated, dict) or stated.get(name) != checksum) and not answer["edited"]:
        return "labels whose checksum the record does not state"
    must = {n: valid["record"]["source_files"][n] for n in ("files", "size_bytes", "sha256")}
    same_scan = isinstance(about, dict) and all(about.get(n) == must[n] for n in must)
    if answer["is_of"] and not same_scan:
        return "a scan whose size or checksum the record does not state"
    return figures(valid, answer, content)


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
