"""Run the out-of-distribution check on every real scan and on foreign ones.

    python tools/foreign_scans.py --weights NAME --data ../shared/data -o docs/weights/quality.csv

Foreign: real scans cut along other planes, of the size of an arm, and in Hounsfield units; noise,
bottles and an ellipse of the size of an abdomen. A row per scan: the measures of
`musclejax.prediction.quality`, and whether the scan is flagged.

Source: ours.
"""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from contact_sheets import arguments, scans
from scipy import ndimage as ndi

import musclejax
from musclejax.models.weights import load_weights
from musclejax.prediction.quality import out_of_distribution_warning
from musclejax.prediction.segment import segment
from musclejax.scan.volume import Volume

STEP_MM = 1.5
ARM = 0.45
"""Diameter of an arm over that of a leg."""


def main() -> None:
    """Write the table."""
    args = arguments(__doc__)
    weights, rows = load_weights(args.weights), []
    known = [volume for volume, _ in scans(args.data)]
    for kind, volumes in (("known", known), ("foreign", foreign(args.data))):
        for volume in volumes:
            found = segment(volume, weights)
            assert found.quality is not None
            row = {"scan": volume.name, "kind": kind, "region": found.region}
            flagged = bool(out_of_distribution_warning(found.quality))
            rows.append(row | found.quality._asdict() | {"flagged": flagged})
            print(*rows[-1].values(), flush=True)
    pd.DataFrame(rows).round(3).to_csv(args.output, index=False)


def foreign(data: Path) -> list[Volume]:
    """Return scans unlike those that the weights were trained on."""
    thighs, legs = (musclejax.load(data / f"test_{part}.nii.gz") for part in ("up", "low"))
    found = [
        *(reformatted(v, plane) for v in (thighs, legs) for plane in ("coronal", "sagittal")),
        replace(legs, affine=legs.affine @ np.diag([ARM, ARM, 1, 1]), name="arm_size"),
        replace(thighs, data=hounsfield(thighs.data), name="hounsfield"),
    ]
    rng, shape = np.random.default_rng(0), (256, 256, 12)
    affine = np.diag([STEP_MM, STEP_MM, 10.0, 1.0])
    noise = np.hypot(*rng.normal(size=(2, *shape))).astype(np.float32)
    shapes = {"noise": np.zeros(shape[:2]), "bottles": bottles(shape), "abdomen": abdomen(shape)}
    for name, slice_ in shapes.items():
        image = 100 * slice_[..., None] + (30 if name == "noise" else 3) * noise
        found.append(Volume(image.astype(np.float32), affine, name))
    return found


def reformatted(volume: Volume, plane: str) -> Volume:
    """Return a scan whose slices along its third axis are of another plane."""
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.data, volume.affine))
    sizes = image.header.get_zooms()
    cube = ndi.zoom(image.get_fdata(dtype=np.float32), [s / STEP_MM for s in sizes], order=1)
    turned = cube.transpose((0, 2, 1) if plane == "coronal" else (1, 2, 0))[:, :, ::6]
    affine = np.diag([STEP_MM, STEP_MM, 6 * STEP_MM, 1.0])
    return Volume(np.ascontiguousarray(turned), affine, f"{volume.name}_{plane}")


def hounsfield(image: np.ndarray) -> np.ndarray:
    """Return intensities as of computed tomography: air -1000, fat -100, muscle 60, bone 700."""
    share = image / np.percentile(image, 99)
    return np.interp(share, [0, 0.1, 0.3, 1.0], [-1000, -100, 60, 700]).astype(np.float32)


def bottles(shape: tuple[int, ...]) -> np.ndarray:
    """Return two disks of water."""
    x, y = np.meshgrid(*(np.arange(n) - n / 2 for n in shape[:2]), indexing="ij")
    radius = 60 / STEP_MM
    return np.minimum(np.hypot(x - 55, y), np.hypot(x + 55, y)) < radius


def abdomen(shape: tuple[int, ...]) -> np.ndarray:
    """Return an ellipse of 360 x 230 mm with organs of several intensities."""
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(*((np.arange(n) - n / 2) * STEP_MM for n in shape[:2]), indexing="ij")
    inside = (x / 180) ** 2 + (y / 115) ** 2 < 1
    organs = ndi.gaussian_filter(rng.normal(size=shape[:2]), 12)
    return inside * (0.6 + 0.4 * np.tanh(organs / organs.std()))


if __name__ == "__main__":
    main()
