"""Made-up labels of two limbs, written as files and read back as pairs."""

from pathlib import Path

import nibabel as nib
import numpy as np

from musclejax.evaluation.cases import Pair, read_pair, read_references

SPACING_MM = (3.0, 3.0, 8.0)
AFFINE = np.diag([*SPACING_MM, 1.0])
ORIENTATIONS = ("RAS", "LPS", "PIR", "SLA")


def thigh(limbs: np.ndarray) -> np.ndarray:
    """Labels in RAS order: in either disk VL lies in front and AM behind."""
    front = np.arange(limbs.shape[1])[None, :, None] > 31
    return np.where(limbs > 0, np.where(front, 1, 7), 0).astype(np.uint8)


def write(path: Path, data: np.ndarray, axcodes: str = "RAS") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axcodes)
    )
    nib.save(image.as_reoriented(turn), path)
    return path


def make_pair(
    folder: Path, reference: np.ndarray, prediction: np.ndarray, axcodes: str = "RAS"
) -> Pair:
    """Write both label maps in `folder` and read them as the pair of case "a"."""
    write(folder / "ref" / "a.nii.gz", reference, axcodes)
    path = write(folder / "pred" / "a_labels.nii.gz", prediction, axcodes)
    dataset = read_references(folder / "ref", "thigh")
    return read_pair(dataset.cases[0], dataset, path)
