"""Annotate a few slices of two real thigh scans from outlines that were drawn by eye.

    python tools/anatomy/annotate_thigh.py --data ../shared/data

`thigh_seeds.json` holds, for every muscle, bone and large vessel, a rough outline read off
enlarged pictures with a coordinate grid: [row, column] of the slice seen in radiological view
(patient's right on the left, anterior up). Outlines shrunk a little are seeds; a watershed on the
image, where fat borders are dark, finds the border between them. Writes
`tests/annotations/thigh/` on the scans' own grids, and
`docs/anatomy/thigh_test_levels.webp`.

The outlines are the developers' (a language model looking at enlarged pictures); no radiologist
was involved. These annotated slices are for testing only.

Source: ours.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.patches import Patch
from scipy import ndimage as ndi
from skimage.draw import polygon2mask
from skimage.segmentation import watershed
from thigh_tissues import largest

from musclejax.anatomy import COLORS, REGIONS

ROOT = Path(__file__).resolve().parents[2]
SEEDS = Path(__file__).with_name("thigh_seeds.json")
NUMBERS = {m.abbreviation: m.number for m in REGIONS["thigh"].muscles}
OUTSIDE, OTHER = 100, 101
"""Seeds of what is no muscle: outside, and bone, vessels or fat inside."""
SHRINK_MM, REACH_PX = 1.6, 2.2
"""How far inside its outline a seed ends; how far outside it a muscle may reach, in pixels."""
DARK = 0.55
"""A pixel darker than this share of its surroundings is a border or fat, not muscle."""

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


def annotate(image: np.ndarray, outlines: Outlines, pixel: float) -> np.ndarray:
    """Return labels of one limb in one slice."""
    marks, reach = seeds(outlines, image.shape, pixel)
    muscle = (marks > 0) & (marks < OUTSIDE)
    weight = ndi.gaussian_filter(muscle.astype(float), 12 / pixel)
    tone = ndi.gaussian_filter(np.where(muscle, image, 0.0), 12 / pixel) / (weight + 1e-3)
    relative = ndi.gaussian_filter(image, 0.4 / pixel) / (tone + 1e-6)
    labels = watershed(-np.minimum(relative, 1.0), marks, mask=reach | (marks == OUTSIDE))
    labels[(labels >= OUTSIDE) | ((relative < DARK) & ~muscle)] = 0
    out = np.zeros(image.shape, np.uint8)
    for name in outlines:
        number = NUMBERS.get(name)
        if number is not None:
            soft = ndi.gaussian_filter((labels == number).astype(np.float32), 0.8)
            out[ndi.binary_fill_holes(largest(soft > 0.5)) & (out == 0)] = number
    return out


def annotate_scan(scan: nib.Nifti1Image, levels: dict[str, dict[str, Outlines]]) -> np.ndarray:
    """Return labels [slice, row, column] in radiological view; other slices are 0."""
    images = radiological(np.asanyarray(scan.dataobj).astype(float))
    labels = np.zeros(images.shape, np.uint8)
    pixel = float(scan.header.get_zooms()[0])
    for index, limbs in levels.items():
        for outlines in limbs.values():
            limb = annotate(images[int(index)], outlines, pixel)
            labels[int(index)] = np.where(limb > 0, limb, labels[int(index)])
    return labels


def show(images: list[np.ndarray], maps: list[np.ndarray], names: list[str], path: Path) -> None:
    """Draw every annotated slice beside its overlay."""
    lut = np.array([COLORS[k] for k in range(13)]) / 255
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
    muscles = REGIONS["thigh"].muscles
    handles = [Patch(color=np.divide(m.color, 255), label=m.abbreviation) for m in muscles]
    figure.legend(handles=handles, loc="lower center", ncol=12, fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main() -> None:
    """Annotate all slices in the table of outlines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    images, maps, names = [], [], []
    for entry in json.loads(SEEDS.read_text()).values():
        original = nib.load(data / entry["scan"])
        scan = nib.as_closest_canonical(original)
        labels = annotate_scan(scan, entry["levels"])
        image = nib.Nifti1Image(labels.transpose(2, 1, 0)[::-1, ::-1], scan.affine)
        back = nib.orientations.ornt_transform(
            nib.io_orientation(scan.affine), nib.io_orientation(original.affine)
        )
        image = image.as_reoriented(back)
        nib.save(image, ROOT / "tests/annotations/thigh" / Path(entry["scan"]).name)
        for index in map(int, entry["levels"]):
            images.append(radiological(np.asanyarray(scan.dataobj))[index])
            maps.append(labels[index])
            names.append(f"{Path(entry['scan']).name}, slice {index}")
    show(images, maps, names, ROOT / "docs" / "anatomy" / "thigh_test_levels.webp")


if __name__ == "__main__":
    main()
