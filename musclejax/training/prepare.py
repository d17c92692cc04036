"""Everything a run needs before its first step, checked before hours are spent."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.data.batches import Feed, make_feeds
from musclejax.data.dataset import IGNORE, Case, read_dataset
from musclejax.data.phantom_feed import PhantomFeed, phantom_feeds
from musclejax.data.slices import Slices, load_slices
from musclejax.data.split import LEAKS, assign_splits
from musclejax.data.weight_map import class_weights
from musclejax.errors import InputError
from musclejax.models.variants import find
from musclejax.models.weights import Weights, draw_variables

_COUNTED = 64
"""Synthetic slices that are drawn to count how frequent each muscle is."""
_CUT_SHARE = 1e-3
"""Share of labelled pixels outside the window above which a user is told."""


@dataclass(frozen=True, eq=False)
class Data:
    """What a run learns from.

    Attributes:
        feeds: "train" and "validation".
        classes: Weight of each class.
        record: JSON-able: cases and subjects of each split, slices, a checksum.
        notes: What a user should know before the run.
    """

    feeds: Mapping[str, Feed]
    classes: Float[np.ndarray, " k"]
    record: Mapping[str, Any]
    notes: tuple[str, ...]


def load_data(
    folders: Iterable[str | Path],
    config: ConfigDict,
    advance: Callable[[Case], None] = lambda case: None,
) -> Data:
    """Load and check what a run learns from.

    Args:
        folders: Datasets; see `data.dataset`.
        config: Settings.
        advance: Called with each case when it is read.

    Raises:
        InputError: If anything would make the run fail or mean nothing later.
    """
    _check_window(config)
    folders = list(folders)
    if config.data.source == "phantom":
        if folders:
            raise InputError("--data", str(folders[0]), "none, as the recipe draws its own slices")
        return _phantom_data(config)
    if config.data.source != "dataset":
        raise InputError("data.source", repr(config.data.source), "dataset or phantom")
    if not folders:
        raise InputError("--data", "none", "a dataset", "See: musclejax dataset --help")
    datasets = [read_dataset(folder, config.data.channel) for folder in folders]
    splits = assign_splits([case for d in datasets for case in d.cases], config.split)
    slices = load_slices(datasets, config, splits, advance)
    feeds = make_feeds(slices, config)
    notes = [LEAKS] if config.split.order == "paper" else []
    notes += _cut(slices, config)
    return Data(feeds, _classes(slices["train"], config), _record(slices, splits), tuple(notes))


def _phantom_data(config: ConfigDict) -> Data:
    feeds = phantom_feeds(config)
    classes = np.ones(len(anatomy.REGIONS), np.float32)
    if config.task != "region":
        items = np.linspace(0, len(feeds["train"]) - 1, _COUNTED).astype(int)
        classes = _weigh([feeds["train"].draw(item, n)[1] for n, item in enumerate(items)], config)
    return Data(feeds, classes, {name: _origins(feed) for name, feed in feeds.items()}, ())


def _origins(feed: PhantomFeed) -> dict[str, Any]:
    limbs = [limb for phantom in feed.phantoms for limb in phantom.anatomy.limbs]
    subjects = sorted({limb.subject for limb in limbs})
    checksum = 0
    for phantom in feed.phantoms:
        checksum = zlib.crc32(phantom.anatomy.tiles.packed.data, checksum)
    record = {"slices": len(feed), "cases": subjects, "subjects": subjects, "source": "phantom"}
    return {**record, "checksum": checksum}


def initial_variables(config: ConfigDict, weights: Weights | None) -> tuple[dict[str, Any], str]:
    """Return the variables to start from, and a line that says what they are.

    Args:
        config: Settings.
        weights: To fine-tune; None draws random variables. The task's own network is taken, or
            else another of the tree: every array of the same name and shape is kept, so that the
            head is new where the number of classes differs.

    Raises:
        InputError: If no network of the weights is of the same variant.
    """
    fresh = draw_variables(find(config.variant), config.task, int(config.seed))
    if weights is None:
        return fresh, f"random weights (seed {config.seed})"
    order = sorted(weights.networks.values(), key=lambda n: (n.task != config.task, n.task))
    network = next((n for n in order if n.config.variant == config.variant), None)
    if network is None:
        found = ", ".join(f"{n.task} of variant {n.config.variant}" for n in order)
        remedy = f"Give --set variant={order[0].config.variant}, or other weights."
        raise InputError(f"--init {weights.name}", found, f"variant {config.variant}", remedy)
    known = {jax.tree_util.keystr(k): a for k, a in jax.tree.leaves_with_path(network.variables)}
    new: list[str] = []

    def pick(path: Any, array: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        if name in known and known[name].shape == array.shape:
            return np.asarray(known[name], np.float32)
        new.append(name)
        return array

    variables = jax.tree.map_with_path(pick, fresh)
    blocks = sorted({name.split("'")[3] for name in new})
    rest = f"; new: {', '.join(blocks)}" if blocks else ""
    return variables, f"the {network.task} network of {weights.name}{rest}"


def _check_window(config: ConfigDict) -> None:
    multiple = find(config.variant).size_multiple
    size = config.grid.size_px
    bad = [n for n in config.data.crop_px if n % multiple or not 0 < n <= size]
    if config.task != "region" and (bad or len(config.data.crop_px) != 2):
        near = [min(max(multiple, round(n / multiple) * multiple), size) for n in bad]
        accepted = f"multiples of {multiple} up to {size}, as variant {config.variant} needs"
        hint = f"Nearest: {', '.join(map(str, near))}."
        raise InputError("data.crop_px", str(tuple(config.data.crop_px)), accepted, hint)


def _classes(train: Slices, config: ConfigDict) -> np.ndarray:
    if config.task == "region":
        present = {o.region for o in train.origins}
        missing = [name for name in anatomy.REGIONS if name not in present]
        if missing:
            accepted = "training slices of every region; give --data more than once if needed"
            raise InputError("data", f"no training slice of {', '.join(missing)}", accepted)
        return np.ones(len(anatomy.REGIONS), np.float32)
    return _weigh(list(train.labels), config)


def _weigh(labels: list[np.ndarray], config: ConfigDict) -> np.ndarray:
    absent = [a.strip() for a in str(config.data.absent).split(",") if a.strip()]
    weights = class_weights(labels, config.task, absent)
    match config.loss.class_weights:
        case "inverse":
            return weights
        case "none":
            return np.where(weights > 0, 1, 0).astype(np.float32)
    raise InputError("loss.class_weights", repr(config.loss.class_weights), "inverse or none")


def _cut(slices: Mapping[str, Slices], config: ConfigDict) -> list[str]:
    """Return a note if the window leaves out labels."""
    if config.task == "region":
        return []
    height, width = config.data.crop_px
    total = kept = 0
    for part in slices.values():
        for labels, origin in zip(part.labels, part.limbs.origin, strict=True):
            muscle = (labels > 0) & (labels != IGNORE)
            r, c = origin.astype(int)
            total += muscle.sum()
            kept += muscle[r : r + height, c : c + width].sum()
    share = 1 - kept / max(1, total)
    if share < _CUT_SHARE:
        return []
    return [f"data.crop_px {height} x {width} cuts off {100 * share:.1f} % of the labelled pixels"]


def _record(slices: Mapping[str, Slices], splits: Mapping[str, str]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, part in slices.items():
        origins = part.origins
        record[name] = {
            "slices": len(part),
            "cases": sorted({o.case.name for o in origins}),
            "subjects": sorted({o.case.subject for o in origins}),
            "checksum": zlib.crc32(part.labels.data, zlib.crc32(part.images.data)),
        }
    held = sorted(name for name, split in splits.items() if split in ("test", "unseen"))
    return {**record, "held_out": held}
