"""A small scan, a dataset, and predictions of it."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from musclejax.files import sha256
from musclejax.scan.source import Source
from tests.limbs import SPACING_MM, volume, write_dataset

SLICES = 4
SCAN = "imagesTr/leg00_0000.nii.gz"
"""The scan of the first case."""
_SCALE = 0.1
AFFINE = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
AFFINE[:3, 3] = 12, -7, 30


def voxels() -> np.ndarray:
    return volume("leg", 0, SLICES, _SCALE)[0].astype(np.int16)


def scan(folder: Path) -> None:
    """One scan as .nii and .nii.gz, sform and qform alike."""
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    content = image.to_bytes()
    (folder / "scan.nii").write_bytes(content)
    (folder / "scan.nii.gz").write_bytes(gzip.compress(content, mtime=0))


def dataset(folder: Path) -> None:
    """Three legs in nnU-Net's layout."""
    write_dataset(folder, slices=SLICES, scale=_SCALE)


def predictions(folder: Path) -> None:
    """A dataset, and its first case as `segment` leaves it; the scan has been moved since."""
    dataset(folder)
    (folder / "out").mkdir()
    labels = (folder / "labelsTr" / "leg00.nii.gz").read_bytes()
    (folder / "out" / "leg00_labels.nii.gz").write_bytes(labels)
    scan = (folder / SCAN).read_bytes()
    source = Source("/scans/leg00.nii.gz", 1, len(scan), 1, sha256(scan))
    record = {
        **{"scan": "leg00", "region": "leg", "settings": {"tta": True}},
        **{"source": source.path, "source_files": source._asdict(), "scan_sha256": source.sha256},
        "files": {"leg00_labels.nii.gz": sha256(labels)},
    }
    (folder / "out" / "leg00_run.json").write_text(json.dumps(record))
