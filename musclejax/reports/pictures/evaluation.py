"""Overlays on axial slices (paper, Fig. 8 to 10) and coronal and sagittal views (Fig. 11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from musclejax.evaluation.scene import Scene
from musclejax.reports.pictures.outlines import draw_outlines, draw_tint, letter, write_figure
from musclejax.reports.pictures.style import draw_slice, legend, literal

_WIDTH_IN = 14.0
_WIDE_IN = 20.0
_TITLE_IN = 0.32
_LEGEND_IN = 0.65
_HEAD_IN = 0.7
_WHITE = 255.0
"""Brightest value of a scene's image."""
_REFERENCE_LINE: dict[str, Any] = {"colors": ["white"], "linewidths": 0.6}
CAPTION = "white lines over the prediction: the reference"


@dataclass(frozen=True, eq=False)
class Row:
    """One case in a picture of axial slices.

    Attributes:
        title: Text above it.
        scene: The case, with the slices that are drawn.
        dsc: Mean DSC of each of these slices.
    """

    title: str
    scene: Scene
    dsc: Sequence[float]


def draw_overlays(rows: Sequence[Row], heading: str, path: Path) -> None:
    """Draw scan, reference and prediction of slices, a row each (paper, Fig. 8).

    Anterior is up and the patient's right on the left of the picture.

    Args:
        rows: One slice each, all of one region.
        heading: Title of the picture.
        path: PNG file to write.
    """
    kinds = ["scan", "reference", "prediction"]
    kinds = kinds if all(row.scene.shows_scan for row in rows) else kinds[1:]
    figure, panels = _axial_figure(rows, len(kinds), heading, CAPTION, _WIDTH_IN)
    for line, row in zip(panels, rows, strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            _draw_axial(axes, row.scene, 0, kind)
            axes.set_title(kind, color="white", fontsize=9, loc="right", pad=4)
        scene = row.scene
        title = f"{row.title}: {scene.case}, slice {scene.slices[0]}, DSC {row.dsc[0]:.2f}"
        line[0].set_title(
            literal(title), color="white", fontsize=11, weight="bold", loc="left", pad=4
        )
    _finish(figure, [row.scene for row in rows], path)


def draw_subjects(rows: Sequence[Row], heading: str, path: Path) -> None:
    """Draw bottom, inner and top slice of each test subject (paper, Fig. 9 and 10).

    Args:
        rows: Up to three slices each, all of one region; reference and prediction side by side.
        heading: Title of the picture.
        path: PNG file to write.
    """
    most = max(len(row.dsc) for row in rows)
    caption = f"each pair: reference, prediction; {CAPTION}"
    figure, panels = _axial_figure(rows, 2 * most, heading, caption, _WIDE_IN)
    for line, row in zip(panels, rows, strict=True):
        for z, (index, dsc) in enumerate(zip(row.scene.slices, row.dsc, strict=True)):
            reference, prediction = line[2 * z : 2 * z + 2]
            _draw_axial(reference, row.scene, z, "reference")
            _draw_axial(prediction, row.scene, z, "prediction")
            title = f"slice {index}, DSC {dsc:.2f}"
            prediction.set_title(title, color="white", fontsize=8, loc="right", pad=3)
        line[0].set_title(
            literal(row.title), color="white", fontsize=9, weight="bold", loc="left", pad=3
        )
    _finish(figure, [row.scene for row in rows], path)


def draw_views(scene: Scene, heading: str, path: Path) -> None:
    """Draw two coronal and two sagittal views, the reference above, the prediction below.

    Head is up; in coronal views the patient's right is on the left of the picture, in sagittal
    ones anterior is. The planes lie where the reference has most to show.

    Source: paper, Fig. 11.
    """
    x_mm, y_mm, z_mm = scene.spacing_mm
    coronal, sagittal = _coronal_planes(scene), _sagittal_planes(scene)
    n_x, n_y, n_z = scene.image.shape
    widths = [n_x * x_mm] * len(coronal) + [n_y * y_mm] * len(sagittal)
    height = _WIDTH_IN * n_z * z_mm / sum(widths)
    total = 2 * (height + _TITLE_IN) + _HEAD_IN + _LEGEND_IN
    figure = Figure(figsize=(_WIDTH_IN, total))
    panels = figure.subplots(2, len(widths), squeeze=False, width_ratios=widths)
    _place(figure, total, 2, heading, CAPTION)
    cuts = [(1, y, z_mm / x_mm, "RL") for y in coronal] + [
        (0, x, z_mm / y_mm, "AP") for x in sagittal
    ]
    for kind, line in zip(("reference", "prediction"), panels, strict=True):
        for axes, (axis, index, aspect, marks) in zip(line, cuts, strict=True):
            _draw_plane(axes, scene, kind, axis, index, aspect, marks)
    for axes, side in zip(panels[0, len(coronal) :], sagittal.values(), strict=True):
        axes.set_title(f"sagittal, {side}", color="white", fontsize=9, pad=4)
    for axes, where in zip(panels[0], coronal.values(), strict=False):
        axes.set_title(f"coronal, {where}", color="white", fontsize=9, pad=4)
    for axes, kind in zip(panels[:, 0], ("reference", "prediction"), strict=True):
        axes.set_title(kind, color="white", fontsize=11, weight="bold", loc="left", pad=4)
    _finish(figure, [scene], path)


def _axial_figure(
    rows: Sequence[Row], columns: int, heading: str, caption: str, width: float
) -> tuple[Figure, list[list[Axes]]]:
    ratio = max(_ratio(row.scene) for row in rows)
    height = width / columns * ratio
    total = len(rows) * (height + _TITLE_IN) + _HEAD_IN + _LEGEND_IN
    figure = Figure(figsize=(width, total))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    _place(figure, total, len(rows), heading, caption)
    for axes in panels.ravel():
        axes.set_axis_off()
    return figure, [list(line) for line in panels]


def _place(figure: Figure, total: float, rows: int, heading: str, caption: str) -> None:
    panel = (total - _HEAD_IN - _LEGEND_IN) / rows - _TITLE_IN
    top, bottom = 1 - (_HEAD_IN + _TITLE_IN - 0.1) / total, (_LEGEND_IN + 0.1) / total
    figure.subplots_adjust(0.005, bottom, 0.995, top, 0.02, _TITLE_IN / panel)
    figure.text(
        0.5, 1 - 0.1 / total, literal(heading), color="white", fontsize=14, ha="center", va="top"
    )
    where: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9}
    figure.text(0.5, 1 - 0.42 / total, caption, color="white", **where)


def _ratio(scene: Scene) -> float:
    (width, height, _), (x_mm, y_mm, _) = scene.image.shape, scene.spacing_mm
    return height * y_mm / (width * x_mm)


def _draw_axial(axes: Axes, scene: Scene, z: int, kind: str) -> None:
    labels = {
        "scan": np.zeros_like(scene.reference),
        "reference": scene.reference,
        "prediction": scene.prediction,
    }[kind][..., z].T
    aspect = scene.spacing_mm[1] / scene.spacing_mm[0]
    draw_slice(axes, scene.image[..., z].T, labels, _WHITE, aspect)
    if kind == "prediction":
        draw_outlines(axes, scene.reference[..., z].T, **_REFERENCE_LINE)


def _draw_plane(
    axes: Axes, scene: Scene, kind: str, axis: int, index: int, aspect: float, marks: str
) -> None:
    """Draw a coronal (axis 1) or sagittal (axis 0) view; `marks` stand at its left and right."""
    image, reference, prediction = (
        a.take(index, axis).T for a in (scene.image, scene.reference, scene.prediction)
    )
    image = image * scene.gain[:, None]
    options: dict[str, Any] = {"origin": "lower", "aspect": aspect}
    gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": _WHITE}
    axes.set_axis_off()
    axes.imshow(image, interpolation="bilinear", **gray, **options)
    draw_tint(axes, prediction if kind == "prediction" else reference, **options)
    if kind == "prediction":
        draw_outlines(axes, reference, **_REFERENCE_LINE)
    for x, y, text in (
        (0.03, 0.5, marks[0]),
        (0.97, 0.5, marks[1]),
        (0.5, 0.97, "H"),
        (0.5, 0.03, "F"),
    ):
        letter(axes, x, y, text)


def _coronal_planes(scene: Scene) -> dict[int, str]:
    """Return y index -> name of two planes, at 30 and 70 % of the labeled voxels."""
    front, back = _quantiles(scene.reference, 1, (0.3, 0.7))
    return {front: "anterior", back: "posterior"}


def _sagittal_planes(scene: Scene) -> dict[int, str]:
    """Return x index -> name: the middle of each limb, or two planes of a lone one."""
    limbs = [scene.reference * (scene.sides == side) for side in (2, 1)]
    if all(limb.any() for limb in limbs):
        right, left = (_quantiles(limb, 0, (0.5,))[0] for limb in limbs)
        return {right: "right", left: "left"}
    low, high = _quantiles(scene.reference, 0, (0.3, 0.7))
    return {low: "nearer to the right", high: "nearer to the left"}


def _quantiles(labels: np.ndarray, axis: int, shares: Sequence[float]) -> list[int]:
    """Return the indices on an axis at which these shares of the labeled voxels are reached."""
    profile = (labels > 0).sum(tuple({0, 1, 2} - {axis})).astype(float)
    share = np.cumsum(profile) / max(1.0, profile.sum())
    return [min(int(np.searchsorted(share, s)), len(share) - 1) for s in shares]


def _finish(figure: Figure, scenes: Sequence[Scene], path: Path) -> None:
    present = reduce(np.union1d, [scene.present for scene in scenes]).astype(np.uint8)
    legend(figure, scenes[0].anatomy, present)
    write_figure(figure, path)
