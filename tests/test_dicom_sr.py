"""Measurements as a DICOM report, read back by highdicom and by pydicom."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from musclejax.scan.dicom import load_dicom
from musclejax.scan.dicom_seg import save_dicom_seg
from musclejax.scan.dicom_sr import Measured, save_dicom_sr
from tests.dicom_series import AXIAL, numbers, series_images, write

ROWS = [
    Measured("SOL", "left", 412.5, 18.25, 0.125),
    Measured("SOL", "right", 400.0, 17.5, float("nan")),
    Measured("PE", "right", 61.125, 4.0, 0.5),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on soleus on both sides and peroneus on the right, beside its segmentation."""
    pytest.importorskip("highdicom")
    folder = tmp_path_factory.mktemp("report")
    volume = load_dicom(write(folder / "source", series_images(numbers(), AXIAL)))
    labels, sides = (np.zeros(volume.data.shape, np.uint8) for _ in range(2))
    labels[:, :2, 1:3], labels[4:, 3:] = 1, 6
    sides[:3], sides[3:] = 1, 2
    save_dicom_seg(folder / "seg.dcm", labels, sides, volume, "leg", "0.1.0")
    save_dicom_sr(folder / "sr.dcm", folder / "seg.dcm", ROWS, volume, "leg", "0.1.0")
    return folder / "sr.dcm"


def test_measurements_are_read_back(report: Path) -> None:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    content = hd.sr.srread(report).content
    segments = hd.seg.segread(report.with_name("seg.dcm"))
    groups = content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(ROWS)
    for group, row in zip(groups, ROWS, strict=True):
        [site] = group.finding_sites
        code = ("7:932", "MDC") if row.muscle == "SOL" else ("PE", "99MUSCLEJAX")
        assert (site.value.value, site.value.scheme_designator) == code
        assert site.laterality == {"left": codes.SCT.Left, "right": codes.SCT.Right}[row.side]
        assert group.finding_type == codes.SCT.SkeletalMuscle
        found = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        fat = {"Fat fraction": (row.fat_fraction * 100, "%")} if row.fat_fraction > 0 else {}
        size = {"Volume": (row.volume_ml, "cm3"), "Area": (row.max_area_cm2, "cm2")}
        assert found == {**size, **fat}
        [number] = group.referenced_segment.referenced_segment_numbers
        assert group.tracking_uid == segments.get_segment_description(number).tracking_uid
        label = segments.get_segment_description(number).segment_label
        assert label.endswith(row.side)


def test_it_refers_to_the_segmentation_and_the_source(report: Path) -> None:
    """Read with pydicom only."""
    file, seg = pydicom.dcmread(report), pydicom.dcmread(report.with_name("seg.dcm"))
    assert file.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"  # Comprehensive 3D SR
    assert file.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (file.PatientID, file.StudyInstanceUID) == ("P7", seg.StudyInstanceUID)
    evidence = file.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referenced = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    sources = (pydicom.dcmread(p) for p in report.with_name("source").iterdir())
    assert referenced == {seg.SOPInstanceUID, *(source.SOPInstanceUID for source in sources)}
    [scheme] = [
        s for s in file.CodingSchemeIdentificationSequence if s.CodingSchemeDesignator[:2] == "99"
    ]
    assert scheme.CodingSchemeResponsibleOrganization == "musclejax"
