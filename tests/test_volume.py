"""NIfTI in and out: what is accepted, what is refused and how."""

import gzip
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.scan.nifti import save_labels, save_probabilities
from musclejax.scan.study import load
from musclejax.scan.volume import Volume, check
from tests.test_grid import ORIENTATIONS, reoriented


def test_sample_scan_has_the_geometry_of_its_provenance(thigh_path: Path) -> None:
    volume = load(thigh_path)
    # shared/data/PROVENANCE.md: 320 x 320 x 31, 1.5 x 1.5 x 6 mm, RAS.
    assert volume.data.shape == (320, 320, 31)
    assert volume.spacing_mm == (1.5, 1.5, 6.0)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    assert (volume.name, volume.axial_axis, volume.has_orientation) == ("test_up", 2, True)


def write(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    image = nib.Nifti1Image(data, np.eye(4) if affine is None else affine)
    nib.save(image, path)
    return path


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def with_value(value: float) -> np.ndarray:
    data = ones(4, 4, 4)
    data[1, 2, 3] = value
    return data


def with_sform(folder: Path, sform: np.ndarray) -> Path:
    header = nib.Nifti1Header()
    header.set_data_shape((4, 4, 4))
    header.set_sform(sform, 1)
    header["pixdim"][1:4] = nib.affines.voxel_sizes(sform)
    image = nib.Nifti1Image(ones(4, 4, 4), None, header)
    image.header["pixdim"] = header["pixdim"]  # nibabel makes 1 of 0
    nib.save(image, folder / "scan.nii")
    return folder / "scan.nii"


def with_spacing(*spacing: float) -> Callable[[Path], Path]:
    return lambda folder: with_sform(folder, np.diag([*spacing, 1]))


def truncated(folder: Path) -> Path:
    path = write(folder / "scan.nii.gz", np.random.default_rng(0).normal(size=(9, 9, 9)))
    path.write_bytes(path.read_bytes()[:2000])
    return path


def not_nifti(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    path.write_bytes(gzip.compress(b"a letter, not a scan" * 50))
    return path


def not_gzip(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    path.write_text("a letter, not a scan")
    return path


def singular(folder: Path) -> Path:
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 1] = affine[:3, 0]
    return with_sform(folder, affine)


BAD = {
    "nan": (lambda f: write(f / "scan.nii", with_value(np.nan)), "1 voxels that are NaN"),
    "infinite": (
        lambda f: write(f / "scan.nii", with_value(np.inf)),
        "1 voxels that are NaN or inf",
    ),
    "2-d": (lambda f: write(f / "scan.nii", ones(4, 5)), r"2-D data of shape 4 x 5"),
    "4-d": (lambda f: write(f / "scan.nii", ones(4, 4, 4, 3)), r"4-D data.*one echo"),
    "zero spacing": (with_spacing(0, 1, 1), "pixdim 0 x 1 x 1"),
    "absurd spacing": (with_spacing(1, 1, 1000), r"spacing 1 x 1 x 1000 mm; accepted: 0.05 to 100"),
    "tiny spacing": (with_spacing(1e-3, 1, 1), r"spacing 0.001 x 1 x 1 mm"),
    "singular": (singular, "singular affine"),
    "empty": (lambda f: write(f / "scan.nii", 0 * ones(4, 4, 4)), "only zeros"),
    "not nifti": (not_nifti, "no readable NIfTI"),
    "not gzip": (not_gzip, "no readable NIfTI"),
    "truncated": (truncated, "no readable NIfTI"),
    "missing": (lambda f: f / "scan.nii", "no such file"),
    "complex": (lambda f: write(f / "scan.nii", ones(4, 4, 4) * 1j), "type complex"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_scans_get_one_line_that_names_file_finding_and_remedy(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load(path)
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: found ")
    assert "; accepted: " in line


def test_images_and_volumes_are_loaded_as_their_file(tmp_path: Path) -> None:
    data = np.random.default_rng(0).uniform(1, 9, (4, 5, 6)).astype(np.float32)
    path = write(tmp_path / "scan.nii.gz", data, np.diag([-2.0, 3, 4, 1]))
    from_file = load(path)
    from_image = load(nib.load(path))
    for volume in (from_image, load(from_file), load(nib.Nifti1Image(data, from_file.affine))):
        np.testing.assert_array_equal(volume.data, from_file.data)
        np.testing.assert_array_equal(volume.affine, from_file.affine)
    assert (from_image.name, from_image.header) == ("scan", from_file.header)
    assert load(from_file) is from_file
    with pytest.raises(InputError, match="image: found 4-D data"):
        load(nib.Nifti1Image(ones(3, 3, 3, 2), np.eye(4)))
    with pytest.raises(InputError, match="bad: found only zeros"):
        load(Volume(0 * ones(3, 3, 3), np.eye(4), "bad"))


def test_a_format_without_a_nifti_header_keeps_its_geometry() -> None:
    affine = np.diag([-2.0, 3, 4, 1])
    volume = load(nib.MGHImage(ones(3, 4, 5), affine))
    np.testing.assert_allclose(volume.affine, affine)
    assert volume.header is None


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_canonical_view_of_every_orientation_is_one(orientation: np.ndarray) -> None:
    """LPS: x to the left, y to the back, z to the head; the way back is exact."""
    affine = np.diag([-2.0, -3, 4, 1])  # lps itself
    volume = Volume(np.random.default_rng(0).uniform(size=(4, 5, 6)).astype(np.float32), affine)
    other = reoriented(volume, orientation)
    np.testing.assert_array_equal(other.lps.data, volume.data)
    np.testing.assert_allclose(other.lps.affine, affine)
    np.testing.assert_allclose(other.lps.spacing_mm, (2, 3, 4))
    np.testing.assert_array_equal(other.lps.body, volume.lps.body)
    assert other.lps is other.lps
    for array in (other.data, np.stack([other.data, -other.data], -1)):
        np.testing.assert_array_equal(other.lps.to_file(other.lps.from_file(array)), array)
    for z in range(6):
        index = other.lps.file_index(z)
        np.testing.assert_array_equal(
            np.take(other.data, index, other.axial_axis).max(), volume.data[:, :, z].max()
        )
    indices = other.lps.file_index(np.arange(6))
    assert indices.tolist() == [other.lps.file_index(z) for z in range(6)]


def test_a_volume_is_one_line() -> None:
    volume = Volume(ones(4, 5, 6), np.diag([1.5, 1.5, 6, 1]), "knee")
    assert repr(volume) == "<Volume knee: 4 x 5 x 6 voxels of 1.5 x 1.5 x 6 mm>"


def test_singleton_fourth_dimension_is_one_volume(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii", ones(4, 5, 6, 1))
    assert load(path).data.shape == (4, 5, 6)


def test_scale_and_offset_of_the_header_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((3, 3, 3), 7, np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, 10.0)
    nib.save(image, tmp_path / "scan.nii")
    np.testing.assert_array_equal(load(tmp_path / "scan.nii").data, 24)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1), (1, 4)])
def test_labels_keep_sform_and_qform(tmp_path: Path, codes: tuple[int, int]) -> None:
    sform = np.array([[-1.2, 0.1, 0, 90], [0.1, 1.2, 0, -80], [0, 0, 5, 33], [0, 0, 0, 1.0]])
    qform = np.array([[0, 0, 2.0, 1], [1.5, 0, 0, 2], [0, 1.5, 0, 3], [0, 0, 0, 1]])
    header = nib.Nifti1Header()
    header.set_data_shape((3, 4, 5))
    header.set_sform(sform, codes[0])
    header.set_qform(qform, codes[1])
    header.set_xyzt_units("mm")
    nib.save(nib.Nifti1Image(ones(3, 4, 5), None, header), tmp_path / "scan.nii.gz")
    volume = load(tmp_path / "scan.nii.gz")
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 13
    save_labels(tmp_path / "labels.nii.gz", labels, volume, anatomy.REGIONS["thigh"])
    image, scan = nib.load(tmp_path / "labels.nii.gz"), nib.load(tmp_path / "scan.nii.gz")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)
    np.testing.assert_array_equal(image.affine, scan.affine)
    for get in ("get_sform", "get_qform"):
        before, code_before = getattr(scan.header, get)(coded=True)
        after, code_after = getattr(image.header, get)(coded=True)
        assert code_after == code_before
        if before is not None:
            np.testing.assert_array_equal(after, before)


def test_label_names_are_in_the_header(tmp_path: Path) -> None:
    volume = Volume(ones(3, 3, 3), np.eye(4))
    region = anatomy.REGIONS["leg"]
    save_labels(tmp_path / "l.nii.gz", np.ones((3, 3, 3), np.uint8), volume, region)
    (extension,) = nib.load(tmp_path / "l.nii.gz").header.extensions
    labels = ElementTree.fromstring(extension.get_content()).findall(".//Label")
    names = {int(label.get("Key", -1)): label.text for label in labels}
    assert names == {0: "background", **{m.number: m.name for m in region.muscles}}


def test_orientation_missing_from_the_file_is_told(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((3, 3, 3))
    nib.save(nib.Nifti1Image(ones(3, 3, 3), None, header), tmp_path / "scan.nii")
    assert not load(tmp_path / "scan.nii").has_orientation


def test_probabilities_are_stored_in_255_steps(tmp_path: Path) -> None:
    steps = np.array([0, 51, 255, 102], np.uint8).reshape(1, 1, 2, 2)
    save_probabilities(tmp_path / "p.nii.gz", steps, Volume(ones(1, 1, 2), np.eye(4)))
    found = nib.load(tmp_path / "p.nii.gz").get_fdata()
    np.testing.assert_allclose(found.ravel(), [0, 0.2, 1, 0.4], atol=1e-6)


def test_a_volume_made_by_hand_is_checked_too() -> None:
    with pytest.raises(InputError, match="mine: found only zeros"):
        check(Volume(np.zeros((3, 3, 3), np.float32), np.eye(4), "mine"))
