"""Build the thigh templates from the open label maps.

    python tools/anatomy/build_thigh.py --data ../shared/data

Writes `musclejax/data/anatomy/thigh.nii.gz` and `thigh.csv`, and the contact sheet
`docs/anatomy/thigh_templates.webp`. The label maps are Apache-2.0, the limbs that teach what lies
between them are CC BY 4.0, see PROVENANCE.md. `thigh_drawn.nii.gz` beside this script has the upper
thighs of a scan, drawn by `annotate_thigh.py`.

Source: ours.
"""

import argparse
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.patches import Patch
from scipy import ndimage as ndi
from thigh_longus import divide
from thigh_teacher import (
    AB,
    GMAX,
    PEC,
    TFL,
    Section,
    Teacher,
    find_levels,
    read_teachers,
    teach_levels,
)
from thigh_tissues import (
    AM,
    BFS,
    BONE,
    CM2,
    FEMORAL,
    GAP,
    GRA,
    PIXEL_MM,
    RF,
    SAR,
    SM,
    UNKNOWN,
    VI,
    VL,
    VM,
    complete,
)

from musclejax.anatomy import COLORS, REGIONS

ROOT = Path(__file__).resolve().parents[2]
TILE_PX = 224
HUASHAN_TO_OURS = np.array([0, 5, 4, 1, 3, 2, 7, 6, 10, 9, 8, 11], np.uint8)
HELD_OUT = ("THIGH_056", "THIGH_061", "HV005", "THIGH_119", "THIGH_024", "THIGH_038")
"""Subjects for validation; THIGH_038 is Thigh_002, a test subject."""
SECOND_MAPS = ("T1_THIGH_022", "Fat_THIGH_026", "Fat_THIGH_031")
"""The same person once more, with nearly the same labels."""
DENSE = 30
"""Of a series with more labeled slices, every second is taken."""
FEMUR_CM2 = 3.4
"""Where the femur found is smaller, vastus intermedius is labeled too little to tell its place."""
MAX_UNKNOWN = 0.3
"""Tiles with more than this share unknown are left out."""
TAIL_CM2 = 1.4
"""Smaller sections of adductor magnus are left out: most lie near the knee, where its tendon and
the vessels are."""
DROPPED: dict[tuple[str, str], tuple[int, ...]] = {
    ("THIGH_029", "left"): (0,),  # vastus intermedius a sliver, femur misplaced
    ("THIGH_031", "left"): (0,),  # the same
    ("THIGH_059", "right"): (0,),  # vastus medialis cut off
    ("THIGH_062", "right"): (2,),  # vastus intermedius a sliver, femur misplaced
    ("THIGH_114", "left"): (11,),  # vastus lateralis in shreds
    ("THIGH_119", "right"): (4,),  # intermedius and medialis cut off, femur misplaced
    ("THIGH_119", "left"): (4, 30),  # the same; highest slice, muscles fragmentary
    ("THIGH_123", "left"): (0, 11, 12),  # femur misplaced; highest, muscles fragmentary
    ("THIGH_123", "right"): (11, 12),  # vastus lateralis in shreds
}
"""Slices dropped by eye: (subject, limb) -> slice numbers, from the foot, in the file."""
LICENSE, WITH_LIMBS = "Apache-2.0", "Apache-2.0 and CC-BY-4.0"
"""Of a tile of the label maps alone, and of one that has muscles of the traced limbs."""
EXTRA = {
    UNKNOWN: ("unknown", (110, 110, 110)),
    BONE: ("femur", (235, 235, 215)),
    GAP: ("gap", (45, 45, 45)),
    FEMORAL: ("vessels", (255, 0, 0)),
    AB: ("brevis", (110, 230, 90)),
    PEC: ("pectineus", (255, 160, 0)),
    TFL: ("TFL", (0, 255, 255)),
    GMAX: ("gluteus", (0, 150, 110)),
}


@dataclass(frozen=True)
class Tile:
    """One limb at one level (hip 0, knee 1): tissues [row, column] and where they come from."""

    tissues: np.ndarray
    subject: str
    limb: str
    index: int
    level_mm: float
    level: float
    license: str


def read_slices(path: Path) -> tuple[np.ndarray, float, float]:
    """Return our labels as [slice, anterior to posterior, right to left], pixel size, spacing."""
    image = nib.as_closest_canonical(nib.load(path))
    array = np.asanyarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]
    dx, _, dz = image.header.get_zooms()
    return HUASHAN_TO_OURS[array], float(dx), float(dz)


def limbs(labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the right and the left limb of a slice, both as right limbs."""
    middle = int(np.median([np.nonzero(labels == m)[1].mean() for m in np.unique(labels)[1:]]))
    right, left = labels.copy(), labels.copy()
    right[:, middle:], left[:, :middle] = 0, 0
    yield "right", right
    yield "left", left[:, ::-1]


def crop(limb: np.ndarray) -> np.ndarray:
    """Cut to the labeled box and a margin."""
    if not limb.any():
        return limb
    rows, cols = np.nonzero(np.pad(limb, 8))
    box = slice(rows.min() - 8, rows.max() + 9), slice(cols.min() - 8, cols.max() + 9)
    return np.pad(limb, 8)[box]


def clean(limb: np.ndarray, pixel: float) -> np.ndarray:
    """Keep the main part of every muscle, fill its holes, drop small connected components."""
    out = np.zeros_like(limb)
    for muscle in np.unique(limb)[1:]:
        mask = ndi.binary_opening(limb == muscle) if (limb == muscle).sum() > 60 else limb == muscle
        parts, count = ndi.label(mask)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * (pixel / PIXEL_MM) ** 2
        keep = [i + 1 for i in range(count) if sizes[i] > 25 and sizes[i] >= 0.25 * sizes.max()]
        mask = ndi.binary_fill_holes(np.isin(parts, keep[:2]) & (parts > 0))
        out[mask & (out == 0)] = muscle
    return out


def to_tile(limb: np.ndarray, pixel: float) -> np.ndarray:
    """Resample one limb by signed distances, centered on the middle of its box."""
    rows, cols = np.nonzero(limb)
    center = [(a.min() + a.max()) / 2 for a in (rows, cols)]
    offsets = (np.arange(TILE_PX) - (TILE_PX - 1) / 2) * PIXEL_MM / pixel
    grid = np.meshgrid(center[0] + offsets, center[1] + offsets, indexing="ij")
    best = np.full((TILE_PX, TILE_PX), 0.15, np.float32)
    out = np.zeros((TILE_PX, TILE_PX), np.uint8)
    for muscle in np.unique(limb)[1:]:
        mask = limb == muscle
        signed = ndi.distance_transform_edt(~mask) - ndi.distance_transform_edt(mask)
        signed = ndi.gaussian_filter(signed.astype(np.float32), 0.9 * PIXEL_MM / pixel)
        signed = ndi.map_coordinates(signed, grid, order=1, mode="nearest")
        out[signed < best] = muscle
        best = np.minimum(best, signed)
    return out


def without_tail(tile: np.ndarray) -> np.ndarray:
    """Leave out sections of adductor magnus that are too small to be distinguished from vessels."""
    parts, _ = ndi.label(tile == AM)
    small = np.bincount(parts.ravel()) < TAIL_CM2 * CM2
    return np.where((parts > 0) & small[parts], 0, tile)


def area(tile: np.ndarray, muscle: int) -> float:
    """Return the cross-section of a muscle or tissue in square centimeters."""
    return float((tile == muscle).sum() / CM2)


def usable(tile: np.ndarray) -> bool:
    """Tell whether the muscles that must exist at this level are there and on their side."""
    found = set(np.unique(tile)) - {0}
    knee = area(tile, AM) < 2 and area(tile, VM) > 3
    if len(found) < (7 if knee else 8) or not {VL, VI, SAR} <= found:
        return False
    if knee and not {VM, SM, BFS} <= found:
        return False
    if not knee and not {RF, GRA, AM} <= found:
        return False
    columns = {m: np.nonzero(tile == m)[1].mean() for m in found}
    medial = [columns[m] for m in (SAR, GRA, VM) if m in found]
    return columns[VL] < min(medial) and area(tile, VL) > 1.5


def subject_of(path: Path) -> str:
    """Return the subject's name."""
    return re.search(r"(THIGH_\d+|HV\d+)", path.name)[0]


def read_limbs(path: Path) -> list[tuple[str, int, float, np.ndarray]]:
    """Return limb, slice, height and labels of the usable limbs of one map, from the knee up."""
    volume, pixel, spacing = read_slices(path)
    labeled = np.nonzero(volume.any((1, 2)))[0]
    taken = labeled[:: 2 if len(labeled) > DENSE else 1]
    found = []
    for index in taken:
        for limb, labels in limbs(volume[index]):
            labels = clean(crop(labels), pixel)
            if not labels.any() or index in DROPPED.get((subject_of(path), limb), ()):
                continue
            tile = without_tail(to_tile(labels, pixel))
            if usable(tile):
                found.append((limb, int(index), float((index - labeled[0]) * spacing), tile))
    return sorted(found, key=lambda row: row[0] != "right")


def read_subject(path: Path, teachers: list[Teacher], taught: list[list[Section]]) -> list[Tile]:
    """Return the tiles of one label map, limb by limb from the knee up."""
    found = read_limbs(path)
    heights = np.array([height for _, _, height, _ in found])
    levels = find_levels([labels for *_, labels in found], heights, taught)
    tiles = []
    for (limb, index, height, labels), level in zip(found, levels, strict=True):
        before = complete(labels)
        tissues = divide(before, level, teachers)
        unknown = area(tissues, UNKNOWN) * CM2 / (tissues > 0).sum()
        if area(tissues, BONE) < FEMUR_CM2 or unknown > MAX_UNKNOWN:
            continue
        source = LICENSE if (tissues == before).all() else WITH_LIMBS
        tiles.append(Tile(tissues, subject_of(path), limb, index, height, float(level), source))
    return tiles


def read_drawn(path: Path, taught: list[list[Section]]) -> list[Tile]:
    """Return the drawn tiles of one scan, whose heights lie on one line of levels."""
    stack = np.asanyarray(nib.load(path).dataobj).astype(np.uint8).transpose(2, 1, 0)
    with path.with_name("thigh_drawn.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    heights = np.array([float(row["level_mm"]) for row in rows])
    levels = find_levels([np.where(tile < AB, tile, 0) for tile in stack], heights, taught)
    return [
        Tile(tile, row["subject"], row["limb"], index, height, float(level), row["source"])
        for index, (tile, row, height, level) in enumerate(
            zip(stack, rows, heights, levels, strict=True)
        )
    ]


def read_all(data: Path) -> list[Tile]:
    """Return the tiles of all subjects, one label map each, by name, and the drawn ones."""
    paths = (data / "huashan_thigh" / "labels_only").glob("*.nii.gz")
    kept = [p for p in paths if not any(name in p.name for name in SECOND_MAPS)]
    teachers = read_teachers(data / "visible_human_limbs")
    taught = teach_levels(teachers)
    ordered = sorted(kept, key=subject_of)
    tiles = [t for path in ordered for t in read_subject(path, teachers, taught)]
    return tiles + read_drawn(Path(__file__).with_name("thigh_drawn.nii.gz"), taught)


def write(tiles: list[Tile], folder: Path) -> None:
    """Write the stack and its table."""
    stack = np.stack([t.tissues.T for t in tiles], axis=2)
    image = nib.Nifti1Image(stack, np.diag([-PIXEL_MM, -PIXEL_MM, 1, 1]))
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / "thigh.nii.gz")
    with (folder / "thigh.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["tile", "subject", "limb", "level_mm", "level", "group", "source"])
        for i, t in enumerate(tiles):
            group = "held_out" if t.subject in HELD_OUT else "train"
            level = f"{t.level:.3f}"
            table.writerow([i, t.subject, t.limb, f"{t.level_mm:g}", level, group, t.license])


def draw(tiles: list[Tile], path: Path, columns: int = 10, names: bool = True) -> None:
    """Draw tiles with colors and a legend."""
    lut = np.zeros((256, 3), np.uint8)
    for code, color in (COLORS | {code: color for code, (_, color) in EXTRA.items()}).items():
        lut[code] = color
    rows = -(-len(tiles) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.5, rows * 1.4 + 0.5))
    for axis in axes.flat:
        axis.axis("off")
    for axis, t in zip(axes.flat, tiles, strict=False):
        axis.imshow(lut[t.tissues[27:-27, 17:-17]], interpolation="nearest")
        if names:
            axis.set_title(f"{t.subject} {t.limb[0]} {t.index} {t.level_mm:.0f}", fontsize=6, pad=2)
    keys = [(m.abbreviation, m.color) for m in REGIONS["thigh"].muscles]
    keys += list(EXTRA.values())
    handles = [Patch(color=np.divide(color, 255), label=name) for name, color in keys]
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), fontsize=7)
    figure.subplots_adjust(0, 0.5 / (rows * 1.4 + 0.5), 1, 0.97, 0.02, 0.12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Build everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    tiles = read_all(parser.parse_args().data)
    write(tiles, ROOT / "musclejax" / "data" / "anatomy")
    sheet = ROOT / "docs" / "anatomy" / "thigh_templates.webp"
    draw(tiles[:: max(1, len(tiles) // 60)][:60], sheet)
    print(f"{len(tiles)} tiles of {len({t.subject for t in tiles})} subjects")


if __name__ == "__main__":
    main()
