"""The DICOM images of a folder -> the volumes that they are, by series, person, echo and kind.

Voxels are not read, and most headers only glanced at: see `dicom_look`.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from musclejax.errors import InputError
from musclejax.scan.dicom import quiet
from musclejax.scan.dicom_file import (
    header_integer,
    header_value,
    header_words,
    is_dicom,
    read_dataset,
)
from musclejax.scan.dicom_frames import Frame, frames_of, is_image, require_complete, series_of
from musclejax.scan.dicom_look import POSITION, SERIES_KEYWORDS, Look, look
from musclejax.scan.dicom_order import split_frames, split_repeats, type_words

Position = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class DicomVolume:
    """Images that are one volume as far as their headers tell.

    Attributes:
        path: What `load` takes: the folder, or a multi-frame file in it.
        files: Its images, if the folder holds others too; else empty.
        index: Which volume of a multi-frame file; None if it holds one.
        frame: One of its frames, for values of the header.
        positions: Of its frames, mm LPS.
        echoes: Number of echo times in its series.
        problem: Why it is no volume; empty if nothing is known.
    """

    path: Path
    files: tuple[Path, ...]
    index: int | None
    frame: Frame
    positions: tuple[Position, ...]
    echoes: int = 1
    problem: str = ""

    @property
    def echo_ms(self) -> float | None:
        """The echo time."""
        return echo_of(self.frame)

    @property
    def shape(self) -> tuple[int, ...]:
        """Columns, rows and slices; empty if the header does not say."""
        try:
            rows, columns = self.frame.shape
        except InputError:
            return ()
        return columns, rows, max(1, len(self.positions))

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Along columns, rows and slices; empty if the header does not say."""
        try:
            between_rows, between_columns = map(float, self.frame.spacing_mm)
            return between_columns, between_rows, self._step_mm
        except InputError:
            return ()

    @property
    def _step_mm(self) -> float:
        if len(self.positions) > 1:
            depths = np.array(self.positions) @ self.frame.normal
            return float(np.ptp(depths)) / (len(depths) - 1)
        return float(self.frame.numbers("SliceThickness", 1, default=0.0)[0])

    @property
    def extent_mm(self) -> tuple[float, float] | None:
        """Lowest and highest position along the body; None if the headers do not say."""
        try:
            along = self.frame.orientation[[2, 5]] * self.frame.spacing_mm[::-1]
            across = abs(float(self.frame.normal[2])) * self._step_mm / 2
            heights = [position[2] for position in self.positions]
            rows, columns = self.frame.shape
        except (InputError, IndexError):
            return None
        if not heights:
            return None
        ends = along * (columns, rows)
        low, high = float(np.minimum(ends, 0).sum()), float(np.maximum(ends, 0).sum())
        return min(heights) + low - across, max(heights) + high + across

    @property
    def pixel_mm(self) -> float | None:
        """Largest edge of a voxel within axial slices; None if the headers do not say."""
        try:
            row, column = self.frame.orientation.reshape(2, 3)
            heights = np.abs([row[2], column[2], self.frame.normal[2]])
        except InputError:
            return None
        edges = np.delete(self.spacing_mm, np.argmax(heights)) if self.spacing_mm else ()
        return float(max(edges)) if len(edges) else None

    def text(self, keyword: str) -> str:
        """Look an attribute up as text on one line; empty where it is absent."""
        return "\\".join(header_words(self.frame.headers[-1], keyword)).strip()


class DicomList(NamedTuple):
    """The volumes of a folder; a line for each image that cannot be read; and remarks."""

    volumes: tuple[DicomVolume, ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _Image(NamedTuple):
    file: Path
    header: Dataset
    position: Position | None


def dicom_volumes(path: Path) -> DicomList:
    """List the volumes of a folder, or of one file.

    Images are told apart by SeriesInstanceUID and PatientID; where several lie at one position, by
    EchoTime and ImageType. A folder with one volume is taken as a whole, for `load` to judge.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    with quiet():
        images, failures = _read(files)
        series = list(_by_series(images))
        patients = {p for group in series if (p := _patient(group[0].header))}
        volumes = [volume for group in series for volume in _volumes(group, path)]
    if len(series) == 1 and (len(volumes) == 1 or volumes[0].index is not None):
        # Whatever else lies there, `load` shall see it: a damaged image may be a slice.
        failures = []
        volumes = [replace(volume, path=path, files=()) for volume in volumes]
    warnings = []
    if len(patients) > 1:
        listed = ", ".join(sorted(patients)[:4]) + (", ..." if len(patients) > 4 else "")
        warnings.append(f"{path}: images of {len(patients)} patients ({listed}), kept apart")
    lines = tuple(f"{path}: one of its series may lack it: {error}" for error in failures)
    return DicomList(tuple(volumes), lines, tuple(warnings))


def echo_of(frame: Frame) -> float | None:
    """Return the echo time of a frame in ms; None if its header does not say."""
    for keyword in ("EffectiveEchoTime", "EchoTime"):
        try:
            value = float(frame.numbers(keyword, 1, default=0.0)[0])
        except InputError:
            continue
        if value > 0:
            return value
    return None


def _read(files: Sequence[Path]) -> tuple[list[_Image], list[InputError]]:
    images, failures = [], []
    headers: dict[tuple[bytes, ...], Dataset] = {}
    for file in files:
        try:
            if image := _image(file, headers):
                images.append(image)
        except InputError as error:
            failures.append(error)
    return images, failures


def _image(file: Path, headers: dict[tuple[bytes, ...], Dataset]) -> _Image | None:
    """Return an image, its header shared with those that equal it; None for other files."""
    if not file.is_file() or not is_dicom(file):
        return None
    seen = look(file)
    if seen is None:
        header = _header(file)
        position = _numbers(header_value(header, POSITION))
    else:
        if seen.common not in headers:
            headers[seen.common] = _header(file)
        header, position = headers[seen.common], _position(seen)
    if not is_image(header):
        require_complete(file, header)
        return None
    return _Image(file, header, position)


def _header(file: Path) -> Dataset:
    header = read_dataset(file, stop_before_pixels=True, specific_tags=[*SERIES_KEYWORDS, POSITION])
    if header_integer(header, "NumberOfFrames", 1) > 1:
        return read_dataset(file, stop_before_pixels=True)
    return header


def _position(seen: Look) -> Position | None:
    text = seen.position.decode("ascii", "replace")
    return _numbers(text.strip(" \0").split("\\")) if text else None


def _numbers(value: object) -> Position | None:
    try:
        numbers = tuple(float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 3 and np.isfinite(numbers).all() else None


def _by_series(images: Sequence[_Image]) -> Iterator[list[_Image]]:
    """Yield the images of each series; of each person, where an anonymizer has mixed them."""
    series: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        series[series_of(image.header)].append(image)
    for group in series.values():
        persons = {p for image in group if (p := _patient(image.header))}
        if len(persons) < 2:
            yield group
            continue
        apart: dict[str, list[_Image]] = defaultdict(list)
        for image in group:
            apart[_patient(image.header)].append(image)
        yield from apart.values()


def _patient(header: Dataset) -> str:
    return " ".join(header_words(header, "PatientID"))


def _volumes(group: Sequence[_Image], path: Path) -> Iterator[DicomVolume]:
    """Yield the volumes of one series."""
    stacks = [image for image in group if header_integer(image.header, "NumberOfFrames", 1) > 1]
    for image in stacks:
        yield from _frame_volumes(image, path)
    slices = [image for image in group if image not in stacks] if stacks else list(group)
    if not slices:
        return
    frames = [Frame(image.file, 0, (image.header,)) for image in slices]
    places = [image.position or image.file for image in slices]
    parts = split_repeats(places, [_kind(frame) for frame in frames])
    echoes = len({echo_of(frames[part[0]]) for part in parts})
    for part in parts:
        own = [slices[k] for k in part]
        yield DicomVolume(
            path=path,
            files=tuple(image.file for image in own),
            index=None,
            frame=frames[part[0]],
            positions=tuple(image.position for image in own if image.position),
            echoes=echoes,
            problem=_problem(own, [frames[k] for k in part]),
        )


def _kind(frame: Frame) -> Hashable:
    return echo_of(frame) or 0.0, *type_words(frame)


def _frame_volumes(image: _Image, path: Path) -> Iterator[DicomVolume]:
    """Yield the volumes of a multi-frame file; the file itself if its frames cannot be read."""
    try:
        parts = split_frames(frames_of(image.file, image.header))
    except InputError as error:
        frame = Frame(image.file, 0, (image.header,))
        yield DicomVolume(image.file, (), None, frame, (), problem=error.found)
        return
    for index, part in enumerate(parts):
        yield DicomVolume(
            path=image.file,
            files=(),
            index=index if len(parts) > 1 else None,
            frame=part[0],
            positions=tuple(p for f in part if (p := _numbers(f.value(POSITION)))),
            echoes=len({echo_of(other[0]) for other in parts}),
        )


def _problem(images: Sequence[_Image], frames: Sequence[Frame]) -> str:
    """Say why `load` will refuse the images; as far as the headers that were seen tell."""
    positions = [image.position for image in images if image.position]
    if len(set(positions)) < len(positions):
        return f"{max(Counter(positions).values())} images at one position"
    distinct = {id(frame.headers[0]): frame for frame in frames}.values()
    if len(images) == 1 and "MOSAIC" in type_words(frames[0]):
        return "a mosaic"
    if len(distinct) > 1:
        planes = {_direction(frame) for frame in distinct}
        if len(planes) > 1:
            return f"{len(planes)} slice orientations"
    return ""


def _direction(frame: Frame) -> tuple[float, ...]:
    try:
        return tuple(np.round(frame.orientation, 2).tolist())
    except InputError:
        return ()
