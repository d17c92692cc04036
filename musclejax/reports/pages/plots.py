"""Plots of pages, as coordinates that `templates/plots.html` draws as SVG: no library is needed."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

WIDTH, LABELS, TOP, BOTTOM, END = 460, 98, 8, 34, 16
"""Pixels of a plot: its width, the names at the left, and the space around."""
ROW = 24
"""Pixels of a row with its boxes."""
MOST_DOTS = 30
"""Values that are drawn one by one."""
FEWEST_OF_A_BOX = 5
"""Values that have quartiles worth a box."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Series(NamedTuple):
    """Values of one kind, such as the volumes of left VL.

    Attributes:
        look: Class of their marks: "left", "right" or "both".
        values: Finite ones.
    """

    look: str
    values: np.ndarray


class Tick(NamedTuple):
    """A line of an axis."""

    at: float
    label: str


class Box(NamedTuple):
    """Quantiles of a series, or its few values, in pixels.

    Attributes:
        look: See `Series`.
        y: Height of its middle.
        quantiles: Places of the 5th, 25th, 50th, 75th and 95th percentile; none of few values.
        dots: Places of the values if they are few.
        text: The same in words.
    """

    look: str
    y: float
    quantiles: tuple[float, ...]
    dots: tuple[float, ...]
    text: str


class BoxRow(NamedTuple):
    """A row of a plot: its name, and a box per series."""

    name: str
    y: float
    boxes: tuple[Box, ...]


class BoxPlot(NamedTuple):
    """Distributions, one below the other.

    Attributes:
        id: In the page.
        title: What is shown, with the unit.
        caption: One sentence with the numbers behind it.
        rows: See `BoxRow`.
        ticks: Of the axis below.
        zero: Place of 0.
        height: Pixels.
    """

    id: str
    title: str
    caption: str
    rows: tuple[BoxRow, ...]
    ticks: tuple[Tick, ...]
    zero: float
    height: int


class Line(NamedTuple):
    """A line with a band around it, as points of SVG."""

    name: str
    look: str
    points: str
    band: str
    end: tuple[float, float]


class LinePlot(NamedTuple):
    """Lines over one axis; see `BoxPlot`."""

    id: str
    title: str
    caption: str
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    height: int


class Scale(NamedTuple):
    """A linear axis: values at its ends, and their places."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, most: int = 5) -> tuple[Tick, ...]:
        """Return round values along the axis."""
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(Tick(self.at(n * step), f"{n * step:g}") for n in range(first, last + 1))


def draw_boxes(
    id_: str, title: str, caption: str, unit: str, rows: Sequence[tuple[str, Sequence[Series]]]
) -> BoxPlot | None:
    """Return a plot of distributions, 0 on its axis; None without values.

    Args:
        id_: See `BoxPlot`.
        title: See `BoxPlot`.
        caption: See `BoxPlot`.
        unit: Of the values, for the words behind each box.
        rows: Name of each row, and its series; rows without values are left out.
    """
    filled = [(name, series) for name, series in rows if any(s.values.size for s in series)]
    if not filled:
        return None
    ends = [_ends(s.values) for _, series in filled for s in series if s.values.size]
    low, high = (min(0.0, *(e[0] for e in ends)), max(0.0, *(e[1] for e in ends)))
    margin = 0.03 * (high - low) or 1.0
    scale = Scale(low - margin * (low < 0), high + margin, LABELS, WIDTH - END)
    drawn = tuple(_row(n, name, series, scale, unit) for n, (name, series) in enumerate(filled))
    height = TOP + ROW * len(drawn) + BOTTOM
    return BoxPlot(id_, title, caption, drawn, scale.ticks(), scale.at(0.0), height)


def draw_lines(
    id_: str,
    title: str,
    caption: str,
    lines: Iterable[tuple[str, np.ndarray]],
    x_ticks: Sequence[tuple[float, str]],
) -> LinePlot | None:
    """Return a plot of lines with bands; None without lines.

    Args:
        id_: See `BoxPlot`.
        title: See `BoxPlot`.
        caption: See `BoxPlot`.
        lines: Name of each, and its points in rows of x, low, middle, high.
        x_ticks: Values of the axis below, and their names.
    """
    lines = [(name, points) for name, points in lines if len(points)]
    if not lines:
        return None
    every = np.concatenate([points for _, points in lines])
    height = 260
    x = Scale(*_widened(every[:, 0].min(), every[:, 0].max()), 40, WIDTH - LABELS)
    y = Scale(0.0, float(every[:, 3].max()) * 1.05 or 1.0, height - BOTTOM, TOP)
    drawn = tuple(_line(n, name, points, x, y) for n, (name, points) in enumerate(lines))
    shown = tuple(Tick(x.at(v), text) for v, text in x_ticks if x.low <= v <= x.high)
    return LinePlot(id_, title, caption, _apart(drawn), shown, y.ticks(), height)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Return the lowest and the highest value that are drawn."""
    if values.size <= MOST_DOTS:
        return float(values.min()), float(values.max())
    low, high = np.quantile(values, (QUANTILES[0], QUANTILES[-1]))
    return float(low), float(high)


def _row(number: int, name: str, series: Sequence[Series], scale: Scale, unit: str) -> BoxRow:
    middle = TOP + ROW * (number + 0.5)
    offsets = (0.0,) if len(series) == 1 else (-ROW / 5, ROW / 5)
    boxes = (
        _box(name, one, middle + offset, scale, unit)
        for one, offset in zip(series, offsets, strict=True)
        if one.values.size
    )
    return BoxRow(name, middle, tuple(boxes))


def _box(name: str, series: Series, y: float, scale: Scale, unit: str) -> Box:
    values = series.values
    quantiles = np.quantile(values, QUANTILES)
    text = f"{name}{'' if series.look == 'both' else f' {series.look}'}: {words(values)}{unit}"
    boxed = map(scale.at, quantiles) if values.size >= FEWEST_OF_A_BOX else ()
    dots = map(scale.at, np.sort(values)) if values.size <= MOST_DOTS else ()
    return Box(series.look, y, tuple(boxed), tuple(dots), f"{text}, n = {values.size}")


def words(values: np.ndarray, decimals: int = 1) -> str:
    """Return a median with its quartiles; one value alone, and nothing without values.

    Few values have no quartiles: their lowest and highest stand there.
    """
    if values.size < 2:
        return "".join(f"{value:.{decimals}f}" for value in values)
    shares = QUANTILES[1:4] if values.size >= FEWEST_OF_A_BOX else (0.0, 0.5, 1.0)
    low, median, high = (f"{q:.{decimals}f}" for q in np.quantile(values, shares))
    return f"{median} ({low} to {high})"


def _line(number: int, name: str, points: np.ndarray, x: Scale, y: Scale) -> Line:
    middle = [(x.at(p[0]), y.at(p[2])) for p in points]
    upper = [(x.at(p[0]), y.at(p[3])) for p in points]
    lower = [(x.at(p[0]), y.at(p[1])) for p in points[::-1]]
    return Line(name, f"line{number % 3}", _points(middle), _points(upper + lower), middle[-1])


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _apart(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return lines whose names, at their ends, do not stand on one another."""
    placed: list[Line] = []
    for line in sorted(lines, key=lambda line: line.end[1]):
        near = [one.end[1] for one in placed if abs(one.end[0] - line.end[0]) < LABELS]
        floor = max(near, default=-math.inf) + 13
        placed.append(line._replace(end=(line.end[0], max(line.end[1], floor))))
    return tuple(placed)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low - 0.05, high + 0.05)


def _round_step(step: float) -> float:
    """Return the next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
