"""What DICOM input is accepted, refused, or gets a note: a row a kind of input, with its origin.

`docs/input.md` is the policy. SimpleITK 2.5.7 (GDCM) gave the same geometry and voxels as ours for
each accepted series, run by hand.
"""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from musclejax.errors import InputError
from musclejax.scan.dicom import folder_images, load_dicom, stray_warning
from musclejax.scan.dicom_file import is_dicom
from musclejax.scan.dicom_order import ROUNDING_MM
from musclejax.scan.dicom_seg import check_dicom_seg, save_dicom_seg
from musclejax.scan.study import find_scans, load
from musclejax.scan.volume import Volume
from tests.dicom_series import (
    AFFINES,
    AXIAL,
    affine_ras,
    at_world,
    enhanced,
    header,
    item,
    numbers,
    series_images,
    write,
)

Make = Callable[[Path], object]
DATA = numbers()


def series(
    change: Callable[[Dataset, int], object] = lambda image, k: None, count: int = 6
) -> Make:
    """Write the first `count` slices of a series, each changed."""

    def make(folder: Path) -> None:
        images = series_images(DATA, AXIAL)[:count]
        for k, image in enumerate(images):
            change(image, k)
        write(folder, images)

    return make


def setting(index: int | None = None, **attributes: object) -> Make:
    """Write a series with attributes replaced in one slice, or in all."""

    def change(image: Dataset, k: int) -> None:
        if index in (None, k):
            for keyword, value in attributes.items():
                setattr(image, keyword, value)

    return series(change)


def raw(old: bytes, new: bytes) -> Make:
    """Write a series and replace bytes in each file: values that pydicom would not write."""

    def make(folder: Path) -> None:
        series()(folder)
        for path in folder.iterdir():
            content = path.read_bytes()
            assert old in content
            path.write_bytes(content.replace(old, new, 1))

    return make


def unmarked(first: int, implicit: bool) -> Make:
    """Write a series whose files from `first` on are bare data sets."""

    def make(folder: Path) -> None:
        series()(folder)
        for path in sorted(folder.iterdir())[first:]:
            dataset = pydicom.dcmread(path)
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
            dataset.preamble = None
            dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True)
            assert path.read_bytes()[128:132] != b"DICM"

    return make


def encoded(syntax: str) -> Make:
    return series(lambda image, k: setattr(image.file_meta, "TransferSyntaxUID", syntax))


def rounded(step_mm: float) -> Make:
    def make(folder: Path) -> None:
        affine = affine_ras([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], (0.75, 1.25, step_mm))
        images = series_images(DATA, affine)
        for image in images:
            image.ImagePositionPatient = [round(float(x), 1) for x in image.ImagePositionPatient]
        write(folder, images)

    return make


def overlay(image: Dataset, k: int) -> None:
    """Mark high bits, as overlays of old scanners do; 12 bits are stored."""
    pixels = np.frombuffer(image.PixelData, "<u2") | np.uint16(0xA000)
    image.PixelData, image.BitsStored, image.HighBit = pixels.tobytes(), 12, 11
    image.PixelRepresentation = 0


def multi_frame(**attributes: object) -> Make:
    def make(folder: Path) -> None:
        file = enhanced((DATA + 1) // 2, AXIAL, [3, 0, 5, 1, 4, 2])  # value = stored * 2 - 1
        for keyword, value in attributes.items():
            setattr(file, keyword, value)
        write(folder, [file])

    return make


def beside(name: str, content: bytes = b"") -> Make:
    def make(folder: Path) -> None:
        series()(folder)
        (folder / name).write_bytes(content)

    return make


def broken_link(folder: Path) -> None:
    series()(folder)
    (folder / "y.dcm").symlink_to("absent.dcm")


def own_segmentation(folder: Path) -> None:
    series()(folder)
    pytest.importorskip("highdicom")
    labels = np.ones(DATA.shape, np.uint8)
    save_dicom_seg(folder / "s_seg.dcm", labels, labels, load_dicom(folder), "thigh", "0")


def in_plane(plane: str) -> Make:
    return lambda folder: write(folder, series_images(DATA, AFFINES[plane]))


MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

# Input -> words of each of its notes, in order.
ACCEPTED: dict[str, tuple[Make, list[str]]] = {
    # pydicom/pydicom#150: Siemens B17 exports, implicit VR
    "none has the mark": (unmarked(0, implicit=True), []),
    "three lack the mark": (unmarked(3, implicit=True), []),
    "none has the mark, explicit": (unmarked(0, implicit=False), []),
    "implicit": (encoded(ImplicitVRLittleEndian), []),  # ours
    "deflated": (encoded(DeflatedExplicitVRLittleEndian), []),  # ours
    # pydicom pull request 2066: unused bits are to be ignored
    "overlay in the pixels": (series(overlay), []),
    # rordenlab/dcm2niix#553: Siemens XA30 leaves the word in files that are none
    "MOSAIC of several frames": (multi_frame(ImageType=MOSAIC), []),
    "frames counted as 0": (setting(NumberOfFrames=0), []),  # ours
    "frames of reference": (
        setting(index=2, FrameOfReferenceUID="1.2.3"),  # ours: anonymizers
        ["2 frames of reference in one series"],
    ),
    "a stated step of half the step": (
        setting(SpacingBetweenSlices=2.5, SliceThickness=2.5),  # rordenlab/dcm2niix#927
        ["slices 5 mm apart, 2.5 mm by the header: are slices missing?"],
    ),
    "a stated gap": (setting(SpacingBetweenSlices=0.5, SliceThickness=4.5), []),  # ours
    "a stated step NaN": (
        series(lambda image, k: image.add_new("SpacingBetweenSlices", "FD", np.nan)),
        [],
    ),
    "an empty file": (beside("y.dcm"), ["left out, no DICOM: y.dcm"]),  # ours
    "a broken link": (broken_link, ["left out, no DICOM: y.dcm"]),  # ours: git-annex
    "a text": (beside("notes.txt", b"text"), []),  # ours
    "AppleDouble": (beside("._x000.dcm", b"\0\5\x16\7"), []),  # ours
    "our segmentation": (own_segmentation, []),  # ours
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_accepted(tmp_path: Path, case: str) -> None:
    make, notes = ACCEPTED[case]
    make(tmp_path / "s")
    volume = load(tmp_path / "s")
    expected = (DATA + 1) // 2 * 2 - 1 if "MOSAIC" in case else DATA
    np.testing.assert_array_equal(at_world(volume, AXIAL, DATA.shape), expected)
    assert len(volume.warnings) == len(notes)
    for note, words in zip(volume.warnings, notes, strict=True):
        assert words in note


@pytest.mark.parametrize("step_mm", [5.0, 5.05, 4.97, 1.25, 0.6])
def test_positions_rounded_to_a_tenth(tmp_path: Path, step_mm: float) -> None:
    """As GE rounds them (rordenlab/dcm2niix#325); 0.6 mm is the thinnest to survive five steps."""
    rounded(step_mm)(tmp_path / "s")
    volume = load(tmp_path / "s")
    assert abs(volume.spacing_mm[2] - step_mm) * 5 < ROUNDING_MM
    assert not volume.warnings
    np.testing.assert_array_equal(volume.data, DATA)


@pytest.mark.parametrize(
    ("attributes", "thickness_mm"),
    [
        ({}, 3.0),
        ({"SpacingBetweenSlices": 5.0}, 3.0),
        ({"SliceThickness": None, "SpacingBetweenSlices": 5.0}, 5.0),
        ({"SliceThickness": 0, "SpacingBetweenSlices": 5.0}, 5.0),
    ],
)
def test_one_slice(tmp_path: Path, attributes: dict[str, object], thickness_mm: float) -> None:
    """Mid-thigh studies scan one; SimpleITK reads it with the same corners."""
    image = series_images(DATA, AXIAL)[0]
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    folder = write(tmp_path / "s", [image])
    for path in (folder, next(folder.iterdir())):
        volume = load(path)
        np.testing.assert_array_equal(volume.data, DATA[:, :, :1])
        assert volume.spacing_mm == pytest.approx((0.75, 1.25, thickness_mm))
        np.testing.assert_allclose(volume.affine[:3, 3], AXIAL[:3, 3])
        assert volume.warnings == (
            f"one slice: volumes take its thickness from the header, {thickness_mm:g} mm",
        )


@pytest.mark.parametrize(("plane", "note"), [("sagittal", 90), ("coronal", 90), ("oblique", 0)])
def test_slices_that_are_not_axial_get_a_note(tmp_path: Path, plane: str, note: int) -> None:
    in_plane(plane)(tmp_path / "s")
    expected = (f"{plane} slices, {note} degrees off axial: the networks know axial slices only",)
    assert load(tmp_path / "s").warnings == (expected if note else ())


def giant(**attributes: object) -> Make:
    def change(image: Dataset, k: int) -> None:
        image.compress(RLELossless, generate_instance_uid=False)
        for keyword, value in attributes.items():
            setattr(image, keyword, value)

    return series(change)


def bomb(folder: Path) -> None:
    """Write a file of 60 kB that unpacks to 64 MB of zeros in a private element."""
    encoded(DeflatedExplicitVRLittleEndian)(folder)
    path = min(folder.iterdir())
    content = path.read_bytes()
    element = b"\x09\x00\x01\x10OB\0\0" + (1 << 26).to_bytes(4, "little")
    begin = content.index(b"1.2.840.10008.1.2.1.99") + 22
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(content[:begin] + pack.compress(element + bytes(1 << 26)) + pack.flush())


def tiles(folder: Path) -> None:
    setting(ImageType=MOSAIC)(folder)


def counted_tiles(image: Dataset, k: int) -> None:
    image.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 12)


def cut(folder: Path) -> None:
    """Write a series one file of which ends within its header, before Rows."""
    series()(folder)
    path = min(folder.iterdir())
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x20\x00\x0d\x00UI")])


def sheared(image: Dataset, k: int) -> None:
    image.ImageOrientationPatient = [1.4, 0, 0, 0, 0.714, 0]


def fanned(folder: Path) -> None:
    """Write slices of 20 orientations; comparing thousands with each other would take minutes."""
    images = series_images(numbers((2, 2, 20)), AXIAL)
    for k, image in enumerate(images):
        a = k / 7
        image.ImageOrientationPatient = [float(np.cos(a)), float(np.sin(a)), 0, 0, 0, 1]
    write(folder, images)


def drifting(image: Dataset, k: int) -> None:
    """Widen the later steps by 2 mm in 100: one by one they pass."""
    x, y, z = image.ImagePositionPatient
    image.ImagePositionPatient = [x, y, z + 0.1 * max(0, k - 2)]


def two_people(image: Dataset, k: int) -> None:
    image.PatientID = "Meier" if k % 2 else "Schulz"


def directory(folder: Path) -> None:
    file = header("directory", "0", "1.2.840.10008.1.3.10")
    del file.Modality
    paths = [["DICOM", "S1", f"I{k}"] for k in range(3)]
    file.DirectoryRecordSequence = [item(ReferencedFileID=path) for path in paths]
    folder.mkdir()
    file.save_as(folder / "DICOMDIR", enforce_file_format=True)


def lone_segmentation(folder: Path) -> None:
    own_segmentation(folder)
    for path in folder.glob("x*"):
        path.unlink()


def three_samples(image: Dataset, k: int) -> None:
    image.SamplesPerPixel, image.PlanarConfiguration = 3, 0
    image.PixelData = bytes(3 * 70)


# Input -> words that the one line must hold.
REFUSED: dict[str, tuple[Make, list[str]]] = {
    "mosaic": (tiles, ["a Siemens mosaic", "Convert it with dcm2niix"]),
    "mosaic without the word": (series(counted_tiles), ["a Siemens mosaic"]),
    "one mosaic": (series(counted_tiles, count=1), ["a Siemens mosaic"]),
    "grid": (setting(ImageType=["ORIGINAL", "VFRAME"]), ["a United Imaging grid"]),  # dcm2niix 225
    "no thickness": (
        series(lambda image, k: delattr(image, "SliceThickness"), count=1),
        ["one slice without SliceThickness", "Give the folder"],
    ),
    "thickness NaN": (
        series(lambda image, k: image.add_new("SliceThickness", "FD", np.nan), count=1),
        ["SliceThickness nan"],
    ),
    "directory": (directory, ["1 DICOMDIR", "The DICOMDIR lists DICOM/S1 (3 files)."]),
    "segmentation": (lone_segmentation, ["no DICOM images", "1 SEG"]),
    "two people": (series(two_people), ["2 values of PatientID in one series"]),
    "cut header": (cut, ["x000.dcm", "an MR Image without Rows"]),
    "far away": (
        setting(index=1, ImagePositionPatient=[0, 0, 1e30]),
        ["ImagePositionPatient [0.0, 0.0, 1e+30]"],
    ),
    "position NaN": (
        raw(b"71.25\\-33.5", b"nan  \\-33.5"),
        ["ImagePositionPatient", "3 numbers, as a scanner writes them"],
    ),
    "mirrored spacing": (setting(PixelSpacing=[-1.25, 0.75]), ["PixelSpacing [-1.25, 0.75]"]),
    "no spacing": (setting(PixelSpacing=[0, 0.75]), ["PixelSpacing [0.0, 0.75]"]),
    "unit area, no unit vectors": (series(sheared), ["two perpendicular unit vectors"]),
    "giant cosines": (
        setting(ImageOrientationPatient=[1e300, 0, 0, 0, 1e300, 0]),
        ["ImageOrientationPatient [1e+300"],
    ),
    "20 orientations": (fanned, ["7 or more slice orientations"]),
    "drift": (series(drifting), ["add up to 0.12 mm off an even grid"]),
    "no rows": (setting(Rows=0, Modality="OT"), ["no DICOM images"]),
    "giant rows": (setting(Rows=65535, Columns=65535), ["65535 x 65535 x 1 pixels in"]),
    "giant rows, compressed": (
        giant(Rows=65535, Columns=65535),
        ["65535 x 65535 x 1 pixels in", "no such image fits"],
    ),
    "giant count": (multi_frame(NumberOfFrames=2**31 - 1), ["2147483647 frames, 6 of them"]),
    "bomb": (bomb, ["x000.dcm", "deflated data of more than 100 times"]),
    "giant slope": (setting(RescaleSlope=1e300), ["NaN or infinite"]),
    "slope NaN": (
        series(lambda image, k: image.add_new("RescaleSlope", "FD", np.nan)),
        ["RescaleSlope nan"],
    ),
    "three samples": (series(three_samples), ["MONOCHROME2 image with 3 samples"]),
    "spacing of letters": (raw(b"1.25\\0.75", b"1.25\\O.75"), ["PixelSpacing ['1.25', 'O.75']"]),
    "rows of another type": (raw(b"\x28\0\x10\0US", b"\x28\0\x10\0SQ"), []),
    "no end of a sequence": (raw(b"\x20\0\x13\0IS", b"\x20\0\x13\0SQ"), []),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    make, words = REFUSED[case]
    make(tmp_path / "s")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "s")
    line = str(caught.value)
    assert "\n" not in line
    assert str(tmp_path / "s") in line
    for word in words:
        assert word in line


def refusal(path: Path) -> str | None:
    try:
        load(path)
    except InputError as error:
        return str(error)
    return None


def test_every_byte_of_a_header_may_be_damaged(tmp_path: Path) -> None:
    """Each outcome is a volume or one line about the folder; 10,000 more by tests/fuzz."""
    series(count=2)(tmp_path / "s")
    path = min((tmp_path / "s").iterdir())
    content = path.read_bytes()
    random = np.random.default_rng(7)
    for offset in random.choice(len(content) - 140, 60, replace=False) + 132:
        damaged = bytearray(content)
        damaged[offset : offset + 2] = random.bytes(2)
        path.write_bytes(damaged)
        line = refusal(tmp_path / "s")
        assert line is None or str(tmp_path / "s") in line


@pytest.mark.parametrize("name", ["x", "x.dcm", "I.1.2.840.7"])
def test_a_slice_of_a_series_is_no_scan(tmp_path: Path, name: str) -> None:
    """`segment series/*.dcm` must not make a scan of each slice."""
    series()(tmp_path / "s")
    first = min((tmp_path / "s").iterdir())
    path = first.rename(first.with_name(name))
    with pytest.raises(InputError, match="one slice of a series whose other images lie beside it"):
        load(path)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series()(tmp_path / "s")
    opened = Path.open

    def refuse(path: Path, *arguments: object) -> object:
        if path.name.startswith("x003"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"x003.*no permission to read it"):
        load(tmp_path / "s")


def test_what_looks_like_dicom(tmp_path: Path) -> None:
    """Bytes -> whether they are taken for DICOM."""
    implicit = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100\x08\0\x08\0\x04\0\0\0ORIGINAL"  # pydicom 150
    cases = {
        bytes(128) + b"DICM": True,
        b"DICM" * 100: True,  # the mark is all that is looked at
        implicit: True,
        implicit[:22]: False,
        implicit.replace(b"\x0a\0\0\0", b"\xff\0\0\0"): False,
        b"\x08\0" * 40: False,
        b"\x08\0\x05\0CS\x02\0ab\x08\0\x08\0CS\x04\0abcd": True,
        b"\x08\0\x08\0CS\x02\0ab\x08\0\x05\0CS\x04\0abcd": False,  # tags ascend
        b"": False,
        bytes(400): False,
        b"{" * 400: False,
        b"\x1f\x8b\x08\0" * 100: False,
    }
    for content, expected in cases.items():
        (tmp_path / "file").write_bytes(content)
        assert is_dicom(tmp_path / "file") is expected, content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """It would wait for ever."""
    series()(tmp_path / "s")
    os.mkfifo(tmp_path / "s" / "pipe.txt")
    assert not is_dicom(tmp_path / "s" / "pipe.txt")
    assert load(tmp_path / "s").data.shape == DATA.shape


def nifti(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        nib.save(nib.Nifti1Image(DATA, AXIAL), folder / name)


def stray(folder: Path) -> None:
    nifti(folder, "a.nii.gz", "b.nii.gz")
    series(count=1)(folder)


def series_and_nifti(folder: Path) -> None:
    nifti(folder, "a.nii.gz")
    series()(folder)


def segmentation_in_parent(folder: Path) -> None:
    own_segmentation(folder / "sub-1")
    (folder / "sub-1" / "s_seg.dcm").rename(folder / "sub-1_seg.dcm")


def two_localizers(folder: Path) -> None:
    nifti(folder, "a.nii.gz")
    for name in ("loc 1", "loc 2"):
        write(folder, series_images(DATA, AXIAL, name)[:1], prefix=name)


# What lies in a folder -> the scans that it means, what is said of the rest.
FOLDERS: dict[str, tuple[Make, list[str], str]] = {
    "one stray image": (stray, ["a.nii.gz", "b.nii.gz"], "single DICOM images beside other scans"),
    "two strays": (two_localizers, ["a.nii.gz"], "loc 1000.dcm, loc 2000.dcm"),
    "a series and a NIfTI": (series_and_nifti, [".", "a.nii.gz"], ""),
    "a series": (series(), ["."], ""),
    "a multi-frame file": (multi_frame(), ["."], ""),
    "one slice": (series(count=1), ["."], ""),
    "our segmentation beside a series folder": (segmentation_in_parent, ["sub-1"], ""),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_what_a_folder_means(tmp_path: Path, case: str) -> None:
    make, names, said = FOLDERS[case]
    make(tmp_path / "f")
    assert find_scans(tmp_path / "f") == [tmp_path / "f" / name for name in names]
    line = stray_warning(tmp_path / "f", folder_images(tmp_path / "f"))
    assert said in line
    assert (case == "one slice" or bool(said)) == bool(line)


def letters(image: Dataset, k: int) -> None:
    """Break the types of values that a segmentation repeats."""
    image.add_new("PatientSex", "LO", "female")
    image.add_new("StudyTime", "LO", "noon")
    image.add_new("StudyID", "LO", "longer than sixteen letters")


# Headers -> thickness that the segmentation has, and words of the warning.
SEGMENTED: dict[str, tuple[Make, float, str]] = {
    "complete": (series(), 3.0, ""),
    "no thickness": (series(lambda image, k: delattr(image, "SliceThickness")), 5.0, ""),
    "empty thickness": (setting(SliceThickness=None), 5.0, ""),
    "thickness 0": (setting(SliceThickness=0), 5.0, ""),
    "step that is only the gap": (setting(SpacingBetweenSlices=2.0), 3.0, ""),
    "one slice": (series(count=1), 3.0, ""),
    "no frame of reference": (
        series(lambda image, k: delattr(image, "FrameOfReferenceUID")),
        3.0,
        "no FrameOfReferenceUID",
    ),
    "two frames of reference": (setting(index=2, FrameOfReferenceUID="1.2.3"), 3.0, ""),
    "no mark": (unmarked(0, implicit=True), 3.0, ""),
    "frames": (multi_frame(), 3.0, ""),
    "letters in patient": (series(letters), 3.0, ""),
}


@pytest.mark.parametrize("case", SEGMENTED)
def test_headers_of_a_segmentation(tmp_path: Path, case: str) -> None:
    """highdicom reads it back with the step of the positions; cases/scan/dicom_seg_headers.py."""
    hd = pytest.importorskip("highdicom")
    make, thickness_mm, words = SEGMENTED[case]
    make(tmp_path / "s")
    volume = load(tmp_path / "s")
    warnings = check_dicom_seg(volume)
    assert bool(warnings) == bool(words)
    assert words in "".join(warnings)
    labels = np.ones(volume.data.shape, np.uint8)
    save_dicom_seg(tmp_path / "seg.dcm", labels, labels, volume, "thigh", "0")
    read = hd.seg.segread(tmp_path / "seg.dcm")
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == thickness_mm
    stack = read.get_volume(combine_segments=True)
    assert stack.spacing_between_slices == pytest.approx(volume.spacing_mm[2])
    assert stack.array.sum() == volume.data.size


def no_study(image: Dataset, k: int) -> None:
    del image.StudyInstanceUID


def same_instance(image: Dataset, k: int) -> None:
    image.SOPInstanceUID = "1.2.3"


UNSEGMENTABLE: dict[str, tuple[Make, str]] = {
    "no study": (series(no_study), "headers that a segmentation cannot repeat"),
    "one UID for all": (series(same_instance), "several images with one SOPInstanceUID"),
}


@pytest.mark.parametrize("case", UNSEGMENTABLE)
def test_what_cannot_be_a_segmentation_is_known_before(tmp_path: Path, case: str) -> None:
    pytest.importorskip("highdicom")
    make, words = UNSEGMENTABLE[case]
    make(tmp_path / "s")
    with pytest.raises(InputError, match=words):
        check_dicom_seg(load(tmp_path / "s"))


def test_a_check_of_what_is_no_dicom() -> None:
    pytest.importorskip("highdicom")
    with pytest.raises(InputError, match="not read from DICOM"):
        check_dicom_seg(Volume(DATA.astype(np.float32), AXIAL))
