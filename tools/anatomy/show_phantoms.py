"""Draw a sheet of synthetic slices and labels, from hip to foot: docs/anatomy/phantoms.webp."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musclejax.anatomy import REGIONS
from musclejax.data.dataset import IGNORE
from musclejax.phantom.generator import Phantom
from musclejax.phantom.levels import levels_of
from musclejax.phantom.slice import Settings
from musclejax.phantom.templates import GROUPS, load_anatomy
from musclejax.reports.pictures.style import draw_slice, legend

SIZE, COLUMNS, ROWS = (240, 384), 4, 4
"""Of a slice in pixels, and of the sheet of each region; image and labels side by side."""


def main() -> None:
    """Draw both regions, one above the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--group", choices=GROUPS, default="train")
    parser.add_argument("--whole", type=float, default=0.25, help="share of whole limbs")
    parser.add_argument("--rows", type=int, default=ROWS, help="of each region")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/anatomy/phantoms.webp"))
    args = parser.parse_args()
    rows = 2 * args.rows
    figure = Figure(figsize=(14, 14 / (2 * COLUMNS) * SIZE[0] / SIZE[1] * rows + 0.7))
    panels = figure.subplots(rows, 2 * COLUMNS)
    figure.subplots_adjust(0, 0.08, 1, 1, 0.02, 0.02)
    for number, region in enumerate(REGIONS):
        phantom = Phantom(load_anatomy(region, args.group), "mixed", args.seed, Settings(SIZE))
        levels = levels_of(phantom.anatomy, (-1.0, 3.0), 0.1, args.whole)
        rng = np.random.default_rng(args.seed)
        own = panels[number * args.rows : (number + 1) * args.rows].reshape(-1, 2)
        for n, pair in enumerate(own):
            template = levels.draw((n + 0.5) / len(own), rng)
            sample, level = phantom.sample(template, n), phantom.levels(template, n)[0]
            image, labels = (np.asarray(part) for part in sample)
            shown = np.where(labels == IGNORE, 0, labels).astype(np.uint8)
            white = float(np.percentile(image[image > image.mean()], 99))
            for axes, drawn in zip(pair, (None, shown), strict=True):
                draw_slice(axes, image, drawn, white=white)
                axes.set_axis_off()
            pair[0].text(4, 16, f"{level:.2f}", color="white", fontsize=8)
    legend(figure, REGIONS["thigh"], np.arange(13))
    FigureCanvasAgg(figure)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=90, facecolor="black")


if __name__ == "__main__":
    main()
