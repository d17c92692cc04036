"""Scans that files describe badly: a row an input, and what becomes of it."""

import gzip
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from musclejax import anatomy
from musclejax.errors import InputError
from musclejax.scan import itk
from musclejax.scan.header import header_geometry
from musclejax.scan.nifti import load_nifti, save_labels, save_probabilities
from musclejax.scan.study import load, search
from musclejax.scan.volume import Volume, grids_differ_voxels, scan_name, shear_degrees

SHAPE = (6, 5, 4)
SPACING = (1.5, 1.5, 6.0)
VOXELS = np.arange(1, 121, dtype=np.int16).reshape(SHAPE)


def affine(
    spacing: tuple[float, ...] = SPACING,
    flip: tuple[int, ...] = (1, 1, 1),
    origin: tuple[float, ...] = (-90, -80, 33),
) -> np.ndarray:
    """Axes to the right, front and head, turned by 0.3 about the first."""
    c, s = np.cos(0.3), np.sin(0.3)
    made = np.eye(4)
    made[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * spacing * flip
    made[:3, 3] = origin
    return made


def header_bytes(**fields: Any) -> bytes:
    """Return the header of a NIfTI file as some writer left it; `s` and `q` are forms."""
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = SPACING
    if "q" in fields:
        header.set_qform(fields.pop("q"), 1)
    if "s" in fields:
        header.set_sform(fields.pop("s"), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + bytes(4)


def write(path: Path, **fields: Any) -> Path:
    path.write_bytes(header_bytes(**fields) + VOXELS.tobytes("F"))
    return path


def pixdim(*spacing: float) -> list[float]:
    return [1, *spacing, 1, 1, 1, 1]


A, MIRRORED = affine(), affine(flip=(-1, 1, 1))
SINGULAR, SHEARED = A.copy(), A.copy()
SINGULAR[1] = 0
SHEARED[0, 1] = 0.2
METERS = affine(tuple(s / 1000 for s in SPACING), origin=(-0.09, -0.08, 0.033))
MICRONS = affine(tuple(s * 1000 for s in SPACING), origin=(-9e4, -8e4, 33e3))
TURNED = [1, -1.5, 1.5, 6, 1, 1, 1, 1]

# Name -> fields, the affine that ITK 5.4 (SimpleITK 2.5.7) reads, words of each warning. The tests
# compare with SimpleITK itself where it is installed.
GEOMETRIES: dict[str, tuple[dict[str, Any], np.ndarray, tuple[str, ...]]] = {
    # All is well: nothing is said.
    "both": ({"s": A, "q": A}, A, ()),
    "sform": ({"s": A}, A, ()),
    "qform": ({"q": A}, A, ()),
    "qform, left-handed": ({"q": affine(flip=(1, 1, -1))}, affine(flip=(1, 1, -1)), ()),
    "qfac 0": ({"q": A, "pixdim": [0, *SPACING, 1, 1, 1, 1]}, A, ()),
    "no unit": ({"s": A, "xyzt_units": 0}, A, ()),
    "no orientation": ({}, np.diag([-1.5, -1.5, 6, 1]), ()),
    # One header, two places.
    "sform mirrored": ({"q": A, "s": MIRRORED}, MIRRORED, ("10 voxels: the sform counts",)),
    "sform mirrored, aligned": (
        {"q": A, "s": affine(flip=(-1, 1, 1), origin=(-82.5, -80, 33)), "sform_code": 2},
        A,
        ("5 voxels: the qform counts",),
    ),
    "sform mirrored, MNI": (
        {
            "q": A,
            "s": affine(flip=(-1, 1, 1), origin=(90, -80, 33)),
            "sform_code": 4,
            "qform_code": 2,
        },
        A,
        ("120 voxels: the qform counts",),
    ),
    "sform 0.1 mm away": (
        {"q": A, "s": affine(origin=(-90.1, -80, 33)), "sform_code": 2},
        A,
        ("0.0667 voxels",),
    ),
    "sform 0.01 mm away": (
        {"q": A, "s": affine(origin=(-90.01, -80, 33))},
        affine(origin=(-90.01, -80, 33)),
        (),
    ),
    "sform of zero rows": ({"q": A, "s": SINGULAR}, A, ("the qform counts",)),
    "sform of zeros": ({"q": A, "s": np.zeros((4, 4))}, A, ("the qform counts",)),
    "sform sheared": ({"q": A, "s": SHEARED}, A, ("the qform counts",)),
    "qform of NaN": ({"q": A, "s": A, "quatern_b": np.nan}, A, ("one is void: the sform",)),
    # Spacing is pixdim's.
    "pixdim against sform": (
        {"s": affine((3, 3, 12))},
        A,
        ("pixdim says 1.5 x 1.5 x 6, the sform 3 x 3 x 12: pixdim counts",),
    ),
    "pixdim 1 % off": ({"s": affine((1.5, 1.5, 6.06))}, A, ("pixdim says",)),
    "negative pixdim, qform": ({"q": A, "pixdim": TURNED}, MIRRORED, ("negative",)),
    "negative pixdim, sform": ({"s": A, "pixdim": TURNED}, MIRRORED, ("negative",)),
    "negative pixdim alone": (
        {"pixdim": TURNED},
        np.diag([1.5, -1.5, 6, 1]),
        ("negative",),
    ),
    # Units.
    "meters": (
        {"s": METERS, "q": METERS, "pixdim": pixdim(0.0015, 0.0015, 0.006), "xyzt_units": 1},
        A,
        ("in meters: voxels of 1.5 x 1.5 x 6 mm",),
    ),
    "microns": (
        {"s": MICRONS, "pixdim": pixdim(1500, 1500, 6000), "xyzt_units": 3},
        A,
        ("in microns: voxels of 1.5 x 1.5 x 6 mm",),
    ),
}


def as_itk(path: Path) -> tuple[tuple[float, ...], np.ndarray]:
    """Return size and RAS affine as ITK reads them."""
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image = sitk.ReadImage(str(path))
    found = np.eye(4)
    found[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    found[:3, 3] = image.GetOrigin()
    return image.GetSize()[:3], np.diag([-1, -1, 1, 1]) @ found


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_header_is_read_as_itk_reads_it(name: str, tmp_path: Path) -> None:
    fields, expected, words = GEOMETRIES[name]
    volume = load(write(tmp_path / "scan.nii", **dict(fields)))
    assert grids_differ_voxels(SHAPE, volume.affine, SHAPE, expected) < 0.02
    assert len(volume.warnings) == len(words), volume.warnings
    for warning, word in zip(volume.warnings, words, strict=True):
        assert word in warning


@pytest.mark.parametrize("name", GEOMETRIES)
def test_labels_are_placed_as_the_scan(name: str, tmp_path: Path) -> None:
    """Labels lie on the scan in every viewer: the fields that place it are copied as they are."""
    fields, _, _ = GEOMETRIES[name]
    path = write(tmp_path / "scan.nii", **dict(fields))
    volume = load(path)
    labels = np.ones(SHAPE, np.uint8)
    save_labels(tmp_path / "l.nii.gz", labels, volume, anatomy.REGIONS["thigh"])
    save_probabilities(tmp_path / "p.nii.gz", np.stack([labels] * 2, -1), volume)
    again = load_nifti(tmp_path / "l.nii.gz")
    np.testing.assert_array_equal(again.affine, volume.affine)
    stored = nib.Nifti1Header(path.read_bytes()[:348], check=False)
    written = nib.Nifti1Header(
        gzip.decompress((tmp_path / "l.nii.gz").read_bytes())[:348], check=False
    )
    for field in ("pixdim", "xyzt_units", "sform_code", "qform_code", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(written[field], stored[field])


@pytest.mark.parametrize("name", GEOMETRIES)
def test_itk_reads_scan_and_labels_alike(name: str, tmp_path: Path) -> None:
    fields, expected, _ = GEOMETRIES[name]
    path = write(tmp_path / "scan.nii", **dict(fields))
    size, itk_affine = as_itk(path)
    assert size == SHAPE
    volume = load(path)
    labels = np.ones(SHAPE, np.uint8)
    save_labels(tmp_path / "l.nii.gz", labels, volume, anatomy.REGIONS["thigh"])
    # Rounding below a hundredth of a voxel is not corrected: it was never seen.
    assert grids_differ_voxels(SHAPE, volume.affine, SHAPE, itk_affine) < 0.01
    assert grids_differ_voxels(SHAPE, itk_affine, SHAPE, expected) < 0.02
    np.testing.assert_allclose(as_itk(tmp_path / "l.nii.gz")[1], itk_affine, atol=1e-12)


def test_a_sheared_sform_alone_is_kept_with_a_warning(tmp_path: Path) -> None:
    """ITK refuses it. Areas times the distance of slices are volumes."""
    sheared = np.diag([1.5, 1.5, 6, 1])
    sheared[0, 1] = 0.4
    step = float(np.hypot(1.5, 0.4))
    volume = load(write(tmp_path / "scan.nii", s=sheared, pixdim=pixdim(1.5, step, 6)))
    np.testing.assert_allclose(volume.affine, sheared, atol=1e-6)
    (warning,) = volume.warnings
    assert "15 degrees off their right angles" in warning
    assert volume.pixel_mm2 == pytest.approx(1.5 * 1.5)
    assert volume.pixel_mm2 * 6 == pytest.approx(volume.voxel_mm3)


def test_a_sheared_affine_is_written_so_that_itk_reads_it(tmp_path: Path) -> None:
    """Rounded positions of DICOM shear slightly more than ITK takes: it finds a qform."""
    slightly = A.copy()
    slightly[0, 2] += 0.01
    volume = Volume(VOXELS.astype(np.float32), slightly)
    save_labels(tmp_path / "l.nii.gz", VOXELS.astype(np.uint8), volume, anatomy.REGIONS["leg"])
    np.testing.assert_allclose(nib.load(tmp_path / "l.nii.gz").affine, slightly, atol=1e-5)
    found = as_itk(tmp_path / "l.nii.gz")[1]
    assert grids_differ_voxels(SHAPE, slightly, SHAPE, found) < 0.03


@pytest.mark.parametrize(
    ("change", "degrees"),
    [
        (np.eye(3), 0),
        (np.diag([-2, 1, 6]), 0),
        (np.array([[1, np.tan(np.radians(20)), 0], [0, 1, 0], [0, 0, 1]]), 20),
        (np.array([[1, 0, 0], [0, 1, np.tan(np.radians(35))], [0, 0, 1]]), 35),
        (np.zeros((3, 3)), 90),
        (np.full((3, 3), np.nan), 90),
        # Three axes in one plane, each pair of them 60 degrees apart.
        (np.array([[1, 0.5, -0.5], [0, 0.75**0.5, 0.75**0.5], [0, 0, 0]]), 90),
    ],
)
def test_shear_is_the_largest_angle_to_a_normal(change: np.ndarray, degrees: float) -> None:
    made = np.eye(4)
    made[:3, :3] = change
    assert shear_degrees(made) == pytest.approx(degrees, abs=1e-5)


def test_the_distance_of_two_grids_is_that_of_their_farthest_corners() -> None:
    near = A.copy()
    near[0, 3] += 0.015
    assert grids_differ_voxels(SHAPE, near, SHAPE, A) == pytest.approx(0.01)
    turned = A @ np.array([[1, -0.01, 0, 0], [0.01, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert grids_differ_voxels((401, 401, 4), turned, (401, 401, 4), A) == pytest.approx(4)
    for bad in (A * np.nan, np.full((4, 4), np.inf), np.zeros((4, 4)), np.full((4, 4), 1e308)):
        assert grids_differ_voxels(SHAPE, A, SHAPE, bad) == np.inf
        assert grids_differ_voxels(SHAPE, bad, SHAPE, A) == np.inf
    assert grids_differ_voxels(SHAPE, A, (6, 5, 3), A) == np.inf


def test_a_small_difference_of_spacing_moves_the_far_corner() -> None:
    """Ours: 0.09 % of 512 columns is 0.46 voxels."""
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 20))
    header.set_sform(affine((0.7, 0.7, 5)), 1)
    for share, count in ((1.0, 0), (1.0009, 1)):
        header["pixdim"][1:4] = np.array((0.7, 0.7, 5)) * share
        found = header_geometry(header, (512, 512, 20), affine((0.7, 0.7, 5)), "scan")
        assert len(found.warnings) == count


@pytest.mark.parametrize("code", [1, 2])
def test_a_rounded_quaternion_is_no_disagreement(code: int) -> None:
    """Of scans tilted about one axis, 31 % had a warning, and with sform code 2 11 % no labels."""
    shape = (512, 512, 60)
    for degrees in np.linspace(-17, 17, 40):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        tilted = np.eye(4)
        tilted[:3, :3] = np.array([[-1, 0, 0], [0, c, -s], [0, s, c]]) * (0.7, 0.7, 5)
        header = nib.Nifti1Header()
        header.set_data_shape(shape)
        header.set_sform(tilted, code)
        header.set_qform(tilted, 1)
        found = header_geometry(header, shape, tilted, "scan")
        assert found.warnings == ()
        assert grids_differ_voxels(shape, found.affine, shape, tilted) < 0.5


def far(distance: float) -> np.ndarray:
    return affine(origin=(distance, 0, 0))


STEEP = np.diag([1.5, 1.5, 6, 1])
STEEP[0, 1] = 1.0  # 33.7 degrees
NEARLY = np.diag([1.5, 1.5, 6, 1])
NEARLY[0, 1] = 1e7

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # Headers that nibabel refuses with HeaderDataError; ours.
    "datatype 0": ({"datatype": 0}, "no readable NIfTI"),
    "datatype 1": ({"datatype": 1, "bitpix": 1}, "no readable NIfTI"),
    "datatype 999": ({"datatype": 999}, "no readable NIfTI"),
    "intercept NaN": ({"scl_slope": 2, "scl_inter": np.nan}, "no readable NIfTI"),
    "quaternion of length 1.3": ({"q": A, "quatern_b": 1.2, "quatern_c": 0.5}, "no readable NIfTI"),
    # Declared sizes.
    "giant": ({"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}, "declares 3.28e[+]13 voxels"),
    "larger than the file": ({"dim": [3, 600, 600, 600, 1, 1, 1, 1]}, "592 bytes, where"),
    "negative size": ({"dim": [3, -6, 5, 4, 1, 1, 1, 1]}, "a shape of -6 x 5 x 4"),
    "size 0": ({"dim": [3, 6, 0, 4, 1, 1, 1, 1]}, "a shape of 6 x 0 x 4"),
    "8 dimensions": (
        {"dim": [8, 6, 5, 4, 1, 1, 1, 1]},
        "no header of NIfTI|8 dimensions|2048 dimensions",
    ),
    "no dimension": ({"dim": [0, 6, 5, 4, 1, 1, 1, 1]}, "0 dimensions"),
    "vox_offset 0": ({"vox_offset": 0}, "voxels that begin at byte 0, inside the header"),
    "vox_offset NaN": ({"vox_offset": np.nan}, "begin at byte nan"),
    "vox_offset infinite": ({"vox_offset": np.inf}, "begin at byte inf"),
    "vox_offset beyond the file": ({"vox_offset": 9e5}, "592 bytes, where the header"),
    # Geometry without a meaning.
    "pixdim 0": ({"s": A, "pixdim": pixdim(0, 1.5, 6)}, "pixdim 0 x 1.5 x 6"),
    "pixdim NaN": ({"s": A, "pixdim": pixdim(np.nan, 1.5, 6)}, "pixdim nan x"),
    "NaN": ({"s": A * np.nan}, "a singular affine"),
    "origin NaN": ({"s": far(np.nan)}, "a singular affine"),
    "origin 1e30": ({"s": far(1e30)}, "an origin 1e[+]30 mm"),
    "shear of 34 degrees": ({"s": STEEP, "pixdim": pixdim(1.5, 1.8, 6)}, "degrees off"),
    "two axes alike": ({"s": NEARLY, "pixdim": pixdim(1.5, 1.5, 6)}, "singular|degrees off"),
    "pixels of 99 mm": (
        {"s": affine((99, 99, 6)), "pixdim": pixdim(99, 99, 6)},
        "spacing 99 x 99 x 6 mm; accepted: at most 10 mm within axial slices",
    ),
    # ITK takes either, by the last digit of a singular vector.
    "mirrored, one origin": ({"q": A, "s": MIRRORED, "sform_code": 2}, "turns axes of the qform"),
    "turned by 180 degrees": (
        {"q": A, "s": affine(flip=(-1, -1, 1)), "sform_code": 4},
        "turns axes of the qform around; accepted: forms that agree",
    ),
    "microns for millimeters": ({"s": A, "xyzt_units": 3}, "spacing 0.0015 x 0.0015 x 0.006 mm"),
    "meters for millimeters": ({"s": A, "xyzt_units": 1}, "spacing 1500 x 1500 x 6000 mm"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("read", [load, load_nifti])
def test_a_bad_header_is_one_line_about_the_file(
    name: str, read: Callable[[Path], Volume], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`load_nifti` reads labels and maps: their geometry is checked as that of scans."""
    fields, words = REFUSED[name]
    path = write(tmp_path / "scan.nii", **dict(fields))
    with pytest.raises(InputError, match=words) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: found ")
    assert "\n" not in str(error.value)
    assert not caplog.records  # nibabel logs what it mends


def packed(contents: bytes) -> bytes:
    return gzip.compress(contents, mtime=0)


WHOLE = header_bytes(s=A) + VOXELS.tobytes("F")


def with_byte(contents: bytes, at: int) -> bytes:
    return contents[:at] + bytes([contents[at] ^ 4]) + contents[at + 1 :]


def stored_only(contents: bytes) -> bytes:
    """Return gzip without compression: a flipped bit still unpacks."""
    return gzip.compress(contents, compresslevel=0, mtime=0)


DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "one voxel's bit": ("s.nii.gz", with_byte(stored_only(WHOLE), 500), "CRC check failed"),
    "checksum": ("s.nii.gz", with_byte(packed(WHOLE), len(packed(WHOLE)) - 6), "CRC"),
    "cut": ("s.nii.gz", packed(WHOLE)[:-9], "no readable NIfTI"),
    "cut by its checksum": ("s.nii.gz", packed(WHOLE)[:-8], "no readable NIfTI"),
    "FreeSurfer, cut": ("s.mgz", packed(WHOLE)[:-9], "no readable scan"),
    "empty": ("s.nii", b"", "an empty file"),
    "empty, packed": ("s.nii.gz", packed(b""), "an empty file"),
    "short header": ("s.nii", WHOLE[:200], "no header of NIfTI"),
    "bomb": ("s.nii.gz", packed(WHOLE + bytes(3 << 20)), "more contents than its header"),
    "1 GB of a small file": (
        "s.nii.gz",
        packed(header_bytes(dim=[3, 800, 800, 800, 1, 1, 1, 1])),
        "where the header declares 1024000352",
    ),
    "FreeSurfer of 8e12 voxels": (
        "s.mgh",
        struct.pack(">6i", 1, 20000, 20000, 20000, 1, 3) + bytes(300),
        "declares 8e[+]12 voxels",
    ),
    "FreeSurfer of a negative size": (
        "s.mgh",
        struct.pack(">6i", 1, -2, 2, 2, 1, 3) + bytes(300),
        "a shape of -2 x 2 x 2 x 1",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path) -> None:
    file, contents, words = DAMAGED[name]
    (tmp_path / file).write_bytes(contents)
    with pytest.raises(InputError, match=words) as error:
        load(tmp_path / file)
    assert str(error.value).startswith(f"{tmp_path / file}: found ")


def test_every_flipped_bit_of_packed_voxels_is_found(tmp_path: Path) -> None:
    """Ours: 31 of 40 flipped bits once loaded, as the checksum was never read."""
    contents = packed(WHOLE)
    for at in range(10, len(contents), 7):
        path = tmp_path / "s.nii.gz"
        path.write_bytes(with_byte(contents, at))
        with pytest.raises(InputError):
            load(path)


@pytest.mark.parametrize("name", ["s.nii", "s.nii.gz", "S.NII", "S.NII.GZ", "s.Nii.Gz"])
def test_contents_count_not_the_suffix(name: str, tmp_path: Path) -> None:
    """gzip under .nii (converters write it), plain under .nii.gz, any case."""
    for contents in (WHOLE, packed(WHOLE)):
        (tmp_path / name).write_bytes(contents)
        volume = load(tmp_path / name)
        np.testing.assert_array_equal(volume.data, VOXELS)
        assert volume.name == name[:1]


BEHIND = {
    # Source: ours; a writer that puts 16 bytes before the voxels leaves as many behind them.
    "plain": ("s.nii", WHOLE + bytes(16), ("16 bytes behind the voxels",)),
    "packed": ("s.nii.gz", packed(WHOLE + bytes(16)), ("16 bytes behind the voxels",)),
    "nothing": ("s.nii", WHOLE, ()),
}


@pytest.mark.parametrize("name", BEHIND)
def test_bytes_behind_the_voxels_get_a_warning(name: str, tmp_path: Path) -> None:
    file, contents, words = BEHIND[name]
    (tmp_path / file).write_bytes(contents)
    warnings = load(tmp_path / file).warnings
    assert tuple(warning.partition(":")[0] for warning in warnings) == words


def analyze(folder: Path) -> Path:
    nib.save(nib.Spm2AnalyzeImage(VOXELS, np.diag([-1.5, 1.5, 6, 1])), folder / "s.img")
    return folder / "s.hdr"


def saved(folder: Path, image: Any, name: str) -> Path:
    nib.save(image, folder / name)
    return folder / name


FORMATS: dict[str, tuple[Callable[[Path], Path], np.ndarray]] = {
    "pair": (lambda f: saved(f, nib.Nifti1Pair(VOXELS, A), "s.hdr"), A),
    "pair by its voxels": (lambda f: saved(f, nib.Nifti1Pair(VOXELS, A), "s.img"), A),
    "packed pair": (lambda f: saved(f, nib.Nifti1Pair(VOXELS, A), "s.img.gz"), A),
    "NIfTI 2": (lambda f: saved(f, nib.Nifti2Image(VOXELS, A), "s.nii"), A),
    "NIfTI 2 pair": (lambda f: saved(f, nib.Nifti2Pair(VOXELS, A), "s.hdr"), A),
    "big-endian": (
        lambda f: saved(f, nib.Nifti1Image(VOXELS, A, nib.Nifti1Header(endianness=">")), "s.nii"),
        A,
    ),
    "FreeSurfer": (lambda f: saved(f, nib.MGHImage(VOXELS.astype("f4"), A), "s.mgz"), A),
    # Without an orientation; ITK's directions.
    "Analyze": (analyze, np.diag([-1.5, -1.5, 6, 1])),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_nibabel(name: str, tmp_path: Path) -> None:
    make, expected = FORMATS[name]
    volume = load(make(tmp_path))
    assert volume.name == "s"
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert grids_differ_voxels(SHAPE, volume.affine, SHAPE, expected) < 1e-5
    assert volume.has_orientation == (name != "Analyze")
    save_labels(tmp_path / "l.nii.gz", np.ones(SHAPE, np.uint8), volume, anatomy.REGIONS["leg"])
    again = load_nifti(tmp_path / "l.nii.gz")
    assert grids_differ_voxels(SHAPE, again.affine, SHAPE, expected) < 1e-5


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: %s\n"
NRRD += b"space directions: (1.5,0,0) (0,1.5,0) (0,0,6)\nendian: little\nencoding: %s\n"
NRRD += b"space origin: (1,2,3)\n%s\n"
META = b"ObjectType = Image\nNDims = 3\nDimSize = %s\nElementType = MET_SHORT\nOffset = 1 2 3\n"
META += b"ElementSpacing = 1.5 1.5 6\nCompressedData = %s\nElementDataFile = %s\n"
RAW = VOXELS.tobytes("F")
BIG = b"20000 20000 20000"


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("s.nrrd", NRRD % (b"6 5 4", b"raw", b"") + RAW),
        ("s.NRRD", NRRD % (b"6 5 4", b"gzip", b"") + packed(RAW)),
        ("s.mha", META % (b"6 5 4", b"False", b"LOCAL") + RAW),
    ],
)
def test_formats_of_itk(name: str, contents: bytes, tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    (tmp_path / name).write_bytes(contents)
    volume = load(tmp_path / name)
    np.testing.assert_array_equal(volume.data, VOXELS)
    expected = np.diag([-1.5, -1.5, 6, 1])
    expected[:3, 3] = -1, -2, 3
    np.testing.assert_allclose(volume.affine, expected)


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("s.nrrd", NRRD % (b"6 5 4", b"raw", b"data file: /etc/passwd\n"), "in another file"),
        ("s.nrrd", NRRD % (b"6 5 4", b"raw", b"datafile:/etc/passwd\n"), "in another file"),
        ("s.nrrd", NRRD % (BIG, b"gzip", b"") + packed(RAW), "declares 8e[+]12 voxels"),
        ("s.nrrd", NRRD % (b"600 5 4", b"raw", b"") + RAW, "where the header declares 12000"),
        ("s.nrrd", NRRD % (b"6 5 4", b"bzip2", b"") + RAW, "bzip2"),
        ("s.nrrd", NRRD % (b"6 5 4", b"raw", b"byte skip: 8\n") + RAW, "that do not follow"),
        ("s.nrrd", NRRD % (b"6 5 4", b"raw", b"x" * 5000) + RAW, "a line that is too long"),
        ("s.mha", b"HeaderSize = 8\n" + META % (b"6 5 4", b"False", b"LOCAL") + RAW, "not follow"),
        ("s.nrrd", NRRD % (b"6 -5 4", b"raw", b"") + RAW, "a shape of 6 -5 4"),
        ("s.nrrd", NRRD % (b"6 x 4", b"raw", b"") + RAW, "no readable .nrrd"),
        ("s.mha", META % (b"6 5 4", b"False", b"/etc/passwd"), "in another file"),
        ("s.mha", META % (BIG, b"True", b"LOCAL") + RAW, "declares 8e[+]12 voxels"),
        ("s.mha", b"\0" * 99, "no header of MetaImage"),
        ("s.mha", b"", "no header of MetaImage"),
    ],
)
def test_bad_files_of_itk_are_refused_before_it_reads_them(
    name: str, contents: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itk, "can_read_itk", lambda: True)
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError, match=words):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("s.mha", META % (b"6 5 4", b"False", b"LOCAL") + RAW + b"\0", "1 bytes behind"),
        ("s.nrrd", NRRD % (b"6 5 2", b"gzip", b"") + packed(RAW), "120 bytes behind"),
        ("s.mha", META.replace(b"Offset", b"Offsex") % (b"6 5 4", b"False", b"LOCAL") + RAW,
         "no Offset, TransformMatrix"),
        ("s.nrrd", NRRD.replace(b"space origin", b"# origin") % (b"6 5 4", b"raw", b"") + RAW,
         "no space origin"),
    ],
)  # fmt: skip
def test_files_of_itk_that_say_too_little_carry_a_warning(
    name: str, contents: bytes, words: str, tmp_path: Path
) -> None:
    """Source: ours; nothing was said."""
    pytest.importorskip("SimpleITK")
    (tmp_path / name).write_bytes(contents)
    assert words in " ".join(load(tmp_path / name).warnings)


def test_without_simpleitk_its_files_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itk, "can_read_itk", lambda: False)
    monkeypatch.setattr("musclejax.scan.study.can_read_itk", lambda: False)
    (tmp_path / "s.nrrd").write_bytes(NRRD % (b"6 5 4", b"raw", b"") + RAW)
    write(tmp_path / "a.nii", s=A)
    with pytest.raises(InputError, match=r"musclejax\[formats\]"):
        load(tmp_path / "s.nrrd")
    found = search(tmp_path)
    assert [p.name for p in found.scans] == ["a.nii"]
    assert "1 x .nrrd without SimpleITK" in found.warnings[0]


def test_a_folder_is_searched_to_the_bottom_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    """Names in any case, pairs, nested folders; hidden files of macOS are no scans."""
    for folder in ("sub-01/anat", "sub-02/anat", ".git", "f.nii", "set/labelsTr"):
        (tmp_path / folder).mkdir(parents=True)
    scans = ("B.NII.GZ", "C.NII", "d.nii", "e.mgz", "f.nii/f.nii", "sub-01/anat/t1.nii.gz")
    for name in (*scans, "sub-02/anat/t1.nii.gz", "._d.nii", ".git/x.nii", "set/labelsTr/c.nii"):
        write(tmp_path / name)
    nib.save(nib.Nifti1Pair(VOXELS, A), tmp_path / "p.img")
    for name in ("lone.hdr", "u.nhdr", "v.zip", "w.zip", "d_labels.nii.gz", "z_labels.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    found = search(tmp_path)
    names = [p.relative_to(tmp_path).as_posix() for p in found.scans]
    assert names == sorted([*scans, "p.hdr", "sub-02/anat/t1.nii.gz"])
    where, left_out = found.warnings
    with pytest.raises(InputError, match="f.nii: found a folder; accepted: a file"):
        load(tmp_path / "f.nii")
    assert where == f"{tmp_path}: 8 scans in 4 folders"
    for words in (
        "1 x folder of label maps (labelsTr)",
        "1 x .hdr without the other file of its pair (lone.hdr)",
        "1 x .nhdr, which is not read (u.nhdr)",
        "2 x .zip, which is not read (v.zip, ...)",
        "1 x file named as a result of segment (z_labels.nii.gz)",
    ):
        assert words in left_out
    assert "d_labels" not in left_out


def test_links_keep_their_own_names_and_may_lead_in_circles(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    write(tmp_path / "scans" / "x.nii")
    (tmp_path / "patient_7").symlink_to(tmp_path / "scans", target_is_directory=True)
    (tmp_path / "scans" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "p.nii").symlink_to(tmp_path / "scans" / "x.nii")
    found = search(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in found.scans] == ["p.nii", "scans/x.nii"]
    assert "2 x link to a folder that is searched already" in found.warnings[-1]
    found = search(tmp_path / "patient_7")
    assert found.scans[:1] == (tmp_path / "patient_7" / "up" / "p.nii",)
    assert scan_name(tmp_path / "patient_7") == "patient_7"
    assert scan_name(tmp_path / "p.nii") == "p"


def test_a_folder_that_cannot_be_read_fails_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PermissionError once ended the whole command."""
    write(tmp_path / "a.nii")
    for name in ("secret", "z"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / f"{name}.nii")
    iterdir = Path.iterdir

    def refuse(folder: Path) -> Any:  # the tests may run as root, who may read all
        if folder.name == "secret":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    found = search(tmp_path)
    assert [p.name for p in found.scans] == ["a.nii", "z.nii"]
    (line,) = found.failures
    assert line.startswith(f"{tmp_path / 'secret'}: found no permission to read it")
    with pytest.raises(InputError, match="no permission"):
        search(tmp_path / "secret")


def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.nii")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    for name in ("a.nii", "b"):
        path = path.with_name(name)
        path.touch()
        with pytest.raises(InputError, match="no permission to read it|cannot be read"):
            load(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii")
    done = threading.Event()

    def read() -> None:
        with pytest.raises(InputError, match="no regular file"):
            load(tmp_path / "a.nii")
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(10)


def test_names_that_are_no_utf8_can_be_stored(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/M\xfcller.nii"
    try:
        Path(os.fsdecode(raw)).write_bytes(WHOLE)
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    (path,) = search(tmp_path).scans
    assert load(path).name == "M\xfcller"


def test_numbers_after_a_dot_are_no_suffix(tmp_path: Path) -> None:
    """Exports name their files by UID: 1.2.840.1 and 1.2.840.2 are two scans."""
    for name, expected in (("1.2.840.1", "1.2.840.1"), ("a.dcm", "a"), ("x.y.nii.gz", "x.y")):
        (tmp_path / name).touch()
        assert scan_name(tmp_path / name) == expected


def test_a_nibabel_image_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", s=A)
    image = nib.load(path)
    path.write_bytes(WHOLE[:400])
    with pytest.raises(InputError, match="no readable scan"):
        load(image)
