"""Simple synthetic limbs with known labels, written as datasets in nnU-Net's raw layout.

Two disks of fat with a bone; the muscles are sectors around it, each of its own brightness,
mirrored in the left limb. Nothing like anatomy: a network learns it in a minute.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from musclejax import anatomy

SHAPE = (150, 90)
"""Columns and rows of a slice."""
SPACING_MM = (2.0, 2.0, 8.0)


def limb_labels(
    region: str, x: np.ndarray, y: np.ndarray, radius: float, turn: float
) -> np.ndarray:
    """Return labels of one limb around the origin; x grows laterally, y backwards."""
    count = len(anatomy.REGIONS[region].muscles)
    angle = (np.arctan2(y, x) + turn) % (2 * np.pi)
    sector = np.floor(angle / (2 * np.pi) * count).astype(int).clip(0, count - 1) + 1
    distance = np.hypot(x, y)
    # A gap between neighbors: background, as between real muscles.
    edge = np.abs((angle / (2 * np.pi) * count) % 1 - 0.5)
    inside = (distance > 0.25 * radius) & (distance < 0.8 * radius) & (edge < 0.46)
    return np.where(inside, sector, 0)


def volume(region: str, seed: int, slices: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels as [left, posterior, superior] arrays."""
    shape = tuple(round(scale * n) for n in SHAPE)
    rng = np.random.default_rng(seed)
    column, row = np.meshgrid(*(np.arange(n) / scale for n in shape), indexing="ij")
    count = len(anatomy.REGIONS[region].muscles)
    bright = np.linspace(0.25, 0.9, count + 1)
    image = np.zeros((*shape, slices))
    labels = np.zeros((*shape, slices), np.uint8)
    center, turn = rng.uniform(-3, 3, 2), rng.uniform(-0.15, 0.15)
    for z in range(slices):
        radius = rng.uniform(27, 31) - 0.4 * z
        for middle, toward in ((38, -1), (112, 1)):
            x, y = toward * (column - middle - center[0]), row - 45 - center[1]
            own = limb_labels(region, x, y, radius, turn)
            body = np.hypot(x, y) < radius
            labels[..., z] = np.where(own > 0, own, labels[..., z])
            tone = np.where(own > 0, bright[own], np.where(np.hypot(x, y) < 0.2 * radius, 0.1, 1.0))
            image[..., z] = np.where(body, tone, image[..., z])
    image = 500 * np.abs(image + 0.03 * rng.normal(size=image.shape))
    return image.astype(np.float32), labels


def write_dataset(
    folder: Path,
    region: str = "leg",
    subjects: int = 3,
    slices: int = 4,
    blank: int = 0,
    seed: int = 0,
    splits: tuple[str, ...] = (),
    scale: float = 1.0,
) -> Path:
    """Write a dataset of one scan a subject; the last `blank` slices of each are not annotated."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    x, y, z = SPACING_MM
    affine = np.diag([-x, -y, z, 1.0])
    rows = ["case,subject,region,severity,split"]
    for n in range(subjects):
        image, labels = volume(region, seed + n, slices, scale)
        labels[..., slices - blank :] = 0
        case = f"{region}{n:02d}"
        nib.save(nib.Nifti1Image(image, affine), folder / "imagesTr" / f"{case}_0000.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / "labelsTr" / f"{case}.nii.gz")
        split = splits[n] if n < len(splits) else ""
        rows.append(f"{case},subject{n:02d},{region},{'mild' if n % 2 else 'severe'},{split}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    muscles = anatomy.REGIONS[region].muscles
    index = {
        "channel_names": {"0": "synthetic"},
        "labels": {"background": 0, **{m.abbreviation: m.number for m in muscles}},
        "numTraining": subjects,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder
