"""The series that paths on the command line mean, and which of them are segmented."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from musclejax.app import console
from musclejax.errors import InputError, describe_error, printable
from musclejax.scan.catalog import Catalog, list_series
from musclejax.scan.selection import (
    Choice,
    Selection,
    caution,
    fat_images,
    mixture,
    select,
)
from musclejax.scan.series import Series
from musclejax.scan.source import absolute, place_of


class Study(NamedTuple):
    """What was found.

    Attributes:
        taken: Series to segment, each once.
        left_out: The others.
        missing: Number of paths, folders and images that cannot be read.
        notes: Warnings of a series to segment.
        fat_images: What its fat fraction follows from, if the study has it.
    """

    taken: tuple[Series, ...]
    left_out: tuple[Series, ...]
    missing: int
    notes: dict[Series, tuple[str, ...]]
    fat_images: dict[Series, tuple[Series, ...]]


def find_study(paths: Sequence[Path], choice: Choice) -> Study:
    """List the series that paths mean, and select those to segment; report what is wrong.

    A file that holds one series is segmented, whatever it shows. Of a folder, and of a file with
    several volumes, the best series are.
    """
    taken: dict[str, Series] = {}
    left_out: dict[str, Series] = {}
    missing = 0
    root = common_root(paths)
    for path in paths:
        try:
            with console.waiting(f"listing the series of {printable(str(path))}"):
                catalog = list_series(path, root)
            selection = _select(path, catalog, choice)
        except (InputError, OSError) as error:
            missing += 1
            console.warn(f"failed: {describe_error(error)}")
            continue
        missing += len(catalog.failures)
        for line in catalog.failures:
            console.warn(f"failed: {line}")
        for line in (*catalog.warnings, *selection.warnings):
            console.warn(line)
        taken |= {_key(series): series for series in selection.taken if _key(series) not in taken}
        left_out |= {_key(series): series for series in selection.left_out}
    others = tuple(series for key, series in left_out.items() if key not in taken)
    own = tuple(taken.values())
    return Study(own, others, missing, _notes(own), _fat_images(own, others))


def common_root(paths: Sequence[Path]) -> Path | None:
    """Return the folder in which several folders lie: `study/*` of a shell; None if there is none.

    Subjects are named by the folders below it.
    """
    parents = {absolute(path).parent for path in paths}
    if len(paths) < 2 or len(parents) > 1 or not all(path.is_dir() for path in paths):
        return None
    return paths[0].parent


def _select(path: Path, catalog: Catalog, choice: Choice) -> Selection:
    series = catalog.series
    if len(series) == 1 and (not choice or path.is_file()):
        return Selection(series)
    selection = select(series, choice)
    if not selection.taken:
        kinds = ", ".join(sorted({one.kind for one in series}))
        found = f"{len(series)} series and none to segment ({kinds})"
        remedy = "--series PATTERN segments any; `musclejax scan` lists them."
        raise InputError(path, found, "an image of muscles", remedy)
    return selection


def _key(series: Series) -> str:
    return place_of(series.path, series)


def _fat_images(
    taken: Sequence[Series], left_out: Sequence[Series]
) -> dict[Series, tuple[Series, ...]]:
    """Return the fat-fraction map, or the water and fat image, of each series that has them."""
    visits: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for series in (*taken, *left_out):
        visits[series.subject, series.visit].append(series)
    return {one: fat_images(one, visits[one.subject, one.visit]) for one in taken}


def _notes(taken: Sequence[Series]) -> dict[Series, tuple[str, ...]]:
    """Return the warnings of series to segment; report once if their kinds differ."""
    usual, line = mixture(taken)
    if line:
        console.warn(f"warning: {line}")
    return {series: tuple(_cautions(series, usual, bool(line))) for series in taken}


def _cautions(series: Series, usual: str, mixed: bool) -> list[str]:
    other = f"image kind {series.kind}, where most scans of the cohort are {usual}"
    return [
        line for line in (caution(series), other if mixed and series.kind != usual else "") if line
    ]
