"""Build templates of whole limbs, pelvis to foot, from the limbs of the Visible Human.

    python tools/anatomy/build_limbs.py --data ../shared/data

Writes `limbs_thigh` and `limbs_leg`, each .nii.gz and .csv, to `musclejax/data/anatomy`, and
contact sheets to `docs/anatomy`. The label maps are CC BY 4.0, see LICENSE-CC-BY-4.0.txt there.

Source: ours.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from limb_labels import NUMBER, PERSONS, PIXEL_MM, Whole, check_names, read_limb
from limb_tissues import (
    BONES,
    CARTILAGE,
    DEEP,
    FEMUR_ID,
    FOOT_MUSCLE,
    GAP,
    TENDON,
    UNKNOWN,
    VESSEL,
    borrow,
    complete,
    settle,
)

from musclejax.anatomy import COLORS, REGIONS
from musclejax.phantom import tissues

ROOT = Path(__file__).resolve().parents[2]
TILE_PX = 224
SIDES = ("right", "left")
GROUPS = {"VHF": "train", "VHM": "held_out"}
"""By person: both limbs of VHF are traced whole, but for the femur."""
LEVELS = {"thigh": (-0.22, 1.1), "leg": (0.8, 2.3)}
"""Levels of the templates of each region."""
MISSING = {("VHM", "right"): ("RF", "SAR")}
"""Muscles that were not traced: where the other limb has them is unknown."""
OTHERS = {
    "thigh": {
        "AB": 13, "PEC": 14, "TFL": 15, "GMax": 16, "GM": 13, "GL": 14, "SOL": 15, "Popl": 16,
        "Plant": 17, "TP": 18, "FDL": 19, "FHL": 21, "TA": 19, "EDL": 13, "PE": 21, "EHL": 17,
    },
    "leg": {
        "TP": 13, "FHL": 14, "FDL": 15, "EHL": 16, "Popl": 17, "Plant": 18, "BFL": 13, "BFS": 14,
        "ST": 15, "SM": 16, "GRA": 19, "SAR": 21, "VL": 15, "VM": 13, "VI": 18, "AM": 19,
    },
}  # fmt: skip
"""Codes of muscles that the region's network does not label: neighbors differ."""
DEEP_CODES = {DEEP: 17, DEEP + 1: 18, DEEP + 2: 19, DEEP + 3: 21, DEEP + 4: 18}
FOOT_CODES = {FOOT_MUSCLE + n: code for n, code in enumerate((13, 14, 15, 16, 17, 18, 19))}
DRAWN = DEEP_CODES | FOOT_CODES | {
    TENDON: tissues.CORTEX, CARTILAGE: 19, GAP: tissues.GAP, UNKNOWN: tissues.UNKNOWN,
}  # fmt: skip
SPONGY = {
    NUMBER["tibia"]: (1.12, 1.88), NUMBER["fibula"]: (1.09, 1.93), FEMUR_ID: (0.16, 0.85),
}  # fmt: skip
"""Levels between which a bone is a shaft with thick cortex; all other bones are spongy."""


@dataclass(frozen=True)
class Tile:
    """One limb at one level: tissues [row, column] and where they come from."""

    tissues: np.ndarray
    whole: Whole
    index: int

    @property
    def level(self) -> float:
        """Return its level."""
        return float(self.whole.levels[self.index])


def read_limbs(data: Path) -> Iterator[tuple[Whole, np.ndarray | None]]:
    """Yield the limbs, each with where its muscles are unknown; tibiae are borrowed if missing."""
    check_names(data)
    limbs = {(p, s): read_limb(data, p, s) for p in PERSONS for s in SIDES}
    for (person, side), whole in limbs.items():
        if not whole.named("tibia").any():
            tibia = settle(whole, borrow(whole, limbs["VHF", side], ("tibia",), (0.99, 2.04)))
            whole.labels[(tibia > 0) & (whole.labels == 0)] = NUMBER["tibia"]
        unknown = None
        if (person, side) in MISSING:
            mate = limbs[person, SIDES[side == "right"]]
            unknown = borrow(whole, mate, MISSING[person, side], (-0.2, 1.05)) > 0
        yield whole, unknown


def codes(region: str, level: float) -> np.ndarray:
    """Return the code of a template for every structure at a level."""
    table = np.zeros(256, np.uint8)
    for name, number in NUMBER.items():
        table[number] = OTHERS[region].get(name, 0)
    for muscle in REGIONS[region].muscles:
        table[NUMBER[muscle.abbreviation]] = muscle.number
    for bone in BONES:
        low, high = SPONGY.get(bone, (1.0, 1.0))
        table[bone] = tissues.MARROW if low < level < high else tissues.SPONGY
    table[list(DRAWN)] = list(DRAWN.values())
    table[VESSEL] = tissues.FEMORAL if region == "thigh" else tissues.VESSEL
    return table


def centered(tissue: np.ndarray) -> np.ndarray:
    """Cut a tile about the middle of its box."""
    padded = np.pad(tissue, TILE_PX)
    box = [(i.min() + i.max() + 1) // 2 - TILE_PX // 2 for i in np.nonzero(padded)]
    return padded[box[0] : box[0] + TILE_PX, box[1] : box[1] + TILE_PX]


def tiles(region: str, made: list[tuple[Whole, np.ndarray]]) -> list[Tile]:
    """Return the templates of a region, limb by limb from below."""
    low, high = LEVELS[region]
    return [
        Tile(centered(codes(region, whole.levels[n])[out[n]]), whole, n)
        for whole, out in made
        for n in np.nonzero((whole.levels >= low) & (whole.levels <= high))[0]
    ]


def write(region: str, found: list[Tile], folder: Path) -> None:
    """Write the stack and its table."""
    stack = np.stack([t.tissues.T for t in found], axis=2)
    image = nib.Nifti1Image(stack, np.diag([-PIXEL_MM, -PIXEL_MM, 1, 1]))
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / f"limbs_{region}.nii.gz")
    with (folder / f"limbs_{region}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["tile", "subject", "limb", "level_mm", "level", "group", "source"])
        for i, t in enumerate(found):
            whole, height = t.whole, t.whole.heights_mm[t.index]
            own = [whole.person, whole.side, f"{height:g}", f"{t.level:.4f}"]
            table.writerow([i, *own, GROUPS[whole.person], "CC-BY-4.0"])


def palette(region: str) -> np.ndarray:
    """Return a color for every code."""
    table = np.zeros((256, 3), np.uint8)
    others = plt.get_cmap("Pastel1")(np.arange(9))[:, :3] * 200
    for n, code in enumerate(tissues.OTHERS):
        table[code] = others[n % 9]
    for muscle in REGIONS[region].muscles:
        table[muscle.number] = COLORS[muscle.number]
    table[tissues.UNKNOWN] = 110
    table[[tissues.MARROW, tissues.SPONGY]] = (235, 235, 215), (200, 200, 180)
    table[tissues.CORTEX], table[tissues.GAP] = (40, 60, 140), (45, 45, 45)
    table[[tissues.FEMORAL, tissues.VESSEL]] = 255, 0, 0
    return table


def draw(region: str, found: list[Tile], path: Path, columns: int = 12) -> None:
    """Draw a sheet of tiles, a limb in two rows."""
    colors, chosen = palette(region), []
    for whole in dict.fromkeys(id(t.whole) for t in found):
        own = [t for t in found if id(t.whole) == whole]
        chosen += [own[k] for k in np.linspace(0, len(own) - 1, 2 * columns).round().astype(int)]
    rows = len(chosen) // columns
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.4, rows * 1.5))
    for axis, t in zip(axes.flat, chosen, strict=True):
        axis.imshow(colors[t.tissues], interpolation="nearest")
        axis.set_title(f"{t.whole.person} {t.whole.side} {t.level:.2f}", fontsize=6, pad=2)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 0.98, 0.02, 0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Build everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT, help="root of the repository")
    args = parser.parse_args()
    limbs = read_limbs(args.data / "visible_human_limbs")
    made = [(whole, complete(whole, unknown)) for whole, unknown in limbs]
    for region in LEVELS:
        found = tiles(region, made)
        write(region, found, args.out / "musclejax" / "data" / "anatomy")
        draw(region, found, args.out / "docs" / "anatomy" / f"limbs_{region}.webp")
        print(f"{region}: {len(found)} tiles")


if __name__ == "__main__":
    main()
