"""What a path on the command line means."""

from pathlib import Path

import numpy as np
import pytest

from musclejax.errors import InputError
from musclejax.scan.study import find_scans, search
from tests.dicom_series import affine_ras, numbers, series_images, write


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """NIfTI and series folders are scans; our own outputs, hidden and other files are not."""
    for name in ("b.nii.gz", "a.nii", "a_labels.nii.gz", "b_probabilities.nii.gz", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / ".a.12345678.partial").mkdir()
    (tmp_path / "empty").mkdir()
    affine = affine_ras(np.eye(3).tolist(), (1.0, 1.0, 3.0))
    write(tmp_path / "series", series_images(numbers(), affine))
    assert [p.name for p in find_scans(tmp_path)] == ["a.nii", "b.nii.gz", "series"]
    assert find_scans(tmp_path / "series") == [tmp_path / "series"]
    assert find_scans(tmp_path / "a_labels.nii.gz") == [tmp_path / "a_labels.nii.gz"]


def test_a_dicomdir_is_no_series(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    affine = affine_ras(np.eye(3).tolist(), (1.0, 1.0, 3.0))
    write(tmp_path / "IM0", series_images(numbers(), affine))
    assert find_scans(tmp_path) == [tmp_path / "IM0"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder without scans"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        find_scans(tmp_path / "none")


def test_a_stray_dicom_file_hides_no_scan(tmp_path: Path) -> None:
    """One stray .dcm once hid all NIfTI scans of a folder; a series is a scan beside them."""
    affine = affine_ras(np.eye(3).tolist(), (1.0, 1.0, 3.0))
    slices = series_images(numbers(), affine)
    (tmp_path / "b.nii.gz").write_text("")
    write(tmp_path, slices[:1])
    found = search(tmp_path)
    assert [p.name for p in found.scans] == ["b.nii.gz"]
    assert "left out, single DICOM images beside other scans" in found.warnings[0]
    write(tmp_path, slices)
    assert search(tmp_path).scans == (tmp_path, tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").unlink()
    (alone := tmp_path / "alone").mkdir()
    write(alone, slices[:1])
    assert find_scans(alone) == [alone]
