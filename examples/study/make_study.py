"""Make a small study on disk from the two sample scans that ship with musclejax.

    python make_study.py STUDY [SLICES]

Person P01 is a DICOM tree of two visits, with thighs by Dixon and once the lower legs. Person P02
is a folder as Muscle-BIDS names it, in NIfTI. Water and fat are stand-ins: a sample scan is divided
into fat near the skin and water with a little fat below. No figure from them means anything.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy import ndimage

from musclejax.samples import SAMPLES

DIXON = {
    "in phase": ("t1_vibe_dixon_tra_in", ["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"]),
    "water": ("t1_vibe_dixon_tra_W", ["DERIVED", "PRIMARY", "DIXON", "WATER"]),
    "fat": ("t1_vibe_dixon_tra_F", ["DERIVED", "PRIMARY", "DIXON", "FAT"]),
}
"""Image -> SeriesDescription and ImageType, as one vendor writes them."""
BIDS = {"in phase": "inph", "water": "wat", "fat": "fat"}
SKIN_MM, FAT, MUSCLE = 9.0, 0.92, 0.08
"""What is less deep has the one fat fraction, all else the other."""


def sample(name: str, slices: int) -> nib.Nifti1Image:
    """Return the middle slices of a sample scan, their axes to the left, back and head."""
    image = nib.as_closest_canonical(nib.load(SAMPLES[name]))
    first = max(0, (image.shape[2] - slices) // 2)
    image = image.slicer[:, :, first : first + slices]
    orientation = nib.orientations.axcodes2ornt("LPS")
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), orientation)
    )


def dixon(image: nib.Nifti1Image) -> dict[str, np.ndarray]:
    """Return the in-phase image and its stand-ins of water and fat."""
    data = np.asarray(image.dataobj, np.float32)
    spacing = image.header.get_zooms()[:2]
    fraction = np.empty_like(data)
    for k in range(data.shape[2]):
        body = ndimage.binary_fill_holes(data[:, :, k] > 0.1 * np.percentile(data, 99))
        deep = ndimage.distance_transform_edt(body, sampling=spacing) > SKIN_MM
        fraction[:, :, k] = np.where(deep, MUSCLE, FAT)
    return {"in phase": data, "water": data * (1 - fraction), "fat": data * fraction}


def write_series(
    folder: Path, data: np.ndarray, affine: np.ndarray, header: dict[str, object]
) -> None:
    """Write a stack, its axes to the left, back and head, as one DICOM file per slice."""
    folder.mkdir(parents=True)
    spacing = nib.affines.voxel_sizes(affine)
    for k in range(data.shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        uid = generate_uid(entropy_srcs=[str(folder), str(k)])
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
        for name, value in header.items():
            setattr(image, name, value)
        image.Modality, image.InstanceNumber = "MR", k + 1
        image.Rows, image.Columns = data.shape[1], data.shape[0]
        image.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        image.SliceThickness = image.SpacingBetweenSlices = float(spacing[2])
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        x, y, z = affine[:3] @ [0, 0, k, 1]
        image.ImagePositionPatient = [float(-x), float(-y), float(z)]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 0
        image.PixelData = np.clip(data[:, :, k].T, 0, 65535).round().astype("<u2").tobytes()
        image.save_as(folder / f"IM{k:04d}.dcm", enforce_file_format=True)


def write_dicom_visit(study: Path, date: str, scans: dict[str, nib.Nifti1Image]) -> None:
    """Write a visit of P01: one series per region and image."""
    number = 2
    for region, scan in scans.items():
        images = dixon(scan) if region == "thigh" else {"in phase": dixon(scan)["in phase"]}
        for kind, data in images.items():
            description, image_type = DIXON[kind]
            number += 1
            folder = study / "P01" / date / f"{number:02d}_{region}_{BIDS[kind]}"
            header = {
                "PatientID": "P01",
                "PatientName": "P01",
                "StudyDate": date,
                "StudyInstanceUID": generate_uid(entropy_srcs=["P01", date]),
                "SeriesInstanceUID": generate_uid(entropy_srcs=["P01", date, str(number)]),
                "FrameOfReferenceUID": generate_uid(entropy_srcs=["P01", date, region]),
                "SeriesNumber": number,
                "SeriesDescription": f"{region}_{description}",
                "ImageType": image_type,
                "EchoTime": 2.46,
            }
            write_series(folder, data, scan.affine, header)


def write_bids_visit(study: Path, scan: nib.Nifti1Image) -> None:
    """Write the visit of P02, thighs, with a sidecar per image."""
    stem = study / "sub-P02" / "ses-1" / "anat" / "sub-P02_ses-1"
    stem.parent.mkdir(parents=True)
    for kind, data in dixon(scan).items():
        path = Path(f"{stem}_{BIDS[kind]}.nii.gz")
        nib.save(nib.Nifti1Image(data.astype(np.int16), scan.affine), path)
        sidecar = {"EchoTime": 0.00246, "SeriesDescription": DIXON[kind][0]}
        Path(f"{stem}_{BIDS[kind]}.json").write_text(json.dumps(sidecar, indent=2) + "\n")


def main(study: Path, slices: int = 31) -> None:
    """Write the study."""
    thigh, leg = sample("test_up", slices), sample("test_low", slices)
    write_dicom_visit(study, "20260110", {"thigh": thigh, "leg": leg})
    later = np.asarray(thigh.dataobj, np.float32)[:, :, 1:]  # table and gain are never the same
    moved = nib.Nifti1Image(0.9 * later, thigh.slicer[:, :, 1:].affine)
    write_dicom_visit(study, "20260710", {"thigh": moved})
    write_bids_visit(study, thigh)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, metavar="STUDY", help="folder to make")
    parser.add_argument(
        "slices", type=int, nargs="?", default=31, help="of each scan; 31 if left out"
    )
    main(**vars(parser.parse_args()))
