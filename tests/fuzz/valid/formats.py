"""The small scan in other formats, and a fat-fraction map."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.fuzz.valid.scans import AFFINE, voxels

_LIMBS, _LIMBS_MM = (60, 32, 3), (6.0, 6.0, 8.0)
MUSCLE_FAT = 0.1


def pair(folder: Path) -> None:
    """Header and voxels apart, sform and qform alike."""
    image = nib.Nifti1Pair(voxels(), AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    nib.save(image, folder / "scan.img")


def freesurfer(folder: Path) -> None:
    content = nib.MGHImage(voxels(), AFFINE).to_bytes()
    (folder / "scan.mgz").write_bytes(gzip.compress(content, mtime=0))


def itk(folder: Path) -> None:
    """NRRD and MetaImage, each plain and packed."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(voxels().T)
    image.SetSpacing(np.abs(np.diag(AFFINE)[:3]).tolist())
    image.SetOrigin((AFFINE[:3, 3] * (-1, -1, 1)).tolist())
    for name in ("scan.nrrd", "scan.mha"):
        SimpleITK.WriteImage(image, folder / name, False)
        SimpleITK.WriteImage(image, folder / f"packed_{name}", True)


def limbs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the label map of two limbs, their body, and their affine."""
    x, y, _ = np.indices(_LIMBS)
    radius = np.minimum(np.hypot(x - 15, y - 16), np.hypot(x - 45, y - 16))
    labels = np.where((radius < 9) & (radius > 2), 1 + (y > 16), 0).astype(np.uint8)
    return labels, radius < 12, np.diag([*_LIMBS_MM, 1.0]) * (-1, -1, 1, 1)


def fat_map(folder: Path) -> None:
    """Fat fractions of the limbs: two values and noise; zero in the air."""
    labels, body, affine = limbs()
    noise = np.random.default_rng(3).normal(size=labels.shape)
    values = np.where(body, np.where(labels > 0, MUSCLE_FAT, 0.9) + 0.02 * noise, 0)
    image = nib.Nifti1Image(values.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    (folder / "fat.nii.gz").write_bytes(gzip.compress(image.to_bytes(), mtime=0))
