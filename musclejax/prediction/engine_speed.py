"""What one batch takes by each engine, measured once for a machine and a network, and kept.

The file is JSON in the user's cache folder, `engines.json`; one that is damaged, another's or not
of this machine is ignored, and may be removed at any time.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musclejax.files import cache_folder, is_private, read_json, sha256, write_json
from musclejax.models.network import Network
from musclejax.models.weights import Weights
from musclejax.prediction.engines import ENGINES, library_versions
from musclejax.system import available_threads, cpu_model, versions

FILE = "engines.json"
KEPT = 64
"""Networks and machines in the file; the oldest go."""
_REPEATS = 2


class Pair(NamedTuple):
    """An engine and a precision that it computes in."""

    engine: str
    precision: str

    def __str__(self) -> str:
        """Return both words."""
        return " ".join(self)


def measured(
    weights: Weights, task: str, pairs: Sequence[Pair], batch_size: int
) -> dict[Pair, float]:
    """Return the seconds of a batch by each of some pairs, as they were measured before or are now.

    Args:
        weights: Nothing of them is read if the seconds are known.
        task: A network that labels muscles.
        pairs: All can be used here.
        batch_size: Slices in the batch.
    """
    key = _key(weights, task, pairs, batch_size)
    known = _read().get(key)
    if known and known.keys() == set(map(str, pairs)):
        return {pair: known[str(pair)] for pair in pairs}
    network = weights.networks[task]
    shape = batch_size, *network.config.data.crop_px, 1
    images = np.random.default_rng(0).random(shape, np.float32)
    seconds = {pair: _seconds(network, pair, images) for pair in pairs}
    _keep(key, {str(pair): round(value, 4) for pair, value in seconds.items()})
    return seconds


def line(seconds: Mapping[Pair, float], batch_size: int) -> str:
    """Return what was measured as a line, fastest first."""
    order = sorted(seconds, key=lambda pair: seconds[pair])
    each = ", ".join(f"{pair} {seconds[pair] / batch_size:.3f}" for pair in order)
    return f"engines, seconds per slice: {each}"


def _seconds(network: Network, pair: Pair, images: np.ndarray) -> float:
    predict = ENGINES[pair.engine].make(network, pair.precision, True)
    best = math.inf
    for _ in range(1 + _REPEATS):  # compiles first
        start = time.perf_counter()
        for values in predict(images):
            np.asarray(values)
        best = min(best, time.perf_counter() - start)
    return best


def _key(weights: Weights, task: str, pairs: Sequence[Pair], batch_size: int) -> str:
    """Return a digest of all that the seconds depend on."""
    header = weights.headers[task]
    libraries = {name: library_versions(name) for name in {pair.engine for pair in pairs}}
    network = asdict(header.spec), list(header.config.data.crop_px), task
    here = cpu_model(), available_threads(), versions(), libraries
    text = json.dumps([*here, *network, batch_size, sorted(pairs)], sort_keys=True)
    return sha256(text.encode())[:16]


def _file() -> Path | None:
    folder = cache_folder()
    return folder / FILE if folder and is_private(folder) else None


def _read() -> dict[str, dict[str, float]]:
    """Return what is kept, without entries that are none."""
    path = _file()
    found = read_json(path) if path else None
    return {key: entry for key, entry in (found or {}).items() if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    return all(isinstance(s, float) and 0 < s < math.inf for s in entry.values())


def _keep(key: str, entry: dict[str, float]) -> None:
    path = _file()
    if path is None:
        return
    entries = {k: e for k, e in _read().items() if k != key} | {key: entry}
    try:
        write_json(path, dict(list(entries.items())[-KEPT:]))
    except OSError:  # it is measured again next time
        return
