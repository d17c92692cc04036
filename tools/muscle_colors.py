"""Search the colors of the muscles: those that touch must differ as everyone sees them.

    python -m tools.muscle_colors --seed 1 --steps 9000

Prints the pairs that touch in the templates of `musclejax/data/anatomy` and are not in the table of
tests/test_colors.py, then colors that start from `anatomy.COLORS` and stay near their hues, with
the least CIEDE2000 of muscles that touch and of all of a region. Simulated annealing; minutes.

Source: ours. The colors of 2026-12 are seed 3 from earlier ones, improved by a second search.
"""

import argparse
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi
from skimage.color import lab2lch, rgb2lab

from musclejax.anatomy import COLORS, REGIONS, Region
from tests.test_colors import VISIONS, differences, seen, touching

TEMPLATES = Path(__file__).parents[1] / "musclejax" / "data" / "anatomy"
NEAR_PX, CONTACT_PX = 3, 6
"""Distance of muscles that touch, and how many pixels of them are as near."""
TOUCHING, ANY = 12.5, 11.5
"""CIEDE2000 that is aimed at, of muscles that touch and of all of a region."""
CHROMA, LIGHTNESS = (48.0, 105.0), (38.0, 92.0)
"""Of colors that are pleasant over gray."""
HUE_WEIGHT, FREE_DEGREES = 2.0, 15.0
"""Cost of a hue that is 30 degrees off, and by how much it is off at no cost."""

Colors = dict[int, tuple[int, int, int]]
PAIRS = [pair for region in REGIONS.values() for pair in touching(region)]
ALL = [
    pair
    for region in REGIONS.values()
    for pair in combinations([m.number for m in region.muscles], 2)
]


def main() -> None:
    """Print what touches, and better colors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=9000)
    args = parser.parse_args()
    for region in REGIONS.values():
        print(region.name, "not in the table:", find_touching(region) - set(touching(region)))
    colors = search(args.seed, args.steps)
    print(colors)
    print("touching: {:.1f}, any: {:.1f}".format(*(d.min() for d in measure(colors))))


def find_touching(region: Region) -> set[tuple[int, int]]:
    """Return the pairs of muscles that touch on a template."""
    found = set()
    for name in (region.name, f"limbs_{region.name}"):
        labels = np.asarray(nib.load(TEMPLATES / f"{name}.nii.gz").dataobj)
        masks = {m.number: labels == m.number for m in region.muscles}
        near = {n: ndi.distance_transform_edt(~m, (1, 1, 1e6)) <= NEAR_PX for n, m in masks.items()}
        found |= {
            (a, b)
            for a, b in combinations(masks, 2)
            if (near[a] & masks[b]).sum((0, 1)).max() >= CONTACT_PX
        }
    return found


def search(seed: int, steps: int) -> Colors:
    """Return the best colors that simulated annealing finds."""
    rng = np.random.default_rng(seed)
    hues = lch(COLORS)[:, 2]
    colors, best = dict(COLORS), dict(COLORS)
    price = lowest = cost(colors, hues)
    for rest in np.linspace(1, 0, steps):
        number = int(rng.integers(1, len(colors)))
        moved = np.array(colors[number]) + rng.normal(size=3) * (30 * rest + 3)
        red, green, blue = moved.round().clip(0, 255).astype(int).tolist()
        other = {**colors, number: (red, green, blue)}
        its_price = cost(other, hues)
        if its_price < price or rng.random() < np.exp((price - its_price) / (3 * rest**2 + 1e-3)):
            colors, price = other, its_price
        if price < lowest:
            best, lowest = colors, price
    return best


def cost(colors: Colors, hues: np.ndarray) -> float:
    """Return the faults of colors in one number: alike, off their hue, too gray, dark or loud."""
    touch, either = measure(colors)
    lightness, chroma, hue = lch(colors).T
    off = np.abs((hue - hues + np.pi) % (2 * np.pi) - np.pi)
    turned = np.maximum(np.degrees(off) - FREE_DEGREES, 0) / 30
    unpleasant = below(chroma, *CHROMA) + below(lightness, *LIGHTNESS)
    alike = below(touch, TOUCHING) + 0.5 * below(either, ANY)
    return float(alike + HUE_WEIGHT * (turned**2).sum() + 0.1 * unpleasant)


def below(values: np.ndarray, low: float, high: float = np.inf) -> float:
    """Return the sum of squares of how far values are out of a range."""
    return float((np.maximum(low - values, 0) ** 2 + np.maximum(values - high, 0) ** 2).sum())


def measure(colors: Colors) -> tuple[np.ndarray, np.ndarray]:
    """Return the CIEDE2000 of pairs that touch, in the worst vision, and of all in the normal."""
    labs = {vision: seen(colors, vision) for vision in VISIONS}
    touch = np.min([differences(lab, PAIRS) for lab in labs.values()], 0)
    return touch, differences(labs["normal"], ALL)


def lch(colors: Colors) -> np.ndarray:
    """Return lightness, chroma and hue in radians of each muscle."""
    return lab2lch(rgb2lab(np.array(list(colors.values()))[1:] / 255))


if __name__ == "__main__":
    main()
