"""The frames of a DICOM series -> its slices in order, or one line on why they are no volume."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np

from musclejax.errors import InputError
from musclejax.scan.dicom_file import words
from musclejax.scan.dicom_frames import ACCEPTED_SERIES, Frame, read_frames

STEP_TOLERANCE = 0.01
"""Largest deviation of a slice gap, as a part of the slice step (ours)."""
ROUNDING_MM = 0.11
"""Deviation that positions rounded to 0.1 mm explain, whatever the slice step.

Source: ours; each of two positions is off by 0.05 mm at most. GE rounds: dcm2niix issue 325.
"""
_ROUNDING_PART = 0.1  # of the slice step, at most: what thin slices may deviate by (ours)
_SAME_POSITION_MM = 0.01  # closer slices are one position; scanners repeat it to the last digit
_SAME_GEOMETRY = 1e-3  # direction cosines, and mm of pixel spacing, that still count as equal
_KINDS = 6  # as many are told apart
_SIDEWAYS_PIXELS = 0.25  # a smaller shift from slice to slice moves no label
_PLANES = ("sagittal", "coronal", "axial")  # by the largest component of the slice normal

# Attributes that distinguish images of one position: settings first, then counters and dates.
_SETTINGS = (
    *("EchoTime", "EffectiveEchoTime", "ImageType", "FrameType", "TemporalPositionIdentifier"),
    *("TemporalPositionIndex", "InversionTime", "FlipAngle", "RepetitionTime", "DiffusionBValue"),
)
_COUNTERS = ("AcquisitionNumber", "AcquisitionTime", "FrameAcquisitionDateTime", "InstanceNumber")


def sorted_frames(files: Sequence[Path], subject: object, index: int | None = None) -> list[Frame]:
    """Read the headers of a series and order its frames along the slice normal.

    Args:
        files: Any files; those that are no DICOM images, and segmentations, are passed over.
        subject: Named in an error, usually the folder.
        index: Which volume of a multi-frame file with several; see `split_frames`.

    Raises:
        InputError: The frames are not exactly one volume; the line states the reason.
    """
    frames = read_frames(files, subject)
    if index is not None:
        frames = _volume(frames, index, subject)
    for what, attribute, text in _UNIFORM:
        _require_uniform(frames, what, attribute, text, subject)
    if len(frames) == 1:
        return frames
    normal = frames[0].normal
    frames.sort(key=lambda frame: float(frame.position @ normal))
    _require_even(frames, subject)
    _require_straight(frames, subject)
    return frames


def split_frames(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split the frames of one file by echo time and kind, if several lie at one position."""
    places = [
        tuple(words(frame.value("ImagePositionPatient"))) or (str(k),)
        for k, frame in enumerate(frames)
    ]
    kinds = [
        (*words(frame.value("EffectiveEchoTime") or frame.value("EchoTime")), *type_words(frame))
        for frame in frames
    ]
    return [[frames[k] for k in part] for part in split_repeats(places, kinds)]


def split_repeats(places: Sequence[Hashable], kinds: Sequence[Hashable]) -> list[list[int]]:
    """Split images by kind if several lie at one place; kinds may differ in one volume otherwise.

    Returns:
        The numbers of the images of each volume, in the order of their first ones.
    """
    whole = list(range(len(places)))
    if len(set(places)) == len(places):
        return [whole]
    parts: dict[Hashable, list[int]] = {}
    for k in whole:
        parts.setdefault(kinds[k], []).append(k)
    return list(parts.values())


def type_words(frame: Frame) -> list[str]:
    """Return the words by which a scanner tells kinds of images apart."""
    return words(frame.value("FrameType")) or words(frame.value("ImageType"))


def plane_of(frame: Frame) -> str:
    """Return the plane that a slice is nearest to."""
    return _PLANES[int(np.argmax(np.abs(frame.normal)))]


def _volume(frames: Sequence[Frame], index: int, subject: object) -> list[Frame]:
    parts = split_frames(frames)
    if index >= len(parts):
        found = f"{len(parts)} volumes in the file"
        raise InputError(subject, found, f"volume {index} of it", "List the study again.")
    return parts[index]


def _size(frame: Frame) -> str:
    return "{} x {}".format(*frame.shape)


def _spacing(frame: Frame) -> str:
    return "{:g} x {:g} mm".format(*frame.spacing_mm)


_UNIFORM: tuple[tuple[str, str, Callable[[Frame], str]], ...] = (
    ("slice orientations", "orientation", plane_of),
    ("image sizes", "shape", _size),
    ("pixel spacings", "spacing_mm", _spacing),
)


def _require_uniform(
    frames: list[Frame],
    what: str,
    attribute: str,
    text: Callable[[Frame], str],
    subject: object,
) -> None:
    kinds: list[list[Frame]] = []
    for frame in frames:
        value = getattr(frame, attribute)
        for kind in kinds:
            if np.allclose(getattr(kind[0], attribute), value, rtol=0, atol=_SAME_GEOMETRY):
                kind.append(frame)
                break
        else:
            kinds.append([frame])
        if len(kinds) > _KINDS:
            break  # no series: the rest of its frames tells nothing new
    if len(kinds) > 1:
        listed = ", ".join(f"{len(kind)} images {text(kind[0])}" for kind in kinds[:_KINDS])
        remedy = "Such a mixture is often a localizer; copy the images of one kind to a folder."
        more = " or more" if len(kinds) > _KINDS else ""
        raise InputError(subject, f"{len(kinds)}{more} {what} ({listed})", ACCEPTED_SERIES, remedy)


def _require_even(frames: list[Frame], subject: object) -> None:
    depths = np.array([frame.position @ frames[0].normal for frame in frames])
    gaps = np.diff(depths)
    if (gaps < _SAME_POSITION_MM).any():
        shared = depths[int(np.argmax(gaps < _SAME_POSITION_MM))]
        rivals = np.flatnonzero(np.abs(depths - shared) < _SAME_POSITION_MM)
        raise _several_at_one_position([frames[k] for k in rivals], subject)
    step = np.sort(gaps)[(len(gaps) - 1) // 2]  # the lower median: a lost slice widens its gap
    tolerance = max(STEP_TOLERANCE * step, min(ROUNDING_MM, _ROUNDING_PART * step))
    uneven = np.flatnonzero(np.abs(gaps - step) > tolerance)
    accepted = f"steps equal to {tolerance:.2g} mm"
    if uneven.size:
        listed = ", ".join(
            f"{gaps[k]:.4g} mm between the slices at {depths[k]:.2f} and {depths[k + 1]:.2f} mm"
            for k in uneven[:3]
        )
        more = f" and {len(uneven) - 3} more" if len(uneven) > 3 else ""
        found = f"uneven or missing slices: {listed}{more}, where others are {step:.4g} mm apart"
        raise InputError(subject, found, accepted, "Add the missing images, or keep one even part.")
    drift = np.abs(depths - np.linspace(depths[0], depths[-1], len(depths))).max()
    if drift > tolerance:
        found = f"slice gaps that add up to {drift:.2g} mm off an even grid"
        raise InputError(subject, found, accepted, "Keep one even part.")


def _several_at_one_position(rivals: list[Frame], subject: object) -> InputError:
    names = " and ".join(rival.path.name for rival in rivals[:2])
    if len({(frame.value("SOPInstanceUID"), frame.index) for frame in rivals}) == 1:
        found, remedy = f"copies of one image ({names})", "Delete the copies."
        return InputError(subject, found, ACCEPTED_SERIES, remedy)
    differing = [text for keyword in _SETTINGS if (text := _contrast(rivals, keyword))]
    differing = differing or [text for key in _COUNTERS if (text := _contrast(rivals, key))][:1]
    found = f"{len(rivals)} images at one position ({'; '.join(differing) or names})"
    remedy = "Copy the images of one kind to a folder of their own."
    return InputError(subject, found, "one image at each position", remedy)


def _contrast(rivals: list[Frame], keyword: str) -> str:
    """Return how an attribute differs, as "EchoTime 1.7 and 3.45"; empty where it does not."""
    values = [words(frame.value(keyword)) for frame in rivals]
    common = set(values[0]).intersection(*values[1:])  # ImageType differs in one of its words
    texts = ["\\".join(word for word in own if word not in common) for own in values]
    # Shorter whole parts first: numbers come out in their order.
    distinct = sorted({text or "none" for text in texts}, key=lambda t: (len(t.split(".")[0]), t))
    return "" if len(distinct) == 1 else f"{keyword} {' and '.join(distinct[:6])}"


def _require_straight(frames: list[Frame], subject: object) -> None:
    offsets = np.array([frame.position - frames[0].position for frame in frames])
    normal = frames[0].normal
    sideways = offsets - np.outer(offsets @ normal, normal)
    scatter = np.abs(sideways - np.linspace(0, 1, len(frames))[:, None] * sideways[-1]).max()
    skew = np.linalg.norm(sideways[-1])
    scatter_limit = max(_SIDEWAYS_PIXELS * frames[0].spacing_mm.min(), ROUNDING_MM)
    skew_limit = max(STEP_TOLERANCE * (offsets[-1] @ normal), np.sqrt(2) * ROUNDING_MM)
    if scatter > scatter_limit or skew > skew_limit:
        shift = np.max(np.linalg.norm(np.diff(sideways, axis=0), axis=1))
        found = f"slices shifted sideways by up to {shift:.3g} mm from one to the next"
        raise InputError(subject, found, ACCEPTED_SERIES, "Resample it to an upright stack.")
