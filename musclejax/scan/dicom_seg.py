"""Labeled muscles -> one DICOM segmentation beside its source series; needs highdicom."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from musclejax.anatomy import REGIONS, SIDES
from musclejax.errors import InputError
from musclejax.scan.dicom import series_affine, tolerate_values
from musclejax.scan.dicom_frames import Frame, header_integer, one_line
from musclejax.scan.dicom_order import sorted_frames
from musclejax.scan.volume import Volume

# 3D Slicer and dcmqi know the category by this code; PS3.16 CID 7150 has since moved to 91723000.
_CATEGORY = Code("123037004", "SCT", "Anatomical structure")
_SCHEME = "99MUSCLEJAX"
_ANATOMIC_REGION = {"thigh": codes.SCT.Thigh, "leg": codes.SCT.LowerLeg}
_LATERALITY = {"left": codes.SCT.Left, "right": codes.SCT.Right}
# Attributes a segmentation must repeat, if only as empty ones; rough anonymizers remove them.
_PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_SAME_PLACE_MM = 0.01  # room for affines that went through float32
_SERIES_OFFSET = 1000  # ours: keeps the segmentation apart from, and sorted after, its source


def save_dicom_seg(
    path: Path,
    labels: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    volume: Volume,
    region: str,
    software_version: str,
) -> None:
    """Write the labels as a BINARY segmentation that refers to the source images.

    One segment per muscle and side that is present, "Vastus lateralis, right"; where the side is
    0, "Vastus lateralis". Patient and study are those of the source. We could not verify a SNOMED
    code for each muscle, so the property type is our own scheme 99MUSCLEJAX with the abbreviation
    as its code; the anatomic region and the side are SNOMED CT. Every run makes new UIDs.

    Args:
        path: File to write; it is replaced if it exists.
        labels: Muscle numbers of `region`, 0 background.
        sides: 0 none, 1 left, 2 right.
        volume: The scan as `load_dicom` gave it; its DICOM files must still be there.
        region: "thigh" or "leg".
        software_version: Version of musclejax that made the labels.

    Raises:
        InputError: highdicom is not installed, the scan is not from DICOM, nothing is labeled
            (the standard asks for at least one segment), the arrays do not fit the scan, or its
            headers lack attributes that a segmentation must repeat.

    Source: DICOM PS3.3 C.8.20 (Segmentation); codes PS3.16 CID 7150, 244, 7162.
    """
    hd = _highdicom()
    _require_fit(labels, sides, volume, region)
    numbers, present = _number_segments(labels, sides)
    if not present:
        found, remedy = "no labeled voxel", "Write NIfTI, which may be empty."
        raise InputError(volume.name, found, "one labeled voxel or more", remedy)
    with tolerate_values(), warnings.catch_warnings():
        # A name without "^", usual after anonymizing, is repeated as it is.
        warnings.filterwarnings("ignore", r"The string .* is unlikely to represent", UserWarning)
        frames = _frame_of_each_slice(volume)
        segments = [
            _segment(hd, number, label, side, region, software_version)
            for number, (label, side) in enumerate(present, start=1)
        ]
        pixels = _in_source_order(numbers, frames)
        sources = _source_headers(frames)
        try:
            segmentation = _segmentation(hd, sources, pixels, segments, region, software_version)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            found = f"headers that a segmentation cannot repeat ({one_line(error)})"
            accepted = "complete DICOM headers"
            raise InputError(volume.name, found, accepted, "Write NIfTI.") from error
        segmentation.save_as(path)


def _highdicom() -> ModuleType:
    try:
        import highdicom
    except ImportError as error:
        found, remedy = "no highdicom", "Run `pip install 'musclejax[dicom]'`, or write NIfTI."
        raise InputError("DICOM-SEG output", found, "highdicom installed", remedy) from error
    return highdicom


def _require_fit(labels: np.ndarray, sides: np.ndarray, volume: Volume, region: str) -> None:
    if not volume.dicom_files:
        found = "a scan that was not read from DICOM"
        raise InputError(volume.name, found, "DICOM input for DICOM-SEG output", "Write NIfTI.")
    if region not in REGIONS:
        raise InputError("region", repr(region), " or ".join(REGIONS))
    limits = (("labels", labels, len(REGIONS[region].muscles)), ("sides", sides, len(SIDES)))
    for name, array, largest in limits:
        if array.shape != volume.data.shape:
            raise InputError(name, f"shape {array.shape}", f"the scan's {volume.data.shape}")
        if array.min() < 0 or array.max() > largest:
            raise InputError(name, f"{array.min()} to {array.max()}", f"0 to {largest}")


def _number_segments(
    labels: UInt8[np.ndarray, "i j k"], sides: UInt8[np.ndarray, "i j k"]
) -> tuple[UInt8[np.ndarray, "i j k"], list[tuple[int, int]]]:
    """Number each (label, side) that is present from 1, and list them in that order."""
    ways = 1 + len(SIDES)
    pairs = np.where(labels > 0, labels.astype(np.uint8) * ways + sides, 0).astype(np.uint8)
    found = np.flatnonzero(np.bincount(pairs.ravel(), minlength=256)[1:]) + 1
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[found] = np.arange(1, len(found) + 1)
    return numbers[pairs], [(int(pair) // ways, int(pair) % ways) for pair in found]


def _segment(
    hd: ModuleType, number: int, label: int, side: int, region: str, software_version: str
) -> Dataset:
    muscle = REGIONS[region].muscles[label - 1]
    side_name = SIDES[side - 1] if side else ""
    name = f"{muscle.name}, {side_name}" if side else muscle.name
    algorithm = hd.AlgorithmIdentificationSequence(
        name="musclejax", family=codes.cid7162.ArtificialIntelligence, version=software_version
    )
    segment: Dataset = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=_CATEGORY,
        segmented_property_type=Code(muscle.abbreviation, _SCHEME, muscle.name),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=hd.UID(),
        tracking_id=f"musclejax {region}: {name}",
        anatomic_regions=[_ANATOMIC_REGION[region]],
        display_color=hd.color.CIELabColor.from_rgb(*muscle.color),
    )
    if side:  # highdicom has no argument for it
        modifier = hd.sr.CodedConcept.from_code(_LATERALITY[side_name])
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return segment


def _frame_of_each_slice(volume: Volume) -> list[Frame]:
    """List the source frame of each k; a volume flipped along k keeps its labels in place."""
    frames = sorted_frames(volume.dicom_files, volume.name)
    for order in (frames, frames[::-1]):
        if np.allclose(series_affine(order), volume.affine, rtol=0, atol=_SAME_PLACE_MM):
            return order
    found = "an affine that is not that of its DICOM files"
    raise InputError(volume.name, found, "the scan as it was read", "Write NIfTI.")


def _in_source_order(
    numbers: UInt8[np.ndarray, "column row slice"], frames: list[Frame]
) -> UInt8[np.ndarray, "frame row column"]:
    """Order the slices as the source images or frames that highdicom is given."""
    stack = numbers.transpose(2, 1, 0)
    if len({frame.path for frame in frames}) == 1:  # multi-frame: as the file counts its frames
        stack = stack[np.argsort([frame.index for frame in frames])]
    return np.ascontiguousarray(stack)


def _source_headers(frames: list[Frame]) -> list[Dataset]:
    """Return the files' headers in order, completed as highdicom requires them.

    It wants equal orientations to the last digit and, in multi-frame files, shared ones;
    `sorted_frames` has checked that they agree within our tolerance.
    """
    headers = list({frame.path: frame.headers[-1] for frame in frames}.values())
    for header in headers:
        for keyword in _PATIENT_AND_STUDY:
            if keyword not in header:
                setattr(header, keyword, None)
        if "PerFrameFunctionalGroupsSequence" in header:
            _share_geometry(header)
        else:
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
    return headers


def _share_geometry(header: Dataset) -> None:
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared = header.SharedFunctionalGroupsSequence[0]
    own = header.PerFrameFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared:
            setattr(shared, keyword, own[keyword].value)


def _segmentation(
    hd: ModuleType,
    sources: Sequence[Dataset],
    pixels: np.ndarray,
    segments: Sequence[Dataset],
    region: str,
    software_version: str,
) -> Any:
    title = f"{REGIONS[region].title} muscles"
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=_SERIES_OFFSET + header_integer(sources[0], "SeriesNumber", 0),
        series_description=f"{title}, musclejax",
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="musclejax",
        manufacturer_model_name="musclejax",
        software_versions=software_version,
        device_serial_number="none",
        content_label="MUSCLES",
        content_description=title,
    )
