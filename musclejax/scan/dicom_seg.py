"""Labeled muscles -> one DICOM segmentation beside its source series; needs highdicom."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from musclejax.anatomy import REGIONS, SIDES, Muscle
from musclejax.errors import InputError, one_line
from musclejax.scan.dicom import quiet, series_affine
from musclejax.scan.dicom_file import header_integer, header_value
from musclejax.scan.dicom_frames import Frame, series_of
from musclejax.scan.dicom_order import sorted_frames
from musclejax.scan.volume import Volume

# 3D Slicer and dcmqi know the category by this code; PS3.16 CID 7150 has since moved to 91723000.
_CATEGORY = Code("123037004", "SCT", "Anatomical structure")
_SCHEME, _SCHEME_OF_MUSCLES = "99MUSCLEJAX", "MDC"
ANATOMIC_REGION = {"thigh": codes.SCT.Thigh, "leg": codes.SCT.LowerLeg}
"""Region -> its code."""
LATERALITY = {"left": codes.SCT.Left, "right": codes.SCT.Right}
"""Side -> its code."""
# Attributes a segmentation must repeat, if only as empty ones; rough anonymizers remove them.
_PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
# Others of these values would make an illegal file: they are left empty.
_LEGAL = {
    "PatientSex": "[MFO]",
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2,6}(\.\d{1,6})?",
    "StudyID": "(?s).{,16}",
    "AccessionNumber": "(?s).{,16}",
}
_SAME_PLACE_MM = 0.01  # room for affines that went through float32
SERIES_OFFSET = 1000
"""Number of a result's series above that of its source: apart from it, sorted after it. Ours."""


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
    0, "Vastus lateralis". Patient and study are those of the source. The property type is the MDC
    code of the muscle, the side its modifier in SNOMED CT. Peroneus longus and brevis, one label,
    have no code in common: theirs is PE of our own scheme 99MUSCLEJAX, which the file explains.
    Every run makes new UIDs.

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
            headers lack attributes that a segmentation must repeat; but for the labels, all of it
            is what `check_dicom_seg` finds beforehand.

    Source: DICOM PS3.3 C.8.20 (Segmentation); codes PS3.16 CID 3031, 7150, 244, 7162.
    """
    hd = require_highdicom()
    _require_fit(labels, sides, volume, region)
    if not labels.any():
        found, remedy = "no labeled voxel", "Write NIfTI, which may be empty."
        raise InputError(volume.name, found, "one labeled voxel or more", remedy)
    with building(volume, "segmentation"):
        _build(hd, labels, sides, volume, region, software_version).save_as(path)


def check_dicom_seg(volume: Volume) -> tuple[str, ...]:
    """Check that a segmentation of a scan can be written, before the scan is segmented.

    One voxel is labeled and the file made in memory and read again: whatever the headers lack is
    found by the code that writes them.

    Returns:
        Warnings, a line each.

    Raises:
        InputError: highdicom is not installed, the scan is not from DICOM, its files are gone, or
            their headers do not suffice.
    """
    hd = require_highdicom()
    labels = np.zeros(volume.data.shape, np.uint8)
    labels[tuple(n // 2 for n in labels.shape)] = 1
    region = next(iter(REGIONS))
    _require_fit(labels, labels, volume, region)
    with building(volume, "segmentation"):
        written = io.BytesIO()
        _build(hd, labels, labels, volume, region, "0").save_as(written)
        written.seek(0)
        found = hd.seg.segread(written).get_volume(combine_segments=True)
        if np.count_nonzero(found.array) != 1:
            raise ValueError("it reads back with other labels")
        lacks_frame = not _frame_of_each_slice(volume)[0].value("FrameOfReferenceUID")
    if not lacks_frame:
        return ()
    return ("no FrameOfReferenceUID: the segmentation gets one, viewers may not overlay it",)


@contextmanager
def building(volume: Volume, kind: str) -> Iterator[None]:
    """Turn what highdicom and pydicom raise into one line about the scan.

    Args:
        volume: The scan.
        kind: What is made of it, in a word.

    Raises:
        InputError: If the block raises anything but that or an OSError.
    """
    with quiet(), warnings.catch_warnings():
        # A name without "^", usual after anonymizing, is repeated as it is.
        warnings.filterwarnings("ignore", r"The string .* is unlikely to represent", UserWarning)
        try:
            yield
        except (InputError, OSError):
            raise
        except Exception as error:  # highdicom asserts what the standard asks for, in many types
            found = f"headers that a {kind} cannot repeat ({one_line(error)})"
            accepted = "complete DICOM headers"
            raise InputError(volume.name, found, accepted, "Write NIfTI.") from error


def _build(
    hd: ModuleType,
    labels: UInt8[np.ndarray, "i j k"],
    sides: UInt8[np.ndarray, "i j k"],
    volume: Volume,
    region: str,
    software_version: str,
) -> Any:
    numbers, present = _number_segments(labels, sides)
    frames = _frame_of_each_slice(volume)
    used = [muscle_code(REGIONS[region].muscles[label - 1]) for label, _ in present]
    segments = [
        _segment(hd, number, label, side, region, software_version)
        for number, (label, side) in enumerate(present, start=1)
    ]
    sources = _source_headers(frames)
    pixels = _in_source_order(numbers, frames)
    segmentation = _segmentation(hd, sources, pixels, segments, region, software_version)
    explain_scheme(segmentation, used)
    return segmentation


def muscle_code(muscle: Muscle) -> Code:
    """Return the code of a muscle; one of our own scheme where no other has it."""
    if muscle.mdc:
        return Code(muscle.mdc, _SCHEME_OF_MUSCLES, muscle.name)
    return Code(muscle.abbreviation, _SCHEME, muscle.name)


def explain_scheme(dataset: Dataset, used: Iterable[Code]) -> None:
    """Say in a file whose scheme 99MUSCLEJAX is, if one of its codes is used.

    Source: DICOM PS3.3 C.12.1.1, Coding Scheme Identification Sequence.
    """
    if all(code.scheme_designator != _SCHEME for code in used):
        return
    scheme = Dataset()
    scheme.CodingSchemeDesignator = _SCHEME
    scheme.CodingSchemeName = "musclejax, abbreviations of muscles"
    scheme.CodingSchemeResponsibleOrganization = "musclejax"
    dataset.CodingSchemeIdentificationSequence = [
        *dataset.get("CodingSchemeIdentificationSequence", []),
        scheme,
    ]


def read_source_headers(volume: Volume) -> list[Dataset]:
    """Return the headers of a scan's files, as results refer to them and repeat them."""
    return _source_headers(_frame_of_each_slice(volume))


def require_highdicom() -> ModuleType:
    """Import highdicom.

    Raises:
        InputError: If it is not installed.
    """
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
        segmented_property_type=muscle_code(muscle),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=hd.UID(),
        tracking_id=f"musclejax {region}: {name}",
        anatomic_regions=[ANATOMIC_REGION[region]],
        display_color=hd.color.CIELabColor.from_rgb(*muscle.color),
    )
    if side:  # highdicom has no argument for it
        modifier = hd.sr.CodedConcept.from_code(LATERALITY[side_name])
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
    `sorted_frames` has checked that they agree within our tolerance. What the headers say of the
    slice step is replaced by what the positions say.
    """
    headers = list({frame.path: frame.headers[-1] for frame in frames}.values())
    if len({header_value(header, "SOPInstanceUID") for header in headers}) < len(headers):
        found, remedy = "several images with one SOPInstanceUID", "Write NIfTI."
        raise InputError(frames[0].path.parent, found, "one for each image", remedy)
    reference = header_value(headers[0], "FrameOfReferenceUID") or generate_uid(
        entropy_srcs=[series_of(headers[0]), "frame of reference"]
    )
    step_mm = float(np.linalg.norm(series_affine(frames)[:3, 2]))
    for header in headers:
        for keyword in _PATIENT_AND_STUDY:
            value = header_value(header, keyword)
            legal = re.fullmatch(_LEGAL.get(keyword, "(?s).*"), str(value))
            if value is None or not legal:
                header[keyword] = DataElement(keyword, dictionary_VR(keyword), None)
        header.FrameOfReferenceUID = reference
        if "PerFrameFunctionalGroupsSequence" in header:
            _share_geometry(header)
            _complete_step(
                header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], step_mm
            )
        else:
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
            _complete_step(header, step_mm)
    return headers


def _complete_step(measures: Dataset, step_mm: float) -> None:
    """Set the slice step; keep a thickness that is one."""
    step = format_number_as_ds(step_mm)
    measures.SpacingBetweenSlices = step
    thickness = header_value(measures, "SliceThickness")
    if not isinstance(thickness, (int, float)) or not 0 < thickness < np.inf:
        measures.SliceThickness = step


def _share_geometry(header: Dataset) -> None:
    if not header_value(header, "SharedFunctionalGroupsSequence"):
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
        series_number=SERIES_OFFSET + header_integer(sources[0], "SeriesNumber", 0),
        series_description=f"{title}, musclejax",
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="musclejax",
        manufacturer_model_name="musclejax",
        software_versions=software_version,
        device_serial_number="none",
        content_label="MUSCLES",
        content_description=title,
        content_creator_name="musclejax",
    )
