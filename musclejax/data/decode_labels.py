"""A label map by anybody as muscle numbers of one region, and the sides that its numbers state."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from musclejax import anatomy
from musclejax.data.label_map import to_scan_order, whole_numbers
from musclejax.data.label_names import HIGHEST
from musclejax.data.label_tables import SCHEMES, LabelTable, find_table
from musclejax.data.muscle_names import Meaning
from musclejax.errors import InputError, count_of, listed
from musclejax.scan.volume import Volume

REGION_OPTION = "--region"


class Decoded(NamedTuple):
    """A label map in our numbers.

    Attributes:
        labels: Muscle numbers of the region.
        sides: 1 left, 2 right, where the numbers say it; else 0.
        region: "thigh" or "leg".
        warnings: What was left out.
    """

    labels: UInt8[np.ndarray, "i j k"]
    sides: UInt8[np.ndarray, "i j k"]
    region: str
    warnings: tuple[str, ...]


def decode(
    stored: Volume, scan: Volume, table: LabelTable, region: str | None, path: Path
) -> Decoded:
    """Translate a label map on the grid of a scan.

    Args:
        stored: The label map as it was read.
        scan: Its scan.
        table: What the numbers mean.
        region: Whose muscles are wanted; None if the numbers tell.
        path: The label map, for errors.

    Raises:
        InputError: If it lies on another grid, has a number without a meaning or values that are
            none, holds no muscle, or if its region is unclear.
    """
    values = whole_numbers(to_scan_order(stored, scan, path), path)
    labeled = values != 0
    numbers = values[labeled].astype(np.int64)
    found = _count(numbers, path)
    _check_known(found, table, path)
    muscles = {number: table.muscles[number] for number in found if number in table.muscles}
    if not muscles:
        shown = _left_out(found, table) or "only background"
        remedy = "A label map needs one labeled muscle at least."
        raise InputError(path, shown, _accepted(table), remedy)
    region = region or _find_region(muscles, path)
    own = {n: m for n, several in muscles.items() for m in several if m.region == region}
    if not own:
        other = next(iter(muscles.values()))[0].region
        accepted = f"muscles of the {region}, as requested"
        raise InputError(path, f"muscles of the {other} only", accepted)
    codes = np.zeros((2, max(found) + 1), np.uint8)
    for number, meaning in own.items():
        codes[:, number] = meaning.number, meaning.side
    labels, sides = (np.zeros(values.shape, np.uint8) for _ in codes)
    labels[labeled], sides[labeled] = codes[:, numbers]
    skipped = [number for number in muscles if number not in own]
    warnings = [f"left out: {_left_out(found, table)}"] if _left_out(found, table) else []
    if skipped:
        count = count_of(len(skipped), "muscle")
        warnings.append(f"left out: {count} of another region than the {region}")
    return Decoded(labels, sides, region, tuple(warnings))


def _count(numbers: Int[np.ndarray, " n"], path: Path) -> dict[int, int]:
    """Return the voxels of each number."""
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    if low < 0 or high > HIGHEST:
        raise InputError(path, f"label numbers {low} to {high}", f"0 to {HIGHEST}")
    counts = np.bincount(numbers)
    return {int(n): int(counts[n]) for n in np.flatnonzero(counts)}


def _check_known(found: Mapping[int, int], table: LabelTable, path: Path) -> None:
    """Check that every number has a meaning."""
    known = table.muscles.keys() | table.others.keys() | {0}
    unknown = [] if table.open else [number for number in found if number not in known]
    if unknown:
        shown = listed(f"{n} ({count_of(found[n], 'voxel')})" for n in unknown)
        raise InputError(
            path, f"label numbers {shown}", _accepted(table), _remedy(found, unknown[0], table)
        )


def _remedy(found: Mapping[int, int], unknown: int, table: LabelTable) -> str:
    """Return what to do about a number without meaning: the scheme that has all, or a table."""
    for scheme in SCHEMES:
        if found.keys() <= {0, *find_table(scheme).muscles}:
            return f"They fit --names {scheme}."
    near = min(table.muscles, key=lambda n: abs(n - unknown))
    meaning = _shown(table.muscles[near])
    return f"Nearest to {unknown}: {near}, {meaning}. --names says what other numbers mean."


def _accepted(table: LabelTable) -> str:
    """Return the numbers of muscles, those that follow one another as a range."""
    ranges: list[list[int]] = []
    for number in sorted({0, *table.muscles, *table.others}):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    texts = [f"{low}" if low == high else f"{low}-{high}" for low, high in ranges]
    return f"{listed(texts, 12)} ({table.source})"


def _shown(meanings: Iterable[Meaning]) -> str:
    return " or ".join(map(str, meanings))


def _left_out(found: Mapping[int, int], table: LabelTable) -> str:
    """Return what of a map is not a muscle, in one line."""
    others = {n: name for n in found if n not in table.muscles if (name := table.others.get(n, n))}
    return listed(f"{name} ({count_of(found[n], 'voxel')})" for n, name in others.items())


def _find_region(muscles: Mapping[int, tuple[Meaning, ...]], path: Path) -> str:
    """Return the region that all muscles belong to."""
    by_number = [{m.region for m in several} for several in muscles.values()]
    common = set.intersection(*by_number)
    if len(common) == 1:
        return common.pop()
    accepted = " or ".join(f"{REGION_OPTION} {name}" for name in anatomy.REGIONS)
    if common:
        numbers = listed(map(str, sorted(muscles)), 12)
        raise InputError(path, f"numbers {numbers} of both regions", accepted)
    shown = "; ".join(
        f"{name} {listed(_shown(s) for s in muscles.values() if s[0].region == name)}"
        for name in anatomy.REGIONS
    )
    raise InputError(path, f"muscles of both regions ({shown})", f"one region, or {accepted}")
