"""Which series of a study are segmented: the best one of each subject, visit and place."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import NamedTuple

from musclejax.errors import InputError, did_you_mean
from musclejax.scan.kinds import kind_of_name
from musclejax.scan.series import Kind, Series

PREFERENCE: dict[Kind, tuple[int, str]] = {
    "in phase": (0, ""),
    "echo": (0, ""),
    "opposed phase": (1, ""),
    "other": (2, ""),
    "water": (3, ""),
    "fat": (5, "a fat image, for want of another: muscles are dark in it, check the labels"),
    "fat fraction": (6, "a fat-fraction map, for want of an image: check the labels"),
}
"""Kind -> rank, the lowest first, and the warning of a scan that is segmented nevertheless.

Within a rank the earliest echo is the best. A series that headers show to be no single volume has
rank 4. Maps and localizers are not segmented unless they are chosen.

Source: the networks learned from early echoes; water alone has a mean Dice of 0.77, where an early
echo of the same limbs has 0.82."""
_PROBLEM = 4.0
COARSE_MM = 4.0
"""Edge of a voxel within axial slices above which a series comes after all finer images: those of
thick coronal or sagittal slices. Source: ours; axial protocols have 2 mm at most."""
_COARSE = 3.5
SAME_PLACE = 0.5
"""Part of the shorter series, along the body, from which two show one place. Source: ours; stations
of a leg overlap by a tenth or a fifth."""
_ECHOES: tuple[Kind, ...] = ("in phase", "opposed phase", "echo")


@dataclass(frozen=True)
class Choice:
    """What a user wants other than the best series.

    Attributes:
        series: Series number, kind, or a part of the description or of the file's name; `*` and `?`
            stand for any letters.
        echo: 1 is the shortest echo time of each place.
    """

    series: str = ""
    echo: int | None = None

    def __bool__(self) -> bool:
        """Return whether anything is wanted."""
        return bool(self.series) or self.echo is not None


class Selection(NamedTuple):
    """The series to segment.

    Attributes:
        taken: In the order of the study.
        left_out: The others.
        warnings: Lines on visits of which nothing is taken.
    """

    taken: tuple[Series, ...]
    left_out: tuple[Series, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """One line on what is left out; empty if nothing is."""
        if not self.left_out:
            return ""
        counts = Counter(series.kind for series in self.left_out)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        is_are = "1 series is" if len(self.left_out) == 1 else f"{len(self.left_out)} series are"
        return f"{is_are} not segmented: {kinds}; `musclejax scan` lists them"


def select(series: Sequence[Series], choice: Choice | None = None) -> Selection:
    """Select the series to segment.

    Args:
        series: Those of a study.
        choice: What is wanted other than the best one.

    Raises:
        InputError: If a choice matches nothing.
    """
    choice = choice or Choice()
    matching = [one for one in series if not choice.series or matches(one, choice.series)]
    if not matching:
        raise _no_match(series, choice.series)
    visits: dict[tuple[str, str, str], list[Series]] = defaultdict(list)
    for one in matching:
        visits[one.subject, one.visit, one.place].append(one)
    taken = {one for own in visits.values() for one in _best(own, choice)}
    if choice.echo is not None and not taken:
        found = "no series with so many echo times"
        raise InputError(f"--echo {choice.echo}", found, "an echo that `musclejax scan` lists")
    left_out = tuple(one for one in series if one not in taken)
    lacking = _lacking(series, taken)
    warnings = (lacking,) if lacking else ()
    return Selection(tuple(one for one in series if one in taken), left_out, warnings)


def matches(series: Series, pattern: str) -> bool:
    """Return whether a series is meant by a number, a kind or a part of its names."""
    if pattern.strip().isdigit():
        return series.number == int(pattern)
    wanted = pattern.lower().strip()
    names = {series.description.lower(), series.path.name.lower()}
    return series.kind == wanted or any(fnmatchcase(name, f"*{wanted}*") for name in names)


def caution(series: Series) -> str:
    """Return the warning of a series of a kind that is no good image of muscles; or nothing."""
    if series.kind in ("map", "localizer"):
        return f"a {series.kind} is segmented as if it were an image: check the labels"
    return PREFERENCE[series.kind][1]


def mixture(taken: Iterable[Series]) -> tuple[Kind, str]:
    """Return the most frequent kind of image, and one line if there are others; else nothing."""
    counts = Counter(series.kind for series in taken)
    if len(counts) < 2:
        return next(iter(counts), "other"), ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    line = f"different kinds of images are segmented ({kinds}): compare their results with care"
    return counts.most_common(1)[0][0], line


def fat_images(series: Series, study: Iterable[Series]) -> tuple[Series, ...]:
    """Return what the fat fraction of a series follows from: images of its visit and place.

    Returns:
        Its fat-fraction map; without one its water and fat image, on one grid, of several pairs
        the one whose descriptions and numbers are nearest to one another; else nothing.
    """
    beside = [
        one
        for one in study
        if (one.subject, one.visit, one.place) == (series.subject, series.visit, series.place)
        and not one.problem
        and same_place(series, one)
    ]
    kinds: tuple[Kind, ...] = ("fat fraction", "water", "fat")
    images = {kind: [one for one in beside if one.kind == kind] for kind in kinds}
    if images["fat fraction"] and series.kind != "fat fraction":
        # The scanner's own knows more of the signal than two images tell.
        return (min(images["fat fraction"], key=lambda one: (one.number or 0, str(one.path))),)
    pairs = [
        (water, fat)
        for water, fat in product(images["water"], images["fat"])
        if (water.shape, water.extent_mm) == (fat.shape, fat.extent_mm)
    ]
    return min(pairs, key=_apart, default=())


def _apart(pair: tuple[Series, Series]) -> tuple[bool, int, str]:
    water, fat = pair
    differ = kind_of_name(water.description).stem != kind_of_name(fat.description).stem
    numbers = abs((water.number or 0) - (fat.number or 0))
    return differ, numbers, str(water.path)


def _best(candidates: Sequence[Series], choice: Choice) -> Iterator[Series]:
    """Yield the best series of each place; candidates are of one visit and comparable."""
    usable = [one for one in candidates if choice.series or one.kind in PREFERENCE]
    left = sorted(usable, key=_rank)
    while left:
        place = [one for one in left if one is left[0] or same_place(left[0], one)]
        left = [one for one in left if one not in place]
        if choice.echo is None:
            yield place[0]
        elif chosen := _echo(place, choice):
            yield chosen


def _rank(series: Series) -> tuple[float, ...]:
    kind = float(PREFERENCE.get(series.kind, (_PROBLEM, ""))[0])
    rank = max(kind, _COARSE) if (series.pixel_mm or 0.0) > COARSE_MM and kind < _PROBLEM else kind
    rank = _PROBLEM if series.problem else rank
    number = math.inf if series.number is None else series.number
    slices = series.shape[-1] if series.shape else 0
    order = (series.echo_ms or 0.0, series.index or 0, -slices, number)
    return rank, kind, *map(float, order)


def _echo(place: Sequence[Series], choice: Choice) -> Series | None:
    """Return the series of one place with the wanted echo."""
    own = [one for one in place if choice.series or one.kind in _ECHOES]
    times = sorted({_time(one) for one in own})
    number = choice.echo or 0
    if not 0 < number <= len(times):
        return None
    return next(one for one in own if _time(one) == times[number - 1])


def _time(series: Series) -> float:
    return series.echo_ms if series.echo_ms is not None else float(series.index or 0)


def same_place(first: Series, second: Series) -> bool:
    """Return whether two comparable series show one place; True if that is not known."""
    if first.extent_mm is None or second.extent_mm is None:
        return True
    (low, high), (other_low, other_high) = first.extent_mm, second.extent_mm
    shorter = min(high - low, other_high - other_low)
    return min(high, other_high) - max(low, other_low) >= SAME_PLACE * shorter


def _lacking(series: Sequence[Series], taken: set[Series]) -> str:
    """Return a line on visits of which nothing is taken."""
    covered = {(one.subject, one.visit) for one in taken}
    others = dict.fromkeys((s.subject, s.visit) for s in series)
    lacking = [" ".join(filter(None, visit)) for visit in others if visit not in covered]
    if not lacking:
        return ""
    listed = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    visits = "1 visit" if len(lacking) == 1 else f"{len(lacking)} visits"
    return f"nothing is segmented of {visits} ({listed})"


def _no_match(series: Sequence[Series], pattern: str) -> InputError:
    known = list(dict.fromkeys(one.description for one in series))
    accepted = "a series number, or a part of " + ", ".join(known[:8])
    return InputError(
        f"--series {pattern}", "no such series", accepted, did_you_mean(pattern, known)
    )
