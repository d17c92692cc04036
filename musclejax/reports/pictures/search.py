"""Picture of a search: its trials by epochs, and their places in the search space."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from musclejax.tuning.hyperband import ranked
from musclejax.tuning.log import Entry
from musclejax.tuning.space import SPACE

_DPI = 130
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the brackets. Source: Okabe & Ito 2008, told apart by color-blind readers."""
_LABELS = {"learning_rate": "learning rate", "dropout": "dropout", "l2": "L2"}
_GRAY = "0.6"


def draw_search(entries: list[Entry], config: ConfigDict, path: Path) -> None:
    """Draw the metric against epochs, and the trials in the search space.

    Args:
        entries: Finished tasks, one or more of which did not fail.
        config: The recipe, with the bounds of the search space.
        path: PNG file to write.
    """
    best = ranked(entries)[0]
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1.15, 1)))
    _draw_curves(left.subplots(), entries, best)
    panels = right.subplots(2, 1, sharex=True)
    for axes, name in zip(panels, ("dropout", "l2"), strict=True):
        points = _draw_space(axes, entries, best, "learning_rate", name)
        axes.set_ylim(_limits(config, name))
    panels[0].set_xlim(_limits(config, "learning_rate"))
    panels[0].tick_params(labelbottom=False)
    panels[0].set_title("larger points were trained longer", fontsize=9, loc="left")
    panels[1].set_xlabel(_label("learning_rate"))
    right.colorbar(points, ax=panels, label=f"best {_words(best.metric)}")
    trials = len({entry.trial for entry in entries})
    failed = len({entry.trial for entry in entries if entry.failed})
    settings = ", ".join(f"{_LABELS[name]} {value:g}" for name, value in best.settings.items())
    figure.suptitle(
        f"{trials} trials{f', {failed} of them failed' if failed else ''}; best: trial "
        f"{best.trial}, {best.value:.4f} after {best.budget} epochs ({settings})",
        fontsize=11,
    )
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, format="png")


def _draw_curves(axes: Axes, entries: list[Entry], best: Entry) -> None:
    """Draw a line per trial; it ends where the trial was not promoted."""
    brackets = sorted({entry.bracket for entry in entries}, reverse=True)
    for bracket, color in zip(brackets, _cycle(len(brackets)), strict=True):
        of_bracket = [entry for entry in entries if entry.bracket == bracket]
        trials = sorted({entry.trial for entry in of_bracket})
        for trial in trials:
            done = [e for e in of_bracket if e.trial == trial and not e.failed]
            epochs, values = [e.budget for e in done], [e.value for e in done]
            axes.plot(epochs, values, "-o", color=color, alpha=0.75, markersize=4, linewidth=1.2)
        budgets = ", ".join(str(b) for b in sorted({entry.budget for entry in of_bracket}))
        label = f"bracket {bracket}: {len(trials)} trials, to {budgets} epochs"
        axes.plot([], [], "-o", color=color, markersize=4, label=label)
    _star(axes, float(best.budget), best.value, "best")
    axes.set_xlim(left=0)
    axes.set_xticks([0, *sorted({entry.budget for entry in entries})])
    axes.set_title("lines end where trials were not promoted", fontsize=9, loc="left")
    axes.set_xlabel("epochs")
    axes.set_ylabel(_words(best.metric))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", fontsize=8, framealpha=0.9)


def _draw_space(axes: Axes, entries: list[Entry], best: Entry, x: str, y: str) -> PathCollection:
    """Draw a point per trial, larger the longer it was trained."""
    tops = {entry.trial: entry for entry in reversed(ranked(entries))}
    longest = {trial: max(e.budget for e in entries if e.trial == trial) for trial in tops}
    shown = sorted(tops.values(), key=lambda entry: entry.value)  # the best in front
    points = axes.scatter(
        [entry.settings[x] for entry in shown],
        [entry.settings[y] for entry in shown],
        s=[25 + 90 * longest[entry.trial] / max(longest.values()) for entry in shown],
        c=[entry.value for entry in shown],
        edgecolors="0.3",
        linewidths=0.6,
    )
    lost = {entry.trial: entry.settings for entry in entries if entry.trial not in tops}
    if lost:
        xs, ys = [s[x] for s in lost.values()], [s[y] for s in lost.values()]
        axes.scatter(xs, ys, s=30, marker="x", color=_GRAY, label="failed")
    _star(axes, best.settings[x], best.settings[y], "best")
    axes.set_xscale(SPACE[x][1])
    axes.set_yscale(SPACE[y][1])
    axes.set_ylabel(_label(y))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if y == "dropout":
        axes.legend(loc="best", fontsize=8, framealpha=0.9)
    return points


def _star(axes: Axes, x: float, y: float, label: str) -> None:
    axes.scatter(
        [x], [y], s=170, marker="*", color="gold", edgecolors="black", zorder=5, label=label
    )


def _limits(config: ConfigDict, name: str) -> tuple[float, float]:
    """Return the range of the search, with a margin for the points at its ends."""
    low, high = config.tune[name]
    if SPACE[name][1] == "log":
        margin = (high / low) ** 0.05 if high > low else 2.0
        return low / margin, high * margin
    margin = 0.05 * (high - low) if high > low else 0.1
    return low - margin, high + margin


def _cycle(count: int) -> list[str]:
    return [_COLORS[i % len(_COLORS)] for i in range(count)]


def _label(name: str) -> str:
    scale = SPACE[name][1]
    return f"{_LABELS[name]} ({scale} scale)" if scale == "log" else _LABELS[name]


def _words(metric: str) -> str:
    return metric.replace("_", " ").replace("dsc", "DSC")
