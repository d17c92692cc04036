"""DICOM in (`scan.dicom`) and DICOM-SEG out (`scan.dicom_seg`), on files that pydicom writes here.

highdicom is the second reader of what we read and the reader of what we write.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLosslessSV1, RLELossless

import musclejax
from musclejax.anatomy import REGIONS
from musclejax.errors import InputError
from musclejax.scan.dicom import load_dicom
from musclejax.scan.dicom_file import is_dicom
from musclejax.scan.dicom_seg import save_dicom_seg
from musclejax.scan.volume import Volume
from tests.dicom_series import (
    AFFINES,
    AXIAL,
    add_pixels,
    at_world,
    enhanced,
    header,
    item,
    numbers,
    series_images,
    uid,
    write,
)

SAMPLE = Path(musclejax.__file__).parent / "samples" / "test_up.nii.gz"


@pytest.mark.parametrize("plane", AFFINES)
def test_every_voxel_lands_where_it_was_scanned(tmp_path: Path, plane: str) -> None:
    data = numbers()
    volume = load_dicom(write(tmp_path / "knee.7", series_images(data, AFFINES[plane])))
    assert volume.data.dtype == np.float32
    assert volume.name == "knee.7"
    np.testing.assert_array_equal(at_world(volume, AFFINES[plane], data.shape), data)


def test_second_reader_agrees_on_geometry(tmp_path: Path) -> None:
    """highdicom's volume is [slice, row, column] in LPS; ours [column, row, slice] in RAS."""
    hd = pytest.importorskip("highdicom")
    folder = write(tmp_path / "s", series_images(numbers(), AFFINES["oblique"]))
    other = hd.get_volume_from_series([pydicom.dcmread(path) for path in folder.iterdir()])
    lps = np.diag([-1, -1, 1, 1]) @ load_dicom(folder).affine
    for ijk in ([0, 0, 0], [6, 0, 0], [0, 4, 0], [3, 2, 5]):
        k = ijk[2] if other.affine[:3, 0] @ lps[:3, 2] > 0 else 5 - ijk[2]
        theirs = other.affine @ [k, ijk[1], ijk[0], 1]
        np.testing.assert_allclose(lps @ [*ijk, 1], theirs, atol=1e-6)


def test_a_real_scan_survives(tmp_path: Path) -> None:
    """The project's sample where it is installed, else a smooth stand-in; five slices of it."""
    if SAMPLE.exists():
        image = nib.load(SAMPLE)
        data, affine = np.asarray(image.dataobj)[:, :, 10:15].round().astype("uint16"), image.affine
    else:
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (96, 96, 5)), indexing="ij")
        data = (900 * np.exp(-2 * (x**2 + y**2)) * (1 + z / 4)).astype("uint16")
        affine = np.diag([1.5, 1.5, 6.0, 1.0])
    volume = load_dicom(write(tmp_path / "thigh", series_images(data, affine)))
    np.testing.assert_array_equal(at_world(volume, affine, data.shape), data)


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    data = numbers(dtype="uint16") + np.uint16(40000)  # above int16
    images = series_images(data, AXIAL)
    for k, image in enumerate(images):
        image.RescaleSlope, image.RescaleIntercept = 0.5 + k, -100.0
    expected = data * (0.5 + np.arange(6)) - 100.0
    volume = load_dicom(write(tmp_path / "s", images))
    np.testing.assert_allclose(at_world(volume, AXIAL, data.shape), expected, rtol=1e-6)


def test_files_follow_the_slices(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series_images(numbers(), AFFINES["oblique"]))
    volume = load_dicom(folder)
    assert len(volume.dicom_files) == 6
    for k, path in enumerate(volume.dicom_files):
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array.T, volume.data[:, :, k])


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series_images(numbers(), AXIAL))
    report, mask = header("report", "0"), series_images(numbers(), AXIAL, "mask")[0]
    report.Modality, mask.Modality = "SR", "SEG"
    write(folder, [report, mask], prefix="other")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (folder / "notes.txt").write_text("a note longer than the mark" * 10)
    (folder / "empty").write_bytes(b"")
    (folder / "sub").mkdir()
    assert load_dicom(folder).data.shape == (7, 5, 6)


@pytest.mark.parametrize("shared_geometry", [True, False])
@pytest.mark.parametrize("plane", ["axial, feet last", "oblique"])
def test_enhanced_multi_frame(tmp_path: Path, plane: str, shared_geometry: bool) -> None:
    data, affine = numbers(), AFFINES[plane]
    file = enhanced(data, affine, [3, 0, 5, 1, 4, 2], shared_geometry)
    file.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    for path in (tmp_path, tmp_path / "scan.dcm"):
        volume = load_dicom(path)
        np.testing.assert_array_equal(at_world(volume, affine, data.shape), data * 2.0 - 1)
        assert volume.dicom_files == (tmp_path / "scan.dcm",)
    assert volume.name == "scan"


def test_rle_reads_without_extra_decoders(tmp_path: Path) -> None:
    data = numbers()
    images = series_images(data, AXIAL)
    for image in images:
        image.compress(RLELossless, generate_instance_uid=False)
    volume = load_dicom(write(tmp_path / "s", images))
    np.testing.assert_array_equal(at_world(volume, AXIAL, data.shape), data)


def test_values_that_break_their_type_do_not_disturb(tmp_path: Path) -> None:
    """Anonymizers write such; pytest turns every warning into an error."""
    images = series_images(numbers(), AXIAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Invalid value for VR")
        for image in images:
            image.SeriesInstanceUID = "anonymous series"
            image.add_new("SeriesNumber", "LO", "1A")  # a letter in what is read as a number
            image.PixelData += bytes(64)  # padding
    folder = write(tmp_path / "s", images)
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID  # noqa: B018
    assert load_dicom(folder).data.shape == (7, 5, 6)


def test_mark_of_a_dicom_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series_images(numbers(), AXIAL)[:1])
    assert is_dicom(next(folder.iterdir()))
    assert not is_dicom(folder)
    (tmp_path / "text").write_text("DICM" * 100)
    assert is_dicom(tmp_path / "text")  # the mark is all that is looked at
    (tmp_path / "short").write_bytes(bytes(128))
    assert not is_dicom(tmp_path / "short")


Images = list[Dataset]


def mixed_series() -> Images:
    localizer = series_images(numbers((7, 5, 9)), AXIAL, "3-plane loc")
    for image in localizer:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return (
        localizer
        + series_images(numbers(), AXIAL)
        + series_images(numbers((7, 5, 8)), AXIAL, "T2 fat sat")
    )


def second_echo(**changes: object) -> Images:
    images = series_images(numbers(), AXIAL)
    again = series_images(numbers(), AXIAL)
    for k, image in enumerate(again):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid("again", k)
        image.InstanceNumber = k
        for keyword, value in changes.items():
            setattr(image, keyword, value)
    return images + again


def changed(change: Callable[[Dataset], None], index: int = 2) -> Images:
    images = series_images(numbers(), AXIAL)
    change(images[index])
    return images


def moved(index: int, by: tuple[float, float, float]) -> Images:
    def move(image: Dataset) -> None:
        image.ImagePositionPatient = list(np.array(image.ImagePositionPatient, float) + by)

    return changed(move, index)


def skewed() -> Images:
    affine = AXIAL.copy()
    affine[:3, 2] += (0.5, 0, 0)
    return series_images(numbers(), affine)


def localizer() -> Images:
    planes = ("axial", "sagittal", "coronal")
    images = [series_images(numbers(), AFFINES[plane])[k] for k, plane in enumerate(planes)]
    return [*images, series_images(numbers(), AXIAL)[3]]


def color(image: Dataset) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation = 3, "RGB"
    image.PlanarConfiguration, image.PixelData = 0, bytes(3 * 2 * 35)


def jpeg(image: Dataset) -> None:
    image.compress(RLELossless, generate_instance_uid=False)
    image.file_meta.TransferSyntaxUID = JPEGLosslessSV1


def enhanced_echoes() -> Images:
    file = enhanced(numbers(), AXIAL, [0, 1, 2, 0, 1, 2])
    for f, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        frame.MREchoSequence = [item(EffectiveEchoTime=1.15 if f < 3 else 2.3)]
    return [file]


def enhanced_twice() -> Images:
    files = [enhanced(numbers(), AXIAL, order) for order in ([0, 1, 2], [3, 4, 5])]
    files[1].SOPInstanceUID = files[1].file_meta.MediaStorageSOPInstanceUID = uid("second")
    return files


def no_groups() -> Images:
    file = enhanced(numbers(), AXIAL, [0, 1, 2])
    del file.PerFrameFunctionalGroupsSequence
    return [file]


# What is in the folder -> words that the one line must hold.
REJECTED: dict[str, tuple[Callable[[], Images], list[str]]] = {
    "several series": (
        mixed_series,
        [
            "3 series ('T2 fat sat' (series 4): 8 images, 'T1 axial' (series 4): 6 images, "
            "'3-plane loc' (series 4): 9 images)",
            "one series to a folder",
        ],
    ),
    "echoes": (
        lambda: second_echo(EchoTime=3.45),
        ["2 images at one position (EchoTime 1.7 and 3.45)"],
    ),
    "magnitude and phase": (
        lambda: second_echo(ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]),
        ["(ImageType M and P)"],
    ),
    "time points": (
        lambda: second_echo(TemporalPositionIdentifier=2),
        ["(TemporalPositionIdentifier 2 and none)"],
    ),
    "repeats": (second_echo, ["2 images at one position (InstanceNumber "]),
    "copies": (
        lambda: series_images(numbers(), AXIAL) * 2,
        ["copies of one image (", "Delete the copies."],
    ),
    "enhanced echoes": (enhanced_echoes, ["(EffectiveEchoTime 1.15 and 2.3)"]),
    "missing slice": (
        lambda: [image for k, image in enumerate(series_images(numbers(), AXIAL)) if k != 3],
        ["10 mm between the slices at -400.12 and -390.12 mm", "others are 5 mm apart"],
    ),
    "two slices missing": (
        lambda: [
            image for k, image in enumerate(series_images(numbers(), AXIAL)) if k in (0, 2, 5)
        ],
        ["15 mm between the slices at -400.12 and -385.12 mm", "others are 10 mm apart"],
    ),
    "uneven slices": (lambda: moved(5, (0, 0, 0.3)), ["5.3 mm between", "others are 5 mm"]),
    "one slice shifted": (lambda: moved(2, (0, 0.4, 0)), ["sideways by up to 0.4 mm"]),
    "skewed stack": (skewed, ["sideways by up to 0.5 mm"]),
    "orientations": (
        localizer,
        ["3 slice orientations (2 images axial, 1 images sagittal, 1 images coronal)", "localizer"],
    ),
    "sizes": (
        lambda: changed(lambda image: add_pixels(image, np.zeros((4, 7), "int16"))),
        ["2 image sizes", "5 images 5 x 7", "1 images 4 x 7"],
    ),
    "pixel spacings": (
        lambda: changed(lambda image: setattr(image, "PixelSpacing", [1.25, 0.8])),
        ["2 pixel spacings", "5 images 1.25 x 0.75 mm", "1 images 1.25 x 0.8 mm"],
    ),
    "no position": (
        lambda: changed(lambda image: delattr(image, "ImagePositionPatient")),
        ["no ImagePositionPatient", "3 numbers"],
    ),
    "wrong orientation": (
        lambda: changed(lambda image: setattr(image, "ImageOrientationPatient", [1, 0, 0] * 2)),
        ["ImageOrientationPatient [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]", "perpendicular"],
    ),
    "no pixel data": (
        lambda: changed(lambda image: delattr(image, "PixelData")),
        ["no pixel data"],
    ),
    "too few pixels": (
        lambda: changed(lambda image: setattr(image, "PixelData", bytes(20))),
        ["damaged pixel data"],
    ),
    "color": (lambda: changed(color), ["RGB image with 3 samples per pixel", "MONOCHROME2"]),
    "frames without positions": (no_groups, ["3 frames, 0 of them described"]),
    "two multi-frame files": (enhanced_twice, ["2 multi-frame files with 6 frames"]),
    "only a report": (
        lambda: [report()],
        ["no DICOM images (0 other files or folders, 1 SR)"],
    ),
}


def report() -> Dataset:
    dataset = header("report", "0")
    dataset.Modality = "SR"
    return dataset


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_dicom(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", REJECTED)
def test_what_is_no_volume_is_named(tmp_path: Path, case: str) -> None:
    make, words = REJECTED[case]
    text = message(write(tmp_path / "folder", make()))
    assert str(tmp_path / "folder") in text
    for word in words:
        assert word in text


def test_steps_within_one_percent_pass(tmp_path: Path) -> None:
    assert load_dicom(write(tmp_path / "s", moved(5, (0, 0, 0.04)))).data.shape == (7, 5, 6)


def test_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import JPEGLosslessSV1Decoder

    monkeypatch.setattr(JPEGLosslessSV1Decoder, "_available", {})  # as without the extra
    text = message(write(tmp_path / "s", changed(jpeg)))
    assert "(1.2.840.10008.1.2.4.70)" in text
    assert "pip install 'musclejax[dicom]'" in text


def test_unreadable_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series_images(numbers(), AXIAL))
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\x01")
    assert "broken.dcm: found no readable DICOM" in message(folder)


def test_a_cut_file_is_damaged(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", series_images(numbers(), AXIAL))
    path = sorted(folder.iterdir())[1]
    path.write_bytes(path.read_bytes()[:-30])
    assert path.name in message(folder)


def test_paths_without_dicom(tmp_path: Path) -> None:
    assert "no DICOM images (0 other files" in message(tmp_path)
    (tmp_path / "a.png").write_bytes(b"picture")
    assert "no DICOM images (1 other files" in message(tmp_path)
    assert "neither NIfTI nor DICOM" in message(tmp_path / "a.png")
    assert "no such file" in message(tmp_path / "absent")


THIGH = REGIONS["thigh"].muscles


def labeled(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Muscles 1 and 10 on both sides, 4 with no side, in an unsymmetrical pattern."""
    random = np.random.default_rng(3)
    labels = random.choice(np.array([0, 0, 1, 10, 4], "uint8"), shape)
    labels[:, :, 1] = 0  # an empty slice, which the file leaves out
    sides = np.where(labels == 4, 0, random.integers(1, 3, shape)).astype("uint8")
    return labels, np.where(labels == 0, 2, sides).astype("uint8")


def read_segments(path: Path) -> dict[str, np.ndarray]:
    """Masks by segment label, [slice, row, column] of the segmentation's own geometry."""
    hd = pytest.importorskip("highdicom")
    segmentation = hd.seg.segread(path)
    found = {}
    for number in segmentation.segment_numbers:
        label = segmentation.get_segment_description(number).segment_label
        found[label] = segmentation.get_volume(
            segment_numbers=[number], combine_segments=True, relabel=True
        )
    return found


def assert_segments_match(
    path: Path, labels: np.ndarray, sides: np.ndarray, volume: Volume
) -> None:
    """Look every segment up by world position and compare it with labels and sides."""
    segments = read_segments(path)
    pairs = {(int(a), int(b)) for a, b in zip(labels[labels > 0], sides[labels > 0], strict=True)}
    assert len(segments) == len(pairs)
    for label, side in pairs:
        name = THIGH[label - 1].name + ("", ", left", ", right")[side]
        stack = segments[name]
        ras = np.diag([-1, -1, 1, 1]) @ stack.affine  # of [slice, row, column]
        mask = np.zeros(labels.shape, bool)
        places = np.argwhere(stack.array > 0)
        world = ras @ np.c_[places, np.ones(len(places))].T
        mask[tuple((np.linalg.inv(volume.affine) @ world)[:3].round().astype(int))] = True
        np.testing.assert_array_equal(mask, (labels == label) & (sides == side))


@pytest.fixture
def loaded(tmp_path: Path) -> Volume:
    pytest.importorskip("highdicom")
    return load_dicom(write(tmp_path / "source", series_images(numbers(), AXIAL)))


def save(path: Path, volume: Volume, region: str = "thigh") -> tuple[np.ndarray, np.ndarray]:
    labels, sides = labeled(volume.data.shape)
    if region == "leg":
        labels[labels == 10] = 6
    save_dicom_seg(path, labels, sides, volume, region, "0.1.0")
    return labels, sides


@pytest.mark.parametrize("plane", AFFINES)
def test_segments_land_on_the_scan(tmp_path: Path, plane: str) -> None:
    pytest.importorskip("highdicom")
    volume = load_dicom(write(tmp_path / "source", series_images(numbers(), AFFINES[plane])))
    labels, sides = save(tmp_path / "seg.dcm", volume)
    assert_segments_match(tmp_path / "seg.dcm", labels, sides, volume)


@pytest.mark.parametrize("shared_geometry", [True, False])
def test_segments_land_on_an_enhanced_scan(tmp_path: Path, shared_geometry: bool) -> None:
    pytest.importorskip("highdicom")
    file = enhanced(numbers(), AFFINES["oblique"], [3, 0, 5, 1, 4, 2], shared_geometry)
    file.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    volume = load_dicom(tmp_path / "scan.dcm")
    labels, sides = save(tmp_path / "seg.dcm", volume)
    assert_segments_match(tmp_path / "seg.dcm", labels, sides, volume)


def test_a_flipped_volume_keeps_its_labels_in_place(tmp_path: Path, loaded: Volume) -> None:
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = loaded.data.shape[2] - 1
    flipped = Volume(
        loaded.data[:, :, ::-1], loaded.affine @ flip, dicom_files=loaded.dicom_files[::-1]
    )
    labels, sides = save(tmp_path / "seg.dcm", flipped)
    assert_segments_match(tmp_path / "seg.dcm", labels, sides, flipped)


def test_frames_refer_to_their_source_images(tmp_path: Path, loaded: Volume) -> None:
    """Read with pydicom: each frame's mask, position and source image belong together."""
    labels, sides = save(tmp_path / "seg.dcm", loaded)
    file = pydicom.dcmread(tmp_path / "seg.dcm")
    sources = [pydicom.dcmread(path) for path in loaded.dicom_files]
    slices = {source.SOPInstanceUID: k for k, source in enumerate(sources)}
    assert file.SegmentationType == "BINARY"
    assert (file.PatientID, file.StudyInstanceUID) == ("P7", sources[0].StudyInstanceUID)
    assert file.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert file.SeriesInstanceUID != sources[0].SeriesInstanceUID
    seen = set()
    for mask, frame in zip(file.pixel_array, file.PerFrameFunctionalGroupsSequence, strict=True):
        k = slices[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert position == sources[k].ImagePositionPatient
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        words = file.SegmentSequence[number - 1].SegmentedPropertyTypeCodeSequence[0]
        label = next(m.number for m in THIGH if m.mdc == words.CodeValue)
        side = {"24028007": 2, "7771000": 1, None: 0}[
            words.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue
            if "SegmentedPropertyTypeModifierCodeSequence" in words
            else None
        ]
        expected = (labels[:, :, k] == label) & (sides[:, :, k] == side)
        np.testing.assert_array_equal(mask.T, expected)
        seen.add(k)
    assert seen == {0, 2, 3, 4, 5}
    series = file.ReferencedSeriesSequence[0]
    referenced = {r.ReferencedSOPInstanceUID for r in series.ReferencedInstanceSequence}
    assert referenced == set(slices)


@pytest.mark.parametrize(("region", "code"), [("thigh", "68367000"), ("leg", "30021000")])
def test_segments_are_described(tmp_path: Path, loaded: Volume, region: str, code: str) -> None:
    hd = pytest.importorskip("highdicom")
    save(tmp_path / "seg.dcm", loaded, region)
    segmentation = hd.seg.segread(tmp_path / "seg.dcm")
    muscles = REGIONS[region].muscles
    order = [(1, "left"), (1, "right"), (4, None), (10 if region == "thigh" else 6, "left")]
    for number, (label, side) in enumerate(order, start=1):
        segment, muscle = segmentation.get_segment_description(number), muscles[label - 1]
        assert segment.segment_label == muscle.name + (f", {side}" if side else "")
        kind = segment.segmented_property_type
        expected = (muscle.mdc, "MDC") if muscle.mdc else ("PE", "99MUSCLEJAX")
        assert (kind.value, kind.scheme_designator) == expected
        assert segment.segmented_property_category.value == "123037004"
        assert segment.anatomic_regions[0].value == code
        assert segment.algorithm_type.value == "AUTOMATIC"
        assert segment.algorithm_identification.name == "musclejax"
        assert segment.algorithm_identification.version == "0.1.0"
        assert segment.tracking_id == f"musclejax {region}: {segment.segment_label}"
        stored = segment.RecommendedDisplayCIELabValue
        rgb = hd.color.CIELabColor.from_dicom_value(stored).to_rgb()
        np.testing.assert_allclose(rgb, muscle.color, atol=1)
    assert len(set(segmentation.get_tracking_ids())) == 5
    schemes = pydicom.dcmread(tmp_path / "seg.dcm").get("CodingSchemeIdentificationSequence", [])
    private = [s.CodingSchemeDesignator for s in schemes if s.CodingSchemeDesignator[:2] == "99"]
    assert private == (["99MUSCLEJAX"] if region == "leg" else [])


def test_roughly_anonymized_sources_are_accepted(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    images = series_images(numbers(), AXIAL)
    for k, image in enumerate(images):
        image.PatientName = "anon"
        del image.PatientBirthDate, image.PatientSex, image.StudyID, image.AccessionNumber
        del image.StudyDate, image.StudyTime
        image.add_new("SeriesNumber", "LO", "1A")
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 1e-7 * k]  # equal but for rounding
    volume = load_dicom(write(tmp_path / "source", images))
    labels, sides = save(tmp_path / "seg.dcm", volume)
    assert_segments_match(tmp_path / "seg.dcm", labels, sides, volume)
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == "anon"


def refuse(path: Path, volume: Volume, **changes: object) -> str:
    labels, sides = labeled(volume.data.shape)
    arguments = {"labels": labels, "sides": sides, "region": "thigh", **changes}
    with pytest.raises(InputError) as caught:
        save_dicom_seg(path, volume=volume, software_version="0.1.0", **arguments)
    assert not path.exists()
    return str(caught.value)


def test_what_cannot_become_a_segmentation(tmp_path: Path, loaded: Volume) -> None:
    path, empty = tmp_path / "seg.dcm", np.zeros(loaded.data.shape, "uint8")
    assert "no labeled voxel" in refuse(path, loaded, labels=empty)
    too_high = empty.copy()
    too_high[0, 0, 0] = 13
    assert "labels: found 0 to 13; accepted: 0 to 12" in refuse(path, loaded, labels=too_high)
    part = empty[:, :, :1]
    assert "labels: found shape (7, 5, 1)" in refuse(path, loaded, labels=part, sides=part)
    assert "sides: found 3 to 3" in refuse(path, loaded, sides=empty + 3)
    assert "thigh or leg" in refuse(path, loaded, region="arm")
    other = Volume(loaded.data, AXIAL @ np.diag([-1, 1, 1, 1]), dicom_files=loaded.dicom_files)
    assert "affine that is not that of its DICOM files" in refuse(path, other)
    assert "not read from DICOM" in refuse(path, Volume(loaded.data, loaded.affine))


def test_without_highdicom_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = load_dicom(write(tmp_path / "source", series_images(numbers(), AXIAL)))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert "pip install 'musclejax[dicom]'" in refuse(tmp_path / "seg.dcm", volume)
