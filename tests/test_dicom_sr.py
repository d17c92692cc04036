"""Measurements and labels as DICOM, read back by highdicom, by pydicom and by dcmqi."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
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
    nib.save(nib.Nifti1Image(labels * 10 + sides, volume.affine), folder / "labels.nii")
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


def dcmqi(command: str, source: Path, *options: str | Path) -> str:
    """Run a command of dcmqi, whose wheels are for Linux, macOS and Windows on x86-64."""
    program = shutil.which(command)
    if program is None:
        pytest.skip("no dcmqi")
    done = subprocess.run(
        [program, "--inputDICOM", source, *options], capture_output=True, text=True, check=True
    )
    return done.stderr


def test_dcmqi_reads_the_segments(report: Path, tmp_path: Path) -> None:
    options = ("--outputDirectory", tmp_path, "--outputType", "nii")
    assert dcmqi("segimage2itkimage", report.with_name("seg.dcm"), *options) == ""
    stored = nib.load(report.with_name("labels.nii"))
    about = json.loads((tmp_path / "meta.json").read_text())
    names = {("7:932", "Left"): 11, ("7:932", "Right"): 12, ("PE", "Right"): 62}
    for number, [segment] in enumerate(about["segmentAttributes"], 1):
        kind = segment["SegmentedPropertyTypeCodeSequence"]["CodeValue"]
        side = segment["SegmentedPropertyTypeModifierCodeSequence"]["CodeMeaning"]
        image = nib.load(tmp_path / f"{number}.nii.gz")
        to_stored = np.linalg.inv(stored.affine) @ image.affine
        found = nib.affines.apply_affine(to_stored, np.argwhere(np.asarray(image.dataobj)))
        expected = np.argwhere(np.asarray(stored.dataobj) == names.pop((kind, side)))
        assert {*map(tuple, found.round().astype(int))} == {*map(tuple, expected)}
    assert not names


def test_dcmqi_reads_the_measurements(report: Path, tmp_path: Path) -> None:
    assert dcmqi("tid1500reader", report, "--outputMetadata", tmp_path / "sr.json") == ""
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    for group, row in zip(groups, ROWS, strict=True):
        assert group["Laterality"]["CodeMeaning"].lower() == row.side
        found = [float(item["value"]) for item in group["measurementItems"]]
        expected = [row.volume_ml, row.max_area_cm2, row.fat_fraction * 100]
        assert found == [value for value in expected if not np.isnan(value)]
