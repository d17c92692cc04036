"""Whether two DICOM series come from one patient and one position in the scanner."""

from musclejax.scan.dicom_file import header_value, read_dataset
from musclejax.scan.volume import Volume


def differs_in(keyword: str, volume: Volume, other: Volume) -> bool:
    """Return whether an attribute differs between two volumes; False unless both have it.

    Args:
        keyword: Such as PatientID or FrameOfReferenceUID.
        volume: A volume; only DICOM has attributes.
        other: Another one.
    """
    values = [_value(keyword, v) for v in (volume, other)]
    return None not in values and values[0] != values[1]


def _value(keyword: str, volume: Volume) -> str | None:
    if not volume.dicom_files:
        return None
    header = read_dataset(volume.dicom_files[0], stop_before_pixels=True)
    value = header_value(header, keyword)
    return None if value is None else str(value).strip() or None
