"""Segment every real scan and draw every slice of it, to be looked at.

    python tools/contact_sheets.py --weights NAME --data ../shared/data -o docs/weights

Writes a picture for each scan and slices.csv: for each slice, the probability that it shows the
scan's region, its level, whether it is in range, and the labeled area. Source of the scans:
../shared/data/PROVENANCE.md.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from real_tests import SCANS, SUBJECTS, WHOLE_LEG, echoes

import musclejax
from musclejax.anatomy import CLASSIFIER, REGIONS
from musclejax.models.weights import load_weights
from musclejax.prediction.batches import predict_classes
from musclejax.prediction.result import Segmentation
from musclejax.prediction.segment import segment
from musclejax.reports.pictures.contact_sheet import draw
from musclejax.scan.grid import to_model_grid, to_thumbnails
from musclejax.scan.intensity import normalize
from musclejax.scan.volume import Volume

STACKS = {1: "leg", 3: "leg", 4: "leg", 7: "thigh"}
"""Stack of a whole leg -> region: foot, calf, knee, hip."""
WIDTH_PX, BYTES = 1800, 195_000
"""Of a picture in a document, at most."""
ECHO = "te345"
"""Of the two thighs with fat and water images."""


def main() -> None:
    """Draw the pictures and write the table."""
    args = arguments(__doc__)
    args.output.mkdir(parents=True, exist_ok=True)
    weights, rows = load_weights(args.weights), []
    network = weights.networks[CLASSIFIER]
    for volume, region in scans(args.data):
        found = segment(volume, weights)
        with tempfile.TemporaryDirectory() as folder:
            draw(found, sheet := Path(folder) / "sheet.png")
            to_document(sheet, args.output / f"{volume.name}.webp")
        slices, _ = to_model_grid(volume)
        scaled = normalize(slices, network.config.intensity)
        right = predict_classes(network, to_thumbnails(scaled))[:, list(REGIONS).index(region)]
        rows += [
            {"scan": volume.name, "region": region, "probability": round(float(p), 3), **row}
            for p, row in zip(right, by_slice(found), strict=True)
        ]
        wrong = int((right < 0.5).sum())
        print(f"{volume.name}: {found.region}, {wrong} of {len(right)} slices wrong; ", end="")
        print(*found.warnings, sep="; ", flush=True)
    pd.DataFrame(rows).to_csv(args.output / "slices.csv", index=False)


def to_document(sheet: Path, path: Path) -> None:
    """Write a picture as WebP, small enough for a document."""
    with Image.open(sheet) as image:
        image.thumbnail((WIDTH_PX, image.height))
        for quality in range(80, 20, -10):
            image.save(path, quality=quality, method=6)
            if path.stat().st_size < BYTES:
                return


def by_slice(found: Segmentation) -> list[dict[str, object]]:
    """Return level, range and labeled area of each slice, from the feet up."""
    view, levels = found.volume.lps, found.levels
    area = (view.from_file(found.labels) > 0).sum((0, 1)) * found.volume.pixel_mm2 / 100
    rows = []
    for z, cm2 in enumerate(area):
        index = int(view.file_index(z))
        level = np.full(2, np.nan) if levels is None else levels.level[index]
        seen = levels is not None and bool(levels.in_range[index].any())
        left, right = (round(float(side), 2) for side in level)
        row = {"slice": index, "level_left": left, "level_right": right, "in_range": seen}
        rows.append({**row, "labeled_cm2": round(float(cm2), 2)})
    return rows


def arguments(description: str) -> argparse.Namespace:
    """Return the arguments of the tools that go over all real scans."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_DIR")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


def scans(data: Path) -> list[tuple[Volume, str]]:
    """Return every scan with its region."""
    known = {**SCANS, **{WHOLE_LEG.format(n): region for n, region in STACKS.items()}}
    found = [(musclejax.load(data / name), region) for name, region in known.items()]
    for subject in SUBJECTS:
        image = echoes(data / "huashan_thigh" / subject)[ECHO]
        name = f"{subject}_{ECHO}"
        found.append((Volume(image.get_fdata(dtype="float32"), image.affine, name), "thigh"))
    return found


if __name__ == "__main__":
    main()
