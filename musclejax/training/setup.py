"""All that a run needs before its first step, checked before hours are spent."""

import zlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from musclejax.anatomy import LEVEL, TASKS
from musclejax.data.dataset import IGNORE, Case, read_datasets
from musclejax.data.label_names import parse_map
from musclejax.data.sampler import Sampler, make_samplers
from musclejax.data.scan_warnings import warning_lines
from musclejax.data.slices import Slices, load_slices_steps
from musclejax.data.split import LEAKS, assign_splits
from musclejax.data.weight_map import class_weights
from musclejax.errors import InputError
from musclejax.loops import Advance, result_of
from musclejax.models.initialization import draw_variables
from musclejax.models.training_record import ScanIdentity, earlier_parts
from musclejax.models.variants import find
from musclejax.models.weights import BUNDLED, Weights, find_weights
from musclejax.phantom.sampler import PhantomSampler, phantom_samplers
from musclejax.training.leaks import check_copies, check_once, seen_before, shared_subjects

SOURCES = ("dataset", "phantom")
"""Values of `config.data.source`."""
CLASS_WEIGHTS = ("inverse", "none")
"""Values of `config.loss.class_weights`."""
_COUNTED = 64
"""Synthetic slices that are sampled to count the frequency of each muscle."""
_CUT_SHARE = 1e-3
"""Share of labeled pixels outside the window above which there is a warning."""


@dataclass(frozen=True, eq=False)
class Data:
    """Data of a run.

    Attributes:
        samplers: "train" and "validation".
        classes: Weight of each class.
        record: JSON-able: cases and subjects of each split, slices, a checksum.
        warnings: Lines that a user should read before the run.
    """

    samplers: Mapping[str, Sampler]
    classes: Float[np.ndarray, " k"]
    record: Mapping[str, Any]
    warnings: tuple[str, ...]


def load_data(folders: Iterable[str | Path], config: ConfigDict) -> Data:
    """Run `load_data_steps` to its end."""
    return result_of(load_data_steps(folders, config))


def load_data_steps(
    folders: Iterable[str | Path], config: ConfigDict
) -> Generator[Advance, None, Data]:
    """Load and check the data of a run; yield after each case.

    Args:
        folders: Datasets; see `data.dataset`.
        config: Settings.

    Raises:
        InputError: If anything would later make the run fail or its results meaningless.
    """
    _check_window(config)
    folders = list(folders)
    if config.data.source not in SOURCES:
        raise InputError.choice("data.source", config.data.source, SOURCES)
    if config.data.source == "phantom":
        if folders:
            accepted = "none, as the recipe makes its own slices"
            raise InputError("--data", str(folders[0]), accepted)
        return _phantom_data(config)
    if config.task == LEVEL:
        accepted = "data.source=phantom: labels of real scans state no level"
        raise InputError("task", LEVEL, accepted, "See: musclejax train --config phantom_level")
    if not folders:
        raise InputError("--data", "none", "a dataset", "See: musclejax dataset --help")
    check_once(folders)
    renamed = parse_map(filter(str.strip, config.data.map.split(";")), "data.map")
    datasets = read_datasets(folders, config.data.channel, renamed)
    cases = [case for d in datasets for case in d.cases]
    splits = assign_splits(cases, config.split)
    loaded = yield from load_slices_steps(datasets, config, splits)
    samplers = make_samplers(loaded, config)
    slices = {name: part for name, part in loaded.items() if len(part)}
    check_copies(slices)
    warnings = [LEAKS] if config.split.order == "paper" else []
    warnings += [line for d in datasets for line in d.warnings]
    warnings += [*shared_subjects(cases), *_cut(slices, config)]
    of_scans = (line for part in loaded.values() for line in part.warnings)
    warnings += warning_lines(of_scans, "musclejax dataset check")
    classes = _classes(slices["train"], config)
    return Data(samplers, classes, _record(slices, splits), tuple(warnings))


def start_from(data: Data, config: ConfigDict, weights: Weights | None) -> Data:
    """Return the data of a run that begins with trained weights.

    The record then names whom these were trained on, too; there is a warning if the run validates
    on one of them.

    Args:
        data: The data of the run.
        config: Settings.
        weights: As for `initial_variables`.
    """
    if weights is None:
        return data
    task = _first_choice(config, weights)
    earlier = earlier_parts(weights.provenance[task].data) if task in weights.provenance else []
    if not earlier:
        return data
    warnings = (*data.warnings, *seen_before(data.record, earlier, weights.name))
    return replace(data, record={**data.record, "earlier": earlier}, warnings=warnings)


def _phantom_data(config: ConfigDict) -> Data:
    samplers, task = phantom_samplers(config), TASKS[config.task]
    classes = np.ones(task.num_classes, np.float32)
    if not task.is_classifier:
        classes = weigh_synthetic(samplers["train"], config)
    record = {name: origins(sampler) for name, sampler in samplers.items()}
    return Data(samplers, classes, record, ())


def weigh_synthetic(sampler: PhantomSampler, config: ConfigDict) -> Float[np.ndarray, " k"]:
    """Return the weight of each class by its frequency in synthetic slices."""
    indices = np.linspace(0, len(sampler) - 1, _COUNTED).astype(int)
    labels = [np.asarray(sampler.sample(int(i), seed)[1]) for seed, i in enumerate(indices)]
    return _weigh(labels, config)


def origins(sampler: PhantomSampler) -> dict[str, Any]:
    """Return what the record of a run says of synthetic slices."""
    limbs = [limb for phantom in sampler.phantoms for limb in phantom.anatomy.limbs]
    subjects = sorted({limb.subject for limb in limbs})
    checksum = 0
    for phantom in sampler.phantoms:
        checksum = zlib.crc32(np.asarray(phantom.anatomy.tiles.packed).data, checksum)
    record = {"slices": len(sampler), "cases": subjects, "subjects": subjects, "source": "phantom"}
    return {**record, "checksum": checksum}


def initial_variables(config: ConfigDict, weights: Weights | None) -> tuple[dict[str, Any], str]:
    """Return the variables to start from, and their description.

    Args:
        config: Settings.
        weights: To fine-tune; None draws random variables. The task's own network is taken, or
            else another of the tree: every array of the same name and shape is kept, so that the
            head is new where the number of classes differs.

    Raises:
        InputError: If no network of the weights is of the same variant.
    """
    spec = find(config.variant)
    fresh = draw_variables(spec, config.task, int(config.seed))
    if weights is None:
        return fresh, f"random weights (seed {config.seed})"
    network = weights.networks[_first_choice(config, weights)]
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


def beginning(config: ConfigDict, name_or_folder: str, weights: Weights) -> dict[str, str]:
    """Return what finds the network again that `initial_variables` starts from; JSON-able."""
    task = _first_choice(config, weights)
    folder = find_weights(name_or_folder)
    place = folder.name if folder.parent == BUNDLED else str(folder)
    return {"weights": place, "task": task, "checksum": weights.headers[task].checksum}


def _first_choice(config: ConfigDict, weights: Weights) -> str:
    """Return the network of some weights to start from: the task's own, else another's."""
    headers, spec = weights.headers, find(config.variant)
    order = sorted(headers, key=lambda task: (task != config.task, task))
    same = [task for task in order if headers[task].spec.architecture == spec.architecture]
    if not same:
        variants = {task: headers[task].config.variant for task in order}
        found = ", ".join(f"{task} of variant {variant}" for task, variant in variants.items())
        remedy = f"Give --set variant={variants[order[0]]}, or other weights."
        raise InputError(f"--init {weights.name}", found, f"variant {config.variant}", remedy)
    return same[0]


def _check_window(config: ConfigDict) -> None:
    multiple = find(config.variant).size_multiple
    size = config.grid.size_px
    bad = [n for n in config.data.crop_px if n % multiple or not 0 < n <= size]
    if not TASKS[config.task].is_classifier and (bad or len(config.data.crop_px) != 2):
        near = [min(max(multiple, round(n / multiple) * multiple), size) for n in bad]
        accepted = f"multiples of {multiple} up to {size}, as variant {config.variant} needs"
        hint = f"Nearest: {', '.join(map(str, near))}."
        raise InputError("data.crop_px", str(tuple(config.data.crop_px)), accepted, hint)


def _classes(train: Slices, config: ConfigDict) -> Float[np.ndarray, " k"]:
    task = TASKS[config.task]
    if not task.is_classifier:
        return _weigh(list(train.labels), config)
    present = {o.region for o in train.origins}
    missing = [name for name in task.regions if name not in present]
    if missing:
        accepted = "training slices of every region; give --data more than once if needed"
        raise InputError("data", f"no training slice of {', '.join(missing)}", accepted)
    return np.ones(task.num_classes, np.float32)


def _weigh(labels: list[np.ndarray], config: ConfigDict) -> Float[np.ndarray, " k"]:
    absent = [a.strip() for a in str(config.data.absent).split(",") if a.strip()]
    weights, kind = class_weights(labels, config.task, absent), config.loss.class_weights
    if kind not in CLASS_WEIGHTS:
        raise InputError.choice("loss.class_weights", kind, CLASS_WEIGHTS)
    return weights if kind == "inverse" else np.where(weights > 0, 1, 0).astype(np.float32)


def _cut(slices: Mapping[str, Slices], config: ConfigDict) -> list[str]:
    """Return a warning if the window leaves out labels."""
    if TASKS[config.task].is_classifier:
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
    return [f"data.crop_px {height} x {width} cuts off {100 * share:.1f} % of the labeled pixels"]


def _record(slices: Mapping[str, Slices], splits: Mapping[Case, str]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, part in slices.items():
        origins = part.origins
        scans = dict.fromkeys((origin.case, origin.content) for origin in origins)
        identities = [ScanIdentity(c.dataset, c.name, c.subject, content) for c, content in scans]
        record[name] = {
            "slices": len(part),
            "cases": sorted({o.case.name for o in origins}),
            "subjects": sorted({o.case.subject for o in origins}),
            "checksum": zlib.crc32(part.labels.data, zlib.crc32(part.images.data)),
            "scans": [identity._asdict() for identity in identities],
        }
    held = sorted(case.name for case, split in splits.items() if split in ("test", "unseen"))
    return {**record, "held_out": held}
