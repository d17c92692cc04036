"""Annotate a few slices of real thigh scans, and one of a leg, from outlines drawn by eye.

    python tools/anatomy/annotate_thigh.py --data ../shared/data

`thigh_seeds.json` holds, for every muscle, bone and large vessel, a rough outline read off
enlarged pictures with a coordinate grid: [row, column] of the slice seen in radiological view
(patient's right on the left, anterior up). Outlines shrunk a little are seeds; a watershed on the
image, where fat borders are dark, finds the border between them. Muscles in `as_drawn` keep their
outline: fat inside them is as dark as their border. IGNORE outlines muscle that nobody can name:
255.

`set` says where a scan's label map goes, on the scan's own grid: `thigh` (drawn for test (c) of
docs/weights.md), `upper_third` and `leg` lie in `tests/annotations/` and are for testing only. A
contact sheet for each set goes to `docs/anatomy/`. Scans of `training` become whole tissue maps
beside this script: `thigh_drawn.nii.gz` and `.csv`, tiles like those of `build_thigh.py`.

The outlines are the developers' (a language model looking at enlarged pictures); no radiologist
was involved.

Source: ours.
"""

import argparse
import csv
import json
from collections.abc import Collection
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from build_thigh import to_tile
from matplotlib.patches import Patch
from PIL import Image
from scipy import ndimage as ndi
from skimage.draw import polygon2mask
from skimage.segmentation import watershed
from thigh_tissues import fascia, largest

from musclejax.anatomy import COLORS, REGIONS
from musclejax.anatomy import SLICE_SPACING_MM as TILE_MM
from musclejax.phantom.tissues import FEMORAL, GAP, UNKNOWN
from musclejax.phantom.tissues import MARROW as BONE
from musclejax.phantom.tissues import OTHER as OTHER_MUSCLE

ROOT = Path(__file__).resolve().parents[2]
SEEDS = Path(__file__).with_name("thigh_seeds.json")
NUMBERS = {m.abbreviation: m.number for region in REGIONS.values() for m in region.muscles}
OUTSIDE, OTHER = 100, 101
"""Seeds of what is not a muscle: outside, and bone, vessels or fat inside."""
SHRINK_MM, REACH_PX = 1.6, 2.2
"""How far inside its outline a seed ends; how far outside it a muscle may reach, in pixels."""
DARK = 0.55
"""A pixel darker than this share of its surroundings is a border or fat, not muscle."""
IGNORE = 255
"""Muscle that nobody can name."""
ECHO_MS, PERIOD_MS = 3.45, 2.3
"""Echo time of the pictures made from fat and water images; see `tools/real_tests.py`."""
TISSUES = {"OTHER": OTHER_MUSCLE, "BONE": BONE, "VESSEL": FEMORAL, "IGNORE": UNKNOWN}
"""First letters of outlines that are not a muscle of ours -> their code in a template."""
SHEETS = {
    "thigh": "thigh_test_levels.webp",
    "upper_third": "thigh_upper_third.webp",
    "training": "thigh_training_levels.webp",
    "leg": "leg_wholeleg.webp",
}
"""Set -> its contact sheet in `docs/anatomy`."""

Outlines = dict[str, list[list[float]]]


def radiological(volume: np.ndarray) -> np.ndarray:
    """Return a canonical (RAS) volume as [slice, row, column] in radiological view."""
    return volume[::-1, ::-1].transpose(2, 1, 0)


def seeds(outlines: Outlines, shape: tuple[int, int], pixel: float) -> tuple[np.ndarray, ...]:
    """Return the seeds of a watershed and the region in which it may label."""
    marks = np.zeros(shape, np.int32)
    reach = np.zeros(shape, bool)
    for name, points in outlines.items():
        mask = polygon2mask(shape, np.array(points))
        depth = ndi.distance_transform_edt(mask) * pixel
        shrink = SHRINK_MM if name in NUMBERS else 0.5
        seed = depth > min(shrink, 0.45 * depth.max())
        marks[seed & ((marks == 0) | (name not in NUMBERS))] = NUMBERS.get(name, OTHER)
        reach |= ndi.distance_transform_edt(~mask) < REACH_PX
    marks[~reach] = OUTSIDE
    return marks, reach


def annotate(
    image: np.ndarray, outlines: Outlines, pixel: float, as_drawn: Collection[str] = ()
) -> np.ndarray:
    """Return labels of one limb in one slice."""
    unknown = {name: points for name, points in outlines.items() if name.startswith("IGNORE")}
    outlines = {name: points for name, points in outlines.items() if name not in unknown}
    marks, reach = seeds(outlines, image.shape, pixel)
    muscle = (marks > 0) & (marks < OUTSIDE)
    weight = ndi.gaussian_filter(muscle.astype(float), 12 / pixel)
    tone = ndi.gaussian_filter(np.where(muscle, image, 0.0), 12 / pixel) / (weight + 1e-3)
    relative = ndi.gaussian_filter(image, 0.4 / pixel) / (tone + 1e-6)
    labels = watershed(-np.minimum(relative, 1.0), marks, mask=reach | (marks == OUTSIDE))
    labels[(labels >= OUTSIDE) | ((relative < DARK) & ~muscle)] = 0
    out = np.zeros(image.shape, np.uint8)
    for name in sorted(outlines, key=lambda name: name in as_drawn):
        number = NUMBERS.get(name)
        if number is not None:
            mask = labels == number
            if name in as_drawn:
                mask = polygon2mask(image.shape, np.array(outlines[name]))
            soft = ndi.gaussian_filter(mask.astype(np.float32), 0.8)
            out[ndi.binary_fill_holes(largest(soft > 0.5)) & (out == 0)] = number
    for points in unknown.values():
        out[polygon2mask(image.shape, np.array(points)) & (out == 0)] = IGNORE
    return out


def tissues(labels: np.ndarray, outlines: Outlines, pixel: float) -> np.ndarray:
    """Return a whole tissue map of one limb: everything inside the deep fascia."""
    out = np.where(labels == IGNORE, 0, labels).astype(np.uint8)
    for start, code in TISSUES.items():
        for name, points in outlines.items():
            if name.startswith(start):
                out[polygon2mask(out.shape, np.array(points)) & (out == 0)] = code
    inside = polygon2mask(out.shape, np.array(outlines["FASCIA"])) if "FASCIA" in outlines else None
    out[(fascia(out > 0) if inside is None else inside | (out > 0)) & (out == 0)] = GAP
    return out


def load(data: Path, name: str) -> nib.Nifti1Image:
    """Return a scan, or the gradient echo of a pair of fat and water images."""
    if (data / name).exists():
        return nib.load(data / name)
    fat, water = (nib.load(data / f"{name}_000{channel}.nii.gz") for channel in (0, 1))
    phase = np.exp(2j * np.pi * ECHO_MS / PERIOD_MS)
    echo = np.abs(water.get_fdata() + fat.get_fdata() * phase)
    return nib.Nifti1Image(echo.astype(np.float32), water.affine)


def annotate_scan(scan: nib.Nifti1Image, entry: dict) -> np.ndarray:
    """Return labels [slice, row, column] in radiological view; other slices are 0."""
    images = radiological(np.asanyarray(scan.dataobj).astype(float))
    labels = np.zeros(images.shape, np.uint8)
    pixel = float(scan.header.get_zooms()[0])
    for index, limbs in entry["levels"].items():
        for outlines in limbs.values():
            limb = annotate(images[int(index)], outlines, pixel, entry.get("as_drawn", ()))
            labels[int(index)] = np.where(limb > 0, limb, labels[int(index)])
    return labels


def save(labels: np.ndarray, scan: nib.Nifti1Image, original: nib.Nifti1Image, path: Path) -> None:
    """Write labels on the grid of the scan's file."""
    image = nib.Nifti1Image(labels.transpose(2, 1, 0)[::-1, ::-1], scan.affine)
    back = nib.orientations.ornt_transform(
        nib.io_orientation(scan.affine), nib.io_orientation(original.affine)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(back), path)


def tiles(labels: np.ndarray, scan: nib.Nifti1Image, entry: dict) -> list[tuple[list, np.ndarray]]:
    """Return each annotated limb as a row of the table and a template."""
    pixel, _, thickness = (float(zoom) for zoom in scan.header.get_zooms()[:3])
    half, made = labels.shape[2] // 2, []
    for index, limbs in entry["levels"].items():
        for limb, outlines in limbs.items():
            own = np.zeros(labels.shape[1:], bool)
            own[:, slice(0, half) if limb == "right" else slice(half, None)] = True
            whole = tissues(np.where(own, labels[int(index)], 0), outlines, pixel)
            picture = to_tile(whole if limb == "right" else whole[:, ::-1], pixel)
            picture[ndi.binary_fill_holes(picture > 0) & (picture == 0)] = GAP
            row = [entry["subject"], limb, f"{int(index) * thickness:g}", "train", entry["license"]]
            made.append((row, picture))
    return made


def write_tiles(made: list[tuple[list, np.ndarray]], path: Path) -> None:
    """Write templates, axis 0 columns and axis 1 rows, and their table."""
    stack = np.stack([picture.T for _, picture in made], axis=2)
    nib.save(nib.Nifti1Image(stack, np.diag([-TILE_MM, -TILE_MM, 1, 1])), path)
    with path.with_name("thigh_drawn.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["tile", "subject", "limb", "level_mm", "group", "source"])
        table.writerows([i, *row] for i, (row, _) in enumerate(made))


def show(images: list[np.ndarray], maps: list[np.ndarray], names: list[str], path: Path) -> None:
    """Draw every annotated slice beside its overlay."""
    lut = np.full((256, 3), 0.9)
    lut[:13] = np.array([COLORS[k] for k in range(13)]) / 255
    figure, axes = plt.subplots(len(images), 2, figsize=(13, 3.6 * len(images)), squeeze=False)
    for row, image, labels, name in zip(axes, images, maps, names, strict=True):
        rows, cols = np.nonzero(labels)
        box = (
            slice(max(rows.min() - 14, 0), rows.max() + 14),
            slice(max(cols.min() - 14, 0), cols.max() + 14),
        )
        gray = np.clip(image[box] / float(np.percentile(image[box], 99)), 0, 1)
        gray = gray.astype(float)[..., None].repeat(3, -1)
        mark = labels[box][..., None] > 0
        row[0].imshow(gray, interpolation="bicubic")
        row[1].imshow(np.clip(np.where(mark, 0.55 * gray + 0.45 * lut[labels[box]], gray), 0, 1))
        row[0].set_title(name, fontsize=9, loc="left")
        for axis in row:
            axis.axis("off")
    muscles = REGIONS["leg" if path.name.startswith("leg") else "thigh"].muscles
    handles = [Patch(color=np.divide(m.color, 255), label=m.abbreviation) for m in muscles]
    figure.legend(handles=handles, loc="lower center", ncol=12, fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=75)
    plt.close(figure)
    Image.open(path).convert("RGB").save(path, quality=50, method=6)


def main() -> None:
    """Annotate all slices in the table of outlines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    sheets: dict[str, list[tuple[np.ndarray, np.ndarray, str]]] = {}
    drawn: list[tuple[list, np.ndarray]] = []
    for entry in json.loads(SEEDS.read_text()).values():
        original = load(data, entry["scan"])
        scan = nib.as_closest_canonical(original)
        labels = annotate_scan(scan, entry)
        name = entry.get("name", Path(entry["scan"]).name.removesuffix(".nii.gz"))
        if entry["set"] == "training":
            drawn += tiles(labels, scan, entry)
        else:
            path = ROOT / "tests/annotations" / entry["set"] / f"{name}.nii.gz"
            save(labels, scan, original, path)
        for index in map(int, entry["levels"]):
            picture = radiological(np.asanyarray(scan.dataobj))[index]
            line = picture, labels[index], f"{name}, slice {index}"
            sheets.setdefault(entry["set"], []).append(line)
    if drawn:
        write_tiles(drawn, Path(__file__).with_name("thigh_drawn.nii.gz"))
    for name, lines in sheets.items():
        show(*map(list, zip(*lines, strict=True)), ROOT / "docs" / "anatomy" / SHEETS[name])


if __name__ == "__main__":
    main()
