"""Annotated slices on the model grid, specks removed, and the places of their limbs."""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from ml_collections import ConfigDict
from skimage.measure import label as connected

from musclejax.anatomy import SLICE_PX, SLICE_SPACING_MM, TASKS
from musclejax.data.augment import Limbs
from musclejax.data.dataset import IGNORE, Case, Dataset, content_of, read_case
from musclejax.data.scan_warnings import scan_warnings
from musclejax.errors import InputError
from musclejax.loops import Advance
from musclejax.scan.grid import labels_to_model_grid, to_model_grid
from musclejax.scan.intensity import body_mask, normalize
from musclejax.scan.sides import limb_split
from musclejax.scan.volume import check

_BOX_SHARE = 0.005
"""Share of the body's pixels outside a limb's box on each side: noise and wrap are not the limb.
Source: ours."""


@dataclass(frozen=True)
class Origin:
    """The scan and the place in it that a slice comes from.

    Attributes:
        case: The scan and its subject.
        region: Region of its muscles.
        index: Slice on the model grid, counted from the feet, from 0.
        content: Of the scan; see `dataset.content_of`.
    """

    case: Case
    region: str
    index: int
    content: str = ""

    def __str__(self) -> str:
        """Return the case and the slice."""
        return f"{self.case.name}:{self.index}"


@dataclass(frozen=True, eq=False)
class Slices:
    """Annotated slices of any number of cases.

    Attributes:
        images: Normalized intensities.
        labels: Our label numbers; `IGNORE` where unknown.
        limbs: Places of the limbs, one row per slice.
        origins: Origin of each slice.
        left_out: Reason -> number of slices or cases that it has left out.
        warnings: Name of a case, and what `scan_warnings` says of its scan.
    """

    images: Float[np.ndarray, "n r c"]
    labels: UInt8[np.ndarray, "n r c"]
    limbs: Limbs
    origins: tuple[Origin, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.origins)


def load_slices_steps(
    datasets: Iterable[Dataset], config: ConfigDict, splits: Mapping[Case, str]
) -> Generator[Advance, None, dict[str, Slices]]:
    """Load the annotated slices of every case that the task learns from; yield after each case.

    Args:
        datasets: The datasets of the cases.
        config: Settings of the network; cases of regions that its task does not learn from are
            left out.
        splits: Role of each case.

    Returns:
        "train" and "validation": the slices of each, which may be none; other roles are not
        loaded.

    Raises:
        InputError: If a case is unusable.
    """
    parts: dict[str, list[Slices]] = {"train": [], "validation": []}
    task = TASKS[config.task]
    cases = [(case, dataset) for dataset in datasets for case in dataset.cases]
    for done, (case, dataset) in enumerate(cases, start=1):
        if splits[case] in parts:
            known = case.region in ("", *task.regions)
            part = case_slices(case, dataset, config) if known else _no_slice()
            region = next((o.region for o in part.origins), case.region)
            if region not in ("", *task.regions):
                learns = " and ".join(task.regions)
                reason = f"cases of the {region}, while task {task.name} learns from the {learns}"
                part = _no_slice(reason)
            parts[splits[case]].append(part)
        yield Advance(done, len(cases))
    return {name: join(part or [_no_slice()]) for name, part in parts.items()}


def case_slices(case: Case, dataset: Dataset, config: ConfigDict) -> Slices:
    """Load the annotated slices of one case.

    Raises:
        InputError: If the case is unusable or was normalized in another way.
    """
    volume, numbers, region = read_case(case, dataset)
    check(volume, case.image)
    slices, transform = to_model_grid(volume)
    labels = labels_to_model_grid(numbers, transform)
    limbs = find_limbs(body_mask(slices), tuple(config.data.crop_px))
    if dataset.intensity is None:
        slices = normalize(slices, config.intensity)
    elif dict(dataset.intensity) != config.intensity.to_dict():
        found = f"images normalized as {dict(dataset.intensity)}"
        accepted = f"scanner intensities, or intensity = {config.intensity.to_dict()}"
        raise InputError(dataset.folder, found, accepted, "Augment again with this recipe.")
    before = np.array([_muscles(s) for s in labels])
    labels = np.stack([remove_specks(labels_2d, config.data.clean_px) for labels_2d in labels])
    after = np.array([_muscles(s) for s in labels])
    kept, content = np.flatnonzero(after >= _fewest(config)), content_of(volume)
    return Slices(
        slices[kept],
        labels[kept],
        Limbs(*(a[kept] for a in limbs)),
        tuple(Origin(case, region, int(i), content) for i in kept),
        _count_left_out(before, after, config),
        tuple((case.name, text) for text in scan_warnings(volume)),
    )


def _fewest(config: ConfigDict) -> int:
    return max(1, int(config.data.min_muscles))


def _count_left_out(
    before: Int[np.ndarray, " n"], after: Int[np.ndarray, " n"], config: ConfigDict
) -> dict[str, int]:
    """Return why slices are left out, by their muscles before and after specks are removed."""
    fewest = _fewest(config)
    reasons = {
        "slices without labels": before == 0,
        f"slices with fewer than {fewest} muscles (data.min_muscles)": (before > 0)
        & (before < fewest),
        f"slices cleared by data.clean_px = {config.data.clean_px}": (before >= fewest)
        & (after < fewest),
    }
    return {reason: int(hit.sum()) for reason, hit in reasons.items() if hit.any()}


def _no_slice(reason: str = "") -> Slices:
    images = np.zeros((0, SLICE_PX, SLICE_PX), np.float32)
    boxes, origins = np.zeros((0, 2, 4), np.float32), np.zeros((0, 2), np.float32)
    limbs = Limbs(np.zeros(0, np.float32), boxes, origins)
    return Slices(images, images.astype(np.uint8), limbs, (), {reason: 1} if reason else {})


def remove_specks(labels: UInt8[np.ndarray, "r c"], area_px: int) -> UInt8[np.ndarray, "r c"]:
    """Remove small connected components of each label, then fill small holes in it.

    Args:
        labels: Label numbers; unknown pixels stay as they are.
        area_px: Structures of fewer pixels are noise.

    Source: paper, "Preprocessing and data augmentation": area opening, then area closing, of
    each mask with a threshold of 4 pixels.
    """
    filtered = labels.copy()
    numbers = [n for n in np.unique(labels) if n not in (0, IGNORE)]
    for number in numbers:
        box = _box(labels == number)
        filtered[box][_small(labels[box] == number, area_px)] = 0
    for number in numbers:
        if (filtered == number).any():
            part = filtered[_box(filtered == number)]
            part[_small(part != number, area_px) & (part == 0)] = number
    return filtered


def _small(mask: Bool[np.ndarray, "r c"], area_px: int) -> Bool[np.ndarray, "r c"]:
    """Return the 4-connected components of fewer pixels than `area_px`.

    scikit-image's `area_opening` removes the same from a mask, and `area_closing` adds the same to
    its opposite; they build a tree of gray levels, which takes a hundred times longer.
    """
    components = connected(mask, connectivity=1)
    small = np.bincount(components.ravel()) < area_px
    small[0] = False
    return np.asarray(small[components])


def find_limbs(body: Bool[np.ndarray, "z r c"], size: tuple[int, int]) -> Limbs:
    """Find the limbs of each slice of one scan, and the window that is trained on.

    Args:
        body: Which pixels of the model slices show the body.
        size: Rows and columns of the window; it is centered on the limbs.
    """
    split = limb_split(body.sum(1).T, SLICE_SPACING_MM)
    columns = np.arange(body.shape[2])
    splits = np.full(len(body), -1.0) if split is None else split
    boxes = np.full((len(body), 2, 4), np.nan, np.float32)
    origins = np.zeros((len(body), 2), np.float32)
    for z, mask in enumerate(body):
        for side, half in enumerate((columns <= splits[z], columns > splits[z])):
            boxes[z, side] = limb_box(mask & half)
        for axis in (0, 1):
            ends = boxes[z, :, 2 * axis : 2 * axis + 2]
            middle = np.nanmean([np.nanmin(ends), np.nanmax(ends)]) if mask.any() else SLICE_PX / 2
            first = round(float(middle) - size[axis] / 2)
            origins[z, axis] = np.clip(first, 0, SLICE_PX - size[axis])
    return Limbs(splits.astype(np.float32), boxes, origins)


def join(parts: Sequence[Slices]) -> Slices:
    """Put the slices of several cases into one."""
    limbs = Limbs(
        *(np.concatenate(fields) for fields in zip(*(p.limbs for p in parts), strict=True))
    )
    images = np.concatenate([p.images for p in parts])
    labels = np.concatenate([p.labels for p in parts])
    left_out: Counter[str] = Counter()
    for part in parts:
        left_out.update(part.left_out)
    origins = tuple(o for p in parts for o in p.origins)
    warnings = tuple(line for p in parts for line in p.warnings)
    return Slices(images, labels, limbs, origins, dict(left_out), warnings)


def _muscles(labels: UInt8[np.ndarray, "r c"]) -> int:
    return len(set(np.unique(labels)) - {0, IGNORE})


def _box(mask: Bool[np.ndarray, "r c"]) -> tuple[slice, slice]:
    """Return the bounding box of a mask, one pixel wider: a border of background all around."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        slice(max(0, rows[0] - 1), rows[-1] + 2),
        slice(max(0, columns[0] - 1), columns[-1] + 2),
    )


def limb_box(mask: Bool[np.ndarray, "r c"]) -> Float[np.ndarray, "4"]:
    """Return first and last row, first and last column; NaN if there is nothing."""
    box = []
    for axis in (1, 0):
        share = np.cumsum(mask.sum(axis)) / max(1, mask.sum())
        box += list(np.searchsorted(share, (_BOX_SHARE, 1 - _BOX_SHARE)))
    return np.array(box if mask.any() else [np.nan] * 4, np.float32)
