"""A small series, a file per slice, and the same slices in one enhanced file."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.fuzz.valid.scans import SLICES, voxels


def _item(**values: object) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _image(number: str, pixels: np.ndarray, sop_class: str, **values: object) -> Dataset:
    """Return an image without a position; pixels are [row, column] or [frame, row, column]."""
    identity = {"SOPClassUID": sop_class, "SOPInstanceUID": f"1.2.3.{number}"}
    made = _item(**identity, SeriesInstanceUID="1.2.4", StudyInstanceUID="1.2.5", **values)
    made.FrameOfReferenceUID, made.Modality, made.PatientID = "1.2.6", "MR", "P7"
    made.SeriesDescription, made.ImageType = "T1 axial", ["ORIGINAL", "PRIMARY"]
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.PixelData = pixels.astype("<i2").tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    return made


_PLANE = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
_PIXEL = {"PixelSpacing": [2, 2], "SliceThickness": 8}


def _position(k: int) -> dict[str, list[int]]:
    return {"ImagePositionPatient": [-12, 7, 30 + 8 * k]}


def series(folder: Path) -> None:
    """A file per slice, in a folder of its own."""
    (folder / "series").mkdir()
    for k, pixels in enumerate(voxels().transpose(2, 1, 0)):
        where = {**_PLANE, **_PIXEL, **_position(k), "InstanceNumber": k + 1}
        image = _image(str(k), pixels, "1.2.840.10008.5.1.4.1.1.4", **where)
        image.RescaleSlope, image.RescaleIntercept = 2, 1
        image.save_as(folder / "series" / f"{k}.dcm", enforce_file_format=True)


def frames(folder: Path) -> None:
    """All slices in one enhanced multi-frame file."""
    shared = _item(
        PlaneOrientationSequence=[_item(**_PLANE)],
        PixelMeasuresSequence=[_item(**_PIXEL)],
        PixelValueTransformationSequence=[_item(RescaleSlope=2, RescaleIntercept=1)],
    )
    each = [_item(PlanePositionSequence=[_item(**_position(k))]) for k in range(SLICES)]
    pixels, sop_class = voxels().transpose(2, 1, 0), "1.2.840.10008.5.1.4.1.1.4.1"
    image = _image("9", pixels, sop_class, NumberOfFrames=SLICES)
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = each
    image.save_as(folder / "scan.dcm", enforce_file_format=True)
