"""Print the levels between which each muscle is found in the templates, for `anatomy.py`.

    python tools/anatomy/muscle_levels.py

Source: ours.
"""

import numpy as np

from musclejax.anatomy import REGIONS
from musclejax.phantom.templates import read_tissues

LEAST_PX = 40
"""Smaller sections are not counted: 0.4 cm2."""


def main() -> None:
    """Print a row per muscle: highest level, lowest level."""
    for region in REGIONS.values():
        parts = [read_tissues(region.name, group) for group in ("train", "held_out")]
        tissues = np.concatenate([maps for maps, _, _ in parts])
        levels = np.array([float(row["level"]) for _, rows, _ in parts for row in rows])
        for muscle in region.muscles:
            shown = levels[(tissues == muscle.number).sum((1, 2)) > LEAST_PX]
            print(f"{muscle.abbreviation:4} {shown.min():.2f} {shown.max():.2f}")


if __name__ == "__main__":
    main()
