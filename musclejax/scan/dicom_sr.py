"""Measurements of muscles -> a DICOM structured report (TID 1500) beside a segmentation."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from musclejax.anatomy import REGIONS
from musclejax.scan.dicom_file import header_integer
from musclejax.scan.dicom_seg import (
    LATERALITY,
    SERIES_OFFSET,
    building,
    explain_scheme,
    muscle_code,
    read_source_headers,
    require_highdicom,
)
from musclejax.scan.volume import Volume

_MR = codes.cid100.MRIUnspecifiedBodyRegion


class Measured(NamedTuple):
    """What is reported of a muscle on one side.

    Attributes:
        muscle: Abbreviation.
        side: "left" or "right".
        volume_ml: Volume.
        max_area_cm2: Largest cross-section.
        fat_fraction: Mean, 0 to 1; NaN without a map.
    """

    muscle: str
    side: str
    volume_ml: float
    max_area_cm2: float
    fat_fraction: float


class _Quantity(NamedTuple):
    """A measurement: field of `Measured`, concept, unit, derivation, and factor to the unit."""

    field: str
    concept: Code
    unit: Code
    derivation: Code | None = None
    factor: float = 1.0


_QUANTITIES = (
    _Quantity("volume_ml", codes.SCT.Volume, codes.UCUM.CubicCentimeter),
    _Quantity("max_area_cm2", codes.SCT.Area, codes.UCUM.SquareCentimeter, codes.SCT.Maximum),
    _Quantity("fat_fraction", codes.DCM.FatFraction, codes.UCUM.Percent, codes.SCT.Mean, 100.0),
)


def save_dicom_sr(
    path: Path,
    segmentation: Path,
    measured: Sequence[Measured],
    volume: Volume,
    region: str,
    software_version: str,
) -> None:
    """Write the measurements as a Comprehensive 3D SR that refers to a segmentation.

    One group of measurements per muscle and side: its segment and the source images, skeletal
    muscle with muscle and side as its site; volume in cm3, the largest cross-section in cm2, the
    mean fat fraction in percent if there is one.

    Args:
        path: File to write.
        segmentation: The DICOM segmentation of the same labels.
        measured: The muscles that are there.
        volume: The scan as `load_dicom` gave it; its DICOM files must still be there.
        region: "thigh" or "leg".
        software_version: Version of musclejax that measured.

    Raises:
        InputError: highdicom is not installed, or the headers of the scan do not suffice.

    Source: DICOM PS3.16 TID 1500, 1411; codes CID 3031, 244, 7181.
    """
    hd = require_highdicom()
    with building(volume, "report"):
        labels, sources = dcmread(segmentation), read_source_headers(volume)
        muscles = {m.abbreviation: muscle_code(m) for m in REGIONS[region].muscles}
        segments = {str(s.SegmentLabel): s for s in labels.SegmentSequence}
        named = {m.abbreviation: m.name for m in REGIONS[region].muscles}
        groups = [
            _group(
                hd, row, labels, segments[f"{named[row.muscle]}, {row.side}"], muscles[row.muscle]
            )
            for row in measured
        ]
        report = _report(hd, groups, [labels, *sources], software_version)
        explain_scheme(report, [muscles[row.muscle] for row in measured])
        report.save_as(path)


def _group(hd: ModuleType, row: Measured, labels: Dataset, segment: Dataset, muscle: Code) -> Any:
    site = hd.sr.FindingSite(muscle, laterality=LATERALITY[row.side])
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=segment.TrackingUID, identifier=segment.TrackingID
        ),
        referenced_segment=hd.sr.ReferencedSegment.from_segmentation(
            labels, int(segment.SegmentNumber)
        ),
        finding_type=codes.SCT.SkeletalMuscle,
        finding_sites=[site],
        measurements=_measurements(hd, row),
    )


def _measurements(hd: ModuleType, row: Measured) -> list[Any]:
    values = row._asdict()
    return [
        hd.sr.Measurement(
            name=quantity.concept,
            value=float(f"{values[quantity.field] * quantity.factor:.6g}"),
            unit=quantity.unit,
            derivation=quantity.derivation,
        )
        for quantity in _QUANTITIES
        if math.isfinite(values[quantity.field])
    ]


def _report(
    hd: ModuleType, groups: Sequence[Any], evidence: Sequence[Dataset], version: str
) -> Any:
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["musclejax", version]),
        name="musclejax",
        manufacturer_name="musclejax",
        model_name=version,
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_MR,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    first = evidence[1]
    return hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=content,
        series_instance_uid=hd.UID(),
        series_number=2 * SERIES_OFFSET + header_integer(first, "SeriesNumber", 0),
        series_description="Muscle measurements, musclejax",
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="musclejax",
        is_complete=True,
    )
