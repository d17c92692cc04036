"""Picture, page and event files of a run's metrics."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tensorboardX import SummaryWriter

from musclejax.files import read_json, staging_folder
from musclejax.reports.pages.document import PAGE, from_file, write_document
from musclejax.reports.pages.training import to_document
from musclejax.reports.pictures.style import literal
from musclejax.training.workdir import RECORD, read_metrics

CURVES = "curves.png"
EVENTS = "tensorboard"
_TITLES = {
    "loss": "Loss (with L2)",
    "soft_dsc": "Soft DSC with background, as in the paper's Fig. 7",
    "dsc": "DSC, mean over muscles",
    "accuracy": "Categorical accuracy",
}
_STYLES = {"train": ("#1f77b4", "training"), "validation": ("#d62728", "validation")}


def draw_curves(history: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw loss and accuracy against epochs, as the paper's Fig. 7.

    Args:
        history: Metrics of the epochs, as `train_steps` returns them.
        title: Task and variant of the run.
        path: PNG file to write.
    """
    figures = [name for name in _TITLES if f"train_{name}" in history[0]]
    figure = Figure(figsize=(4.6 * len(figures), 3.9), layout="constrained")
    panels = figure.subplots(1, len(figures), squeeze=False)[0]
    for axes, name in zip(panels, figures, strict=True):
        _draw(axes, history, name)
    figure.suptitle(literal(title), fontsize=11)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130, format="png")


def _draw(axes: Axes, history: Sequence[Mapping[str, Any]], name: str) -> None:
    epochs = [m["epoch"] for m in history]
    for split, (color, label) in _STYLES.items():
        values = [m[f"{split}_{name}"] for m in history]
        marker = "o" if len(epochs) < 30 else None
        axes.plot(epochs, values, color=color, label=label, marker=marker, markersize=3)
    falls = [b["epoch"] for a, b in pairwise(history) if b["learning_rate"] < a["learning_rate"]]
    # A rate that falls with every epoch, as a cosine does, is no event.
    steady = len(falls) == len(history) - 1 > 1
    for epoch in () if steady else falls:
        axes.axvline(epoch - 0.5, color="#999999", linestyle=":", linewidth=1)
    best = [m["epoch"] for m in history if m["best"]]
    if name != "loss" and best:
        axes.axvline(best[-1], color="#2ca02c", linewidth=1, label=f"best: epoch {best[-1]}")
    axes.set_title(_TITLES[name], fontsize=9)
    axes.set_xlabel("epoch" if steady else "epoch (dotted: learning rate halved)", fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name == "loss":
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1)


def save_run(run: Path, title: str) -> None:
    """Write the curves and the page of a run into its folder, as far as it is.

    Args:
        run: The folder.
        title: Task and variant of the run.

    Raises:
        InputError: If the metrics cannot be read, or a file that is not ours is in the way.
        OSError: If there is no room.
    """
    history = read_metrics(run)
    with staging_folder(run, CURVES) as stage:
        draw_curves(history, title, stage / CURVES)
    alt = f"Loss and accuracy of {len(history)} epochs."
    picture = from_file(run / CURVES, alt, "As the paper's Fig. 7.")
    document = to_document(title, history, read_json(run / RECORD) or {}, picture)
    write_document(run / PAGE, document)


def open_events(run: Path, epoch: int) -> SummaryWriter:
    """Open an event file for TensorBoard; close it in the end.

    Args:
        run: Folder of the run.
        epoch: First epoch to write. TensorBoard forgets events of this and later epochs that an
            earlier process wrote.
    """
    return SummaryWriter(str(run / EVENTS), purge_step=epoch)


def write_events(writer: SummaryWriter, metrics: Mapping[str, Any]) -> None:
    """Add the figures of an epoch: one chart per figure, training and validation as its tags."""
    for name, value in metrics.items():
        split, _, figure = name.partition("_")
        tag = f"{figure}/{split}" if split in _STYLES else name
        if isinstance(value, float | int) and not isinstance(value, bool):
            writer.add_scalar(tag, value, metrics["epoch"])
    writer.flush()
