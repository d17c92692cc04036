"""DICOM files for tests; voxels placed by DICOM PS3.3 C.7.6.2.1.1, apart from our code."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from musclejax.scan.volume import Volume

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
MR = "1.2.840.10008.5.1.4.1.1.4"


def uid(*words: object) -> str:
    return generate_uid(entropy_srcs=[str(word) for word in words])


def affine_ras(axes: list[list[float]], spacing: tuple[float, float, float]) -> np.ndarray:
    """Columns: what i, j and k point to (R, A, S), scaled; an origin off every axis."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes, float).T * spacing
    affine[:3, 3] = (-71.25, 33.5, -410.125)
    return affine


def turned() -> list[list[float]]:
    a, b = np.deg2rad(23), np.deg2rad(-11)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return (about_z @ about_x @ np.diag([-1.0, -1.0, 1.0])).T.tolist()


SPACING = (0.75, 1.25, 5.0)
AFFINES = {
    "axial": affine_ras([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], SPACING),
    "axial, feet last": affine_ras([[-1, 0, 0], [0, -1, 0], [0, 0, -1]], SPACING),
    "sagittal": affine_ras([[0, -1, 0], [0, 0, -1], [-1, 0, 0]], SPACING),
    "coronal": affine_ras([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], SPACING),
    "oblique": affine_ras(turned(), SPACING),
}
AXIAL = AFFINES["axial"]


def numbers(shape: tuple[int, int, int] = (7, 5, 6), dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(2021).integers(0, 2000, shape).astype(dtype)


def geometry(affine: np.ndarray, k: int) -> dict[str, list[float]]:
    """Attributes of slice k, LPS: row cosine is where the column index i grows."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = lps[:3, :3] / spacing
    return {
        "ImagePositionPatient": [round(float(x), 9) for x in lps[:3, 3] + k * lps[:3, 2]],
        "ImageOrientationPatient": [round(float(x), 12) for x in cosines[:, :2].T.ravel()],
        "PixelSpacing": [float(spacing[1]), float(spacing[0])],
    }


def header(series: str, instance: str, sop_class: str = MR) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid(series, instance)
    dataset.SeriesInstanceUID = uid(series)
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = uid("study"), uid("frame", "of")
    dataset.PatientID, dataset.PatientName = "P7", "Doe^Jo"
    dataset.PatientBirthDate, dataset.PatientSex = "19700102", "F"
    dataset.StudyDate, dataset.StudyTime = "20210304", "101112"
    dataset.AccessionNumber, dataset.StudyID = "A1", "S1"
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "MR", 4, series
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    return dataset


def add_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Store [row, column] or [frame, row, column] 16-bit values."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()


def series_images(data: np.ndarray, affine: np.ndarray, series: str = "T1 axial") -> list[Dataset]:
    """One image per k; numbered backwards, so that InstanceNumber misleads."""
    images = []
    for k in range(data.shape[2]):
        image = header(series, str(k))
        for keyword, value in geometry(affine, k).items():
            setattr(image, keyword, value)
        image.InstanceNumber, image.SliceThickness, image.EchoTime = 90 - k, 3.0, 1.7
        add_pixels(image, data[:, :, k].T)
        images.append(image)
    return images


def write(folder: Path, images: list[Dataset], prefix: str = "x") -> Path:
    """Write in a shuffled order of names, with and without extensions."""
    folder.mkdir(exist_ok=True, parents=True)
    order = np.random.default_rng(5).permutation(len(images))
    for place, image in zip(order, images, strict=True):
        name = f"{prefix}{place:03d}" + (".dcm", "", ".IMA")[place % 3]
        image.save_as(folder / name, enforce_file_format=True)
    return folder


def enhanced(
    data: np.ndarray, affine: np.ndarray, order: list[int], shared_geometry: bool = True
) -> Dataset:
    """One file whose frame f is slice order[f]; value = stored * 2 - 1."""
    file = header("enhanced", "0", ENHANCED_MR)
    file.NumberOfFrames, file.InstanceNumber = len(order), 1
    shared, frames = Dataset(), []
    for k in order:
        frame, placed = Dataset(), geometry(affine, k)
        home = shared if shared_geometry else frame
        home.PlaneOrientationSequence = [
            item(ImageOrientationPatient=placed.pop("ImageOrientationPatient"))
        ]
        home.PixelMeasuresSequence = [
            item(PixelSpacing=placed.pop("PixelSpacing"), SliceThickness=3.0)
        ]
        frame.PlanePositionSequence = [item(**placed)]
        # As Philips does: a private copy of the header, here with values that must not be used.
        frame.add_new(0x2005140F, "SQ", [item(PixelSpacing=[9.0, 9.0], RescaleSlope=7)])
        frame.FrameContentSequence = [item(DimensionIndexValues=[1])]
        frames.append(frame)
    shared.PixelValueTransformationSequence = [
        item(RescaleSlope=2, RescaleIntercept=-1, RescaleType="US")
    ]
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], frames
    add_pixels(file, data.transpose(2, 1, 0)[order])
    return file


def item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def at_world(volume: Volume, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Look `volume` up at the world position of every voxel of a grid."""
    grid = np.indices(shape).reshape(3, -1)
    mapping = np.linalg.inv(volume.affine) @ affine
    indices = mapping[:3, :3] @ grid + mapping[:3, 3:]
    assert np.abs(indices - indices.round()).max() < 1e-5
    return volume.data[tuple(indices.round().astype(int))].reshape(shape)
