"""Pictures of training samples: slices, masks, weight maps, augmented samples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from musclejax import anatomy
from musclejax.data.batches import Batch, make_batch
from musclejax.data.dataset import IGNORE
from musclejax.data.sampler import Sampler, batch_origins
from musclejax.reports.pictures.style import draw_slice, legend, literal, mark

_WIDTH_IN = 3.6
_DPI = 100
_WIDE = 10
"""Weights that differ by more than this factor are shown on a logarithmic scale."""
_TITLES = ("slice", "labels", "weight between muscles", "weight map (paper, Eq. 2)")


def draw_samples(
    sampler: Sampler,
    indices: Sequence[int],
    classes: Float[np.ndarray, " k"],
    config: ConfigDict,
    augmented: int,
    path: Path,
) -> None:
    """Draw a row per slice: image, labels, border term, weight map, augmented samples.

    Args:
        sampler: Training slices.
        indices: Slices to draw.
        classes: Weight of each class.
        config: Settings of a segmentation network.
        augmented: Augmented samples per slice.
        path: PNG file to write.

    Source: the weight maps are the paper's Fig. 6.
    """
    titles = [*_TITLES, *(f"augmented {i + 1}" for i in range(augmented))]
    ones, still = [np.array([index]) for index in indices], sampler.plain()
    samples = [make_batch(still, one, one, classes, config) for one in ones]
    _, height, width, _ = samples[0].image.shape
    figure, panels = _figure(len(indices), len(titles), (height, width))
    for row, one, plain in zip(panels, ones, samples, strict=True):
        weights, labels = np.asarray(plain.weights)[0], np.asarray(plain.labels)[0]
        border = weights - classes[labels] * (weights > 0)
        row[0].text(
            0.5, 0.97, literal(str(batch_origins(sampler, one)[0])), **mark(row[0], "center")
        )
        _show(row[0], plain, labels=False)
        _show(row[1], plain, labels=True)
        _show_weights(figure, row[2], border, log=False)
        _show_weights(figure, row[3], weights, log=True)
        for seed, axes in enumerate(row[len(_TITLES) :]):
            _show(axes, make_batch(sampler, one, np.array([seed]), classes, config), labels=True)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=10, color="white")
    present = np.unique([np.asarray(plain.labels) for plain in samples]).astype(np.uint8)
    legend(figure, anatomy.REGIONS[config.task], present)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, facecolor="black", format="png")


def _figure(rows: int, columns: int, size: tuple[int, int]) -> tuple[Figure, np.ndarray]:
    height = rows * (_WIDTH_IN * size[0] / size[1] + 0.05)
    top, bottom = 0.35, 0.6
    figure = Figure(figsize=(_WIDTH_IN * columns, height + top + bottom))
    panels = figure.subplots(rows, columns, squeeze=False)
    total = height + top + bottom
    figure.subplots_adjust(0, bottom / total, 1, 1 - top / total, 0.01, 0.02)
    for axes in panels.ravel():
        axes.set_axis_off()
    return figure, panels


def _show(axes: Axes, batch: Batch, *, labels: bool) -> None:
    image, known, weights = (np.asarray(array)[0] for array in batch[:3])
    shown = np.where(weights > 0, known, IGNORE).astype(np.uint8) if labels else None
    draw_slice(axes, image[..., 0], shown, white=1.0)


def _show_weights(figure: Figure, axes: Axes, weights: np.ndarray, *, log: bool) -> None:
    positive = weights[weights > 0]
    wide = bool(positive.size) and positive.max() > _WIDE * positive.min()
    norm = LogNorm(positive.min(), positive.max()) if log and wide else None
    drawn = axes.imshow(weights, cmap="magma", norm=norm, interpolation="nearest")
    below = axes.inset_axes((0.3, 0.1, 0.4, 0.025))
    scale = figure.colorbar(drawn, cax=below, orientation="horizontal")
    scale.ax.minorticks_off()
    scale.ax.tick_params(colors="white", labelsize=8)
