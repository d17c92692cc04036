"""Muscle labels of two real pairs of lower legs, rebuilt from hand-set points.

``leg_seeds.json`` holds, for each scan, slice and limb, points in millimeters that were read off
enlarged pictures: lines along the fasciae that part two muscles, one point in each muscle, and the
vessels. This script snaps the lines to the dark fasciae of the image, floods the muscles from their
points, and writes the templates, the held-out test labels and contact sheets::

    python tools/anatomy/annotate_leg.py [--data ../shared/data] [--out .]

Drawn semi-automatically by the developers (a language model looking at enlarged pictures); no
radiologist was involved.

Keys of a limb in ``leg_seeds.json`` ("x,y x,y", in millimeters from the corner of its picture):
lines A TA/EDL, B EDL/PE, C interosseous membrane, E extensor hallucis longus, P PE/SOL, D deep
calf/SOL, M SOL/GM, L SOL/GL, G GM/GL, F deep fascia; one point or more for each of SOL, GM, GL, TA,
EDL, PE, OTHER; t and f marrow of tibia and fibula, tp and fp polygons that they lie in, c another
threshold for cortex; v vessels as "x,y,x,y,radius"; K muscles so fatty that they keep dark parts.

Every limb is handled in one frame: a right limb in radiological view, rows from anterior to
posterior, columns from lateral to medial. Left limbs are mirrored into it.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import leg_level
import matplotlib
import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import draw, graph, segmentation

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from musclejax.anatomy import SLICE_SPACING_MM as TILE_PIXEL
from musclejax.phantom.tissues import GAP, OTHER, VESSEL
from musclejax.phantom.tissues import MARROW as BONE

ANATOMY = Path(__file__).resolve().parents[2] / "musclejax" / "data" / "anatomy"
PIXEL = 0.75  # mm, working grid
TILE = 224  # pixels of a template
SOL, GM, GL, TA, EDL, PE = range(1, 7)
CODES = {"SOL": SOL, "GM": GM, "GL": GL, "TA": TA, "EDL": EDL, "PE": PE, "OTHER": OTHER}
COLORS = {
    SOL: "#e6550d", GM: "#3182bd", GL: "#31a354", TA: "#dcc800", EDL: "#c51b8a", PE: "#17becf",
    OTHER: "#9e7bd0", BONE: "#ffffff", GAP: "#7f5f3f", VESSEL: "#ff0000",
}  # fmt: skip
CORTEX = 0.25  # of the brightness of muscle: darker is cortex
BONES = {"t": (27.0, 6.0), "f": (12.0, 2.0)}  # mm, reach and marrow of tibia and fibula
OUTSIDE = 200  # marker of what is not inside the deep fascia
SMALL = 12.0  # mm2; components below are removed
SKIN = 2.5  # mm, surely outside
FAR = 20.0  # mm, signed distance to a label that a picture does not have
HOLD_OUT = (4, 2)  # every fourth annotated slice, from the third, is for testing only


@dataclass(frozen=True)
class Scan:
    """A scan with both limbs, and where each limb is on its RAS grid (columns, rows)."""

    name: str
    file: str
    license: str
    columns: dict[str, tuple[int, int]]
    rows: tuple[int, int]


SCANS = (
    Scan("test_low", "test_low.nii.gz", "BSD-3-Clause",
         {"right": (180, 262), "left": (57, 140)}, (103, 191)),
    Scan("calfA", "musclemap_dixon/calfA_siemens_TE3.45.nii.gz", "MIT",
         {"right": (312, 480), "left": (28, 200)}, (48, 196)),
)  # fmt: skip


# ---- the common frame ----


def to_frame(slab: np.ndarray, limb: str) -> np.ndarray:
    """A limb's part of a RAS slice [x, y] as a picture [row, column] in the common frame."""
    picture = slab[:, ::-1].T
    return picture[:, ::-1] if limb == "right" else picture


def from_frame(picture: np.ndarray, limb: str) -> np.ndarray:
    """The inverse of to_frame."""
    picture = picture[:, ::-1] if limb == "right" else picture
    return picture.T[:, ::-1]


def limb_picture(volume: np.ndarray, spacing: float, scan: Scan, limb: str, k: int) -> np.ndarray:
    """One limb in one slice on the working grid, shading evened out, muscle near 1."""
    slab = volume[slice(*scan.columns[limb]), slice(*scan.rows), k]
    picture = to_frame(slab, limb)
    shape = [round(n * spacing / PIXEL) for n in picture.shape]
    where = [(np.arange(n) + 0.5) * PIXEL / spacing - 0.5 for n in shape]
    grid = np.meshgrid(*where, indexing="ij")
    return even_out(ndimage.map_coordinates(picture, grid, order=3, mode="nearest"))


def even_out(picture: np.ndarray) -> np.ndarray:
    """Divide by the local brightness of muscle, found in two passes."""
    picture = picture / np.percentile(picture, 92)
    for floor, width in ((0.6, 18 / PIXEL), (0.82, 12 / PIXEL)):
        muscle = ((picture > floor) & (picture < 1.35)).astype(float)
        weight = np.maximum(ndimage.gaussian_filter(muscle, width), 1e-3)
        local = ndimage.gaussian_filter(picture * muscle, width) / weight
        picture = picture / np.clip(local, 0.5, 2)
    return np.clip(picture, 0, 2)


# ---- one limb ----


def points(text: str) -> np.ndarray:
    """'x,y x,y' in millimeters as pixel coordinates [n, (row, column)]."""
    xy = np.array([[float(v) for v in pair.split(",")] for pair in text.split()])
    return xy[:, ::-1] / PIXEL - 0.5


def disk(shape: tuple[int, int], center: np.ndarray, radius: float) -> np.ndarray:
    """Pixels within radius (mm) of a center in pixels."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - center[0], columns - center[1]) * PIXEL <= radius


def bone(picture: np.ndarray, seeds: dict[str, str], name: str) -> np.ndarray:
    """Dark cortex round the marrow point of a bone, filled; within a polygon if one is given."""
    seed = points(seeds[name])[0]
    reach, marrow = BONES[name]
    near = disk(picture.shape, seed, reach)
    near &= ndimage.binary_erosion(body_mask(picture), iterations=round(SKIN / PIXEL))
    if name + "p" in seeds:
        near &= draw.polygon2mask(picture.shape, points(seeds[name + "p"]))
    smooth = ndimage.gaussian_filter(picture, 0.4)
    dark = near & (smooth < float(seeds.get("c", CORTEX)))
    core = disk(picture.shape, seed, marrow)
    solid = ndimage.binary_fill_holes(ndimage.binary_closing(dark | core, iterations=2))
    cross = ndimage.generate_binary_structure(2, 1)
    solid = ndimage.binary_opening(solid & near, cross, round(1.5 / PIXEL))
    parts, _ = ndimage.label(solid)
    mine = parts == parts[tuple(np.round(seed).astype(int))]
    mine |= ndimage.binary_dilation(mine) & (smooth < 0.5)
    return ndimage.gaussian_filter(mine.astype(float), 1.2) > 0.5


def body_mask(picture: np.ndarray) -> np.ndarray:
    """The limb with its skin."""
    bright = ndimage.binary_closing(ndimage.gaussian_filter(picture, 1) > 0.15, iterations=3)
    bright = ndimage.binary_opening(ndimage.binary_fill_holes(bright), iterations=3)
    parts, _ = ndimage.label(bright)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def without_dents(region: np.ndarray, window: float = 4.0) -> np.ndarray:
    """A region with its outline smoothed in polar coordinates; window in degrees."""
    center = np.array(ndimage.center_of_mass(region))
    angle = np.deg2rad(np.arange(0, 360, 0.5))
    radius = np.arange(0, 85, 0.25) / PIXEL
    rows = center[0] + np.outer(np.sin(angle), radius)
    columns = center[1] + np.outer(np.cos(angle), radius)
    within = ndimage.map_coordinates(region.astype(float), [rows, columns], order=1) > 0.5
    line = radius[radius.size - 1 - np.argmax(within[:, ::-1], axis=1)]
    line = ndimage.median_filter(line, round(2 * window) | 1, mode="wrap")
    line = ndimage.gaussian_filter1d(line, window / 2, mode="wrap")
    grid = np.indices(region.shape).reshape(2, -1) - center[:, None]
    limit = np.interp(np.arctan2(grid[0], grid[1]) % (2 * np.pi), angle, line, period=2 * np.pi)
    return (np.hypot(*grid) <= limit).reshape(region.shape)


def snapped(picture: np.ndarray, line: np.ndarray, corridor: float = 1.8) -> np.ndarray:
    """A mask of the darkest path along a line drawn by hand, within corridor mm of it."""
    low, high = [0, 0], np.array(picture.shape) - 1
    line = np.clip(line, low, high)
    drawn = drawn_line(picture.shape, line)
    off = ndimage.distance_transform_edt(~drawn) * PIXEL
    smooth = ndimage.gaussian_filter(picture, 0.7)
    ridge = smooth - ndimage.gaussian_filter(picture, 3.0)
    cost = 0.15 + np.clip(ridge + 0.25, 0, 0.6) + 0.06 * off**2 + 20.0 * (off > corridor)
    ends = [tuple(np.round(p).astype(int)) for p in (line[0], line[-1])]
    path, _ = graph.route_through_array(cost, *ends, fully_connected=True, geometric=True)
    mask = np.zeros(picture.shape, bool)
    mask[tuple(np.array(path).T)] = True
    return mask


def drawn_line(shape: tuple[int, int], line: np.ndarray) -> np.ndarray:
    """A mask of a polyline in pixels."""
    mask = np.zeros(shape, bool)
    line = np.clip(line, 0, np.array(shape) - 1)
    for a, b in pairwise(line):
        t = np.linspace(0, 1, int(2 * np.hypot(*(b - a))) + 2)[:, None]
        mask[tuple(np.round(a + t * (b - a)).astype(int).T)] = True
    return mask


def markers_of(picture: np.ndarray, bones: np.ndarray, seeds: dict[str, str]) -> np.ndarray:
    """Where each label surely is: points set by hand, the bones, the skin and the air."""
    markers = np.zeros(picture.shape, np.uint8)
    deep = ndimage.binary_erosion(body_mask(picture), iterations=round(SKIN / PIXEL))
    markers[~deep] = OUTSIDE
    for name, code in CODES.items():
        for row, column in np.round(points(seeds[name])).astype(int) if name in seeds else ():
            markers[row - 1 : row + 2, column - 1 : column + 2] = code
    markers[bones] = BONE
    return markers


def label_limb(picture: np.ndarray, seeds: dict[str, str]) -> np.ndarray:
    """All labels of one limb in one slice, on the working grid."""
    bones = bone(picture, seeds, "t") | bone(picture, seeds, "f")
    barrier = np.zeros(picture.shape, bool)
    for name in "ABCEPDMLGF":
        for part in seeds[name].split(" / ") if name in seeds else ():
            barrier |= snapped(picture, points(part))
    markers = markers_of(picture, bones, seeds)
    markers[barrier & (markers != BONE) & (markers != OUTSIDE)] = 0
    height = np.where(barrier, 3.0, np.clip(1 - ndimage.gaussian_filter(picture, 0.7), 0, 1))
    labels = segmentation.watershed(height, markers, connectivity=1)
    region = without_dents((labels != OUTSIDE) | bones) | bones
    muscle = np.where(np.isin(labels, (OUTSIDE, BONE)), 0, labels)
    muscle = smoothed(muscle, 1.2)
    muscle[region & (muscle == 0)] = GAP
    muscle[~region] = 0
    fatty = [CODES[name] for name in seeds.get("K", "").split()]
    return with_tissues(picture, muscle, bones, seeds.get("v", ""), fatty)


def without_small_components(labels: np.ndarray) -> np.ndarray:
    """Turn small connected components of muscle into gap, and such holes in muscle into muscle."""
    labels = labels.copy()
    for code in CODES.values():
        parts, _ = ndimage.label(labels == code)
        small = np.bincount(parts.ravel()) * PIXEL**2 < SMALL
        labels[(parts > 0) & small[parts]] = GAP
    for code in CODES.values():
        holes, _ = ndimage.label(ndimage.binary_fill_holes(labels == code) & (labels == GAP))
        small = np.bincount(holes.ravel()) * PIXEL**2 < SMALL
        labels[(holes > 0) & small[holes]] = code
    return labels


def with_tissues(
    picture: np.ndarray, labels: np.ndarray, bones: np.ndarray, vessels: str, fatty: list[int]
) -> np.ndarray:
    """Add the vessels, the dark or fatty gaps between muscles, and the bones.

    Muscles that are fatty themselves keep their dark parts, but for a thin rim.
    """
    edge = segmentation.find_boundaries(labels, connectivity=1, mode="thick")
    reach = np.where(np.isin(labels, fatty), 1.0, 2.2)
    near = ndimage.distance_transform_edt(~edge) * PIXEL < reach
    labels = labels.copy()
    labels[near & (labels > 0) & (ndimage.gaussian_filter(picture, 0.5) < 0.76)] = GAP
    labels = without_small_components(labels)
    for text in vessels.split():
        *ends, radius = (float(v) for v in text.split(","))
        labels[capsule(labels.shape, ends, radius) & (labels > 0)] = VESSEL
    labels[bones] = BONE
    return labels


def capsule(shape: tuple[int, int], ends: list[float], radius: float) -> np.ndarray:
    """Pixels within radius of the line from x0, y0 to x1, y1, all in millimeters."""
    x0, y0, x1, y1 = ends
    y, x = (np.indices(shape) + 0.5) * PIXEL
    length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-6)
    t = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
    return np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)) <= radius


# ---- from one grid to another ----


def distances(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Signed distance (mm) of each label, positive inside."""
    found = {}
    for code in [0, *COLORS]:
        mask = labels == code
        if mask.any():
            inner = ndimage.distance_transform_edt(mask)
            outer = ndimage.distance_transform_edt(~mask)
            found[code] = np.clip((inner - outer) * PIXEL, -FAR, FAR)
    return found


def strongest(fields: dict[int, np.ndarray]) -> np.ndarray:
    """The label whose distance is the largest at each pixel."""
    codes = np.array(list(fields), np.uint8)
    return codes[np.argmax(np.stack(list(fields.values())), axis=0)]


def smoothed(labels: np.ndarray, width: float) -> np.ndarray:
    """Labels with their borders smoothed; width in pixels."""
    return strongest({c: ndimage.gaussian_filter(f, width) for c, f in distances(labels).items()})


def sampled(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Labels at the crossings of rows and columns (working pixels), by signed distance."""
    grid = np.meshgrid(rows, columns, indexing="ij")
    return strongest(
        {
            code: ndimage.map_coordinates(field, grid, order=1, mode="constant",
                                          cval=FAR if code == 0 else -FAR)
            for code, field in distances(labels).items()
        }
    )  # fmt: skip


def halfway(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Labels midway between two slices of a limb."""
    a, b = distances(one), distances(other)
    absent = np.full(one.shape, -FAR)
    codes = [code for code in [0, *COLORS] if code in a or code in b]
    return strongest({c: a.get(c, absent) + b.get(c, absent) for c in codes})


def tile(labels: np.ndarray) -> np.ndarray:
    """A template [column, row] of TILE_PIXEL, centered on the labeled box."""
    middle = [(i.min() + i.max()) / 2 for i in np.nonzero(labels)]
    offset = (np.arange(TILE) - (TILE - 1) / 2) * TILE_PIXEL / PIXEL
    return sampled(labels, middle[0] + offset, middle[1] + offset).T


# ---- everything ----

Labeled = dict[tuple[int, str], np.ndarray]


def label_scan(data: Path, scan: Scan, seeds: dict) -> tuple[nib.Nifti1Image, Labeled, Labeled]:
    """The scan (RAS), and the pictures and labels of all its annotated slices and limbs."""
    image = nib.as_closest_canonical(nib.load(data / scan.file))
    volume, spacing = image.get_fdata(), float(image.header.get_zooms()[0])
    pictures, labels = {}, {}
    for level, limbs in seeds[scan.name].items():
        for limb, marks in limbs.items():
            key = int(level), limb
            pictures[key] = limb_picture(volume, spacing, scan, limb, key[0])
            labels[key] = label_limb(pictures[key], marks)
    return image, pictures, labels


def group(levels: list[int], level: int) -> str:
    """Whether an annotated slice is for training or held out."""
    every, first = HOLD_OUT
    return "held_out" if levels.index(level) % every == first else "train"


def templates(scan: Scan, thickness: float, labels: Labeled) -> list[tuple[dict, np.ndarray]]:
    """The tiles of a scan with their table rows: annotated slices first, then those between."""
    levels = sorted({k for k, _ in labels})
    made = []
    for (k, limb), drawn in labels.items():
        row = {"subject": scan.name, "limb": limb, "level_mm": k * thickness,
               "group": group(levels, k), "source": scan.license}  # fmt: skip
        made.append((row, tile(drawn)))
    for low, high in pairwise(levels):
        if {group(levels, low), group(levels, high)} != {"train"}:
            continue
        for limb in scan.columns:
            row = {"subject": scan.name, "limb": limb, "level_mm": (low + high) / 2 * thickness,
                   "group": "train", "source": "interpolated"}  # fmt: skip
            made.append((row, tile(halfway(labels[low, limb], labels[high, limb]))))
    return made


def held_out_map(image: nib.Nifti1Image, original: nib.Nifti1Image, scan: Scan,
                 labels: Labeled) -> nib.Nifti1Image:  # fmt: skip
    """Muscle labels of the held-out slices on the grid of the scan's file."""
    spacing = float(image.header.get_zooms()[0])
    levels = sorted({k for k, _ in labels})
    volume = np.zeros(image.shape, np.uint8)
    for (k, limb), drawn in labels.items():
        if group(levels, k) == "train":
            continue
        (c0, c1), (r0, r1) = scan.columns[limb], scan.rows
        rows, columns = ((np.arange(n) + 0.5) * spacing / PIXEL - 0.5 for n in (r1 - r0, c1 - c0))
        picture = sampled(drawn, rows, columns)
        volume[c0:c1, r0:r1, k] = from_frame(np.where(picture <= PE, picture, 0), limb)
    back = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.io_orientation(original.affine)
    )
    volume = nib.orientations.apply_orientation(volume, back)
    return nib.Nifti1Image(volume, original.affine)


def overlay(axes: plt.Axes, picture: np.ndarray, labels: np.ndarray | None) -> None:
    """One picture, with colored labels if given."""
    gray = np.clip((picture - 0.1) / 1.2, 0, 1)[..., None].repeat(3, -1)
    for code, color in COLORS.items() if labels is not None else ():
        mask = labels == code
        gray[mask] = 0.62 * gray[mask] + 0.38 * np.array(matplotlib.colors.to_rgb(color))
    axes.imshow(gray, interpolation="bilinear")
    for code, color in COLORS.items() if labels is not None else ():
        if code != GAP and (labels == code).any():
            axes.contour(labels == code, [0.5], colors=[color], linewidths=0.6)
    axes.axis("off")


def contact_sheet(path: Path, scan: Scan, pictures: Labeled, labels: Labeled) -> None:
    """All annotated slices of both limbs, image beside overlay."""
    levels = sorted({k for k, _ in labels})
    tallest = max(np.ptp(np.nonzero(body_mask(p))[0]) for p in pictures.values())
    widest = max(np.ptp(np.nonzero(body_mask(p))[1]) for p in pictures.values())
    size = 12, 3 * len(levels) * tallest / widest
    figure, grid = plt.subplots(len(levels), 4, figsize=size)
    for k, line in zip(levels, grid, strict=True):
        for pair, limb in zip((line[:2], line[2:]), ("right", "left"), strict=True):
            picture = pictures[k, limb]
            middle = [(i.min() + i.max()) / 2 for i in np.nonzero(body_mask(picture))]
            for axes, drawn in zip(pair, (None, labels[k, limb]), strict=True):
                overlay(axes, picture, drawn)
                axes.set_xlim(middle[1] - widest / 2, middle[1] + widest / 2)
                axes.set_ylim(middle[0] + tallest / 2, middle[0] - tallest / 2)
            text = f"slice {k} {limb} {group(levels, k)}"
            pair[0].text(0.01, 0.96, text, color="w", fontsize=6, transform=pair[0].transAxes)
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    Image.open(path).convert("RGB").save(path, quality=75, method=6)


def add_levels(made: list[tuple[dict, np.ndarray]]) -> None:
    """Add the level of every tile to its row; needs the whole limbs of `build_limbs.py`."""
    known = leg_level.profiles(ANATOMY)
    for scan in SCANS:
        own = [(row, picture.T) for row, picture in made if row["subject"] == scan.name]
        heights = np.array([row["level_mm"] for row, _ in own])
        levels = leg_level.fit(np.stack([picture for _, picture in own]), heights, known)
        for (row, _), level in zip(own, levels, strict=True):
            row["level"] = f"{level:.4f}"


def write_templates(folder: Path, made: list[tuple[dict, np.ndarray]]) -> None:
    """leg.nii.gz and leg.csv."""
    stack = np.stack([picture for _, picture in made], axis=-1).astype(np.uint8)
    affine = np.diag([-TILE_PIXEL, -TILE_PIXEL, 1.0, 1.0])
    nib.save(nib.Nifti1Image(stack, affine), folder / "leg.nii.gz")
    with (folder / "leg.csv").open("w", newline="") as file:
        columns = ["tile", "subject", "limb", "level_mm", "level", "group", "source"]
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({"tile": i, **row} for i, (row, _) in enumerate(made))


def main() -> None:
    """Rebuild everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(), help="root of the repository")
    args = parser.parse_args()
    seeds = json.loads(Path(__file__).with_name("leg_seeds.json").read_text())
    folders = [
        args.out / f for f in ("musclejax/data/anatomy", "tests/annotations/leg", "docs/anatomy")
    ]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    made = []
    for scan in SCANS:
        image, pictures, labels = label_scan(args.data, scan, seeds)
        made += templates(scan, float(image.header.get_zooms()[2]), labels)
        test = held_out_map(image, nib.load(args.data / scan.file), scan, labels)
        nib.save(test, folders[1] / Path(scan.file).name)
        contact_sheet(folders[2] / f"leg_{scan.name}.webp", scan, pictures, labels)
    add_levels(made)
    write_templates(folders[0], made)


if __name__ == "__main__":
    main()
