"""Axial slices with their labels, as a radiologist reads them: for contact sheets and pages."""

import io
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from PIL import WebPImagePlugin as WebPImagePlugin  # else saving as WebP imports all formats
from scipy import ndimage as ndi

from musclejax.anatomy import Region
from musclejax.reports.pictures.lettering import HALO_PX, stamp
from musclejax.reports.pictures.overlay import blend, edges, layers
from musclejax.scan.intensity import body_box
from musclejax.scan.slices import planes
from musclejax.scan.volume import Volume

_WIDTH_PX = 480
"""Slices of fewer pixels are enlarged until they are as wide."""
_WHITE_PERCENTILE = 99.0
"""Of the body's intensities, which is shown white."""
_LETTER_SHARE, _LETTERS_PX = 1 / 48, (11, 16)
"""Size of letters over the picture's width, and its limits."""
_INSIDE, _ROUNDING = 0.8, 1e-3
"""Share of an abbreviation's box that lies within its muscle, and how exact it is."""
_DEEPEST = 0.9
"""Share of the largest distance from the muscle's border with which a place is as good."""
_AROUND = 2
"""Pixels from the inner part of a muscle to its neighbors."""
_MARGIN_PX = 6


class Frame(NamedTuple):
    """The part of the axial plane that pictures show.

    Attributes:
        box: Of the canonical view, along x and y.
        size: Width and height of a picture, pixels; they are square.
    """

    box: tuple[slice, slice]
    size: tuple[int, int]

    def fit(self, width: int) -> "Frame":
        """Return the frame with pictures of another width."""
        return self._replace(size=(width, max(1, round(self.size[1] * width / self.size[0]))))


def slice_pictures(
    volume: Volume, labels: UInt8[np.ndarray, "i j k"], region: Region
) -> list[Image.Image]:
    """Return a picture of each axial slice, from feet to head.

    Anterior is up, the patient's right on the left. Muscles are tinted and outlined, and bear
    their abbreviations where these fit.

    Args:
        volume: The scan; `volume.lps.file_index` tells a slice's number in the file.
        labels: Muscle numbers on its grid; any other number is shown gray, as unknown.
        region: Whose muscles.
    """
    return list(draw_slices(volume, labels, region, frame_of(volume, labels)))


def frame_of(volume: Volume, labels: UInt8[np.ndarray, "i j k"]) -> Frame:
    """Return the frame around body and labels in which no pixel of the scan is lost."""
    view = volume.lps
    x_mm, y_mm, _ = view.spacing_mm
    counts = np.zeros(view.data.shape[:2], np.float32)
    for image, own in zip(planes(view.data), planes(view.from_file(labels)), strict=True):
        counts += (image >= view.body_threshold) | (own > 0)
    box = body_box(counts / view.data.shape[2], x_mm, y_mm)
    columns, rows = view.data[(*box, 0)].shape
    pixel_mm = min(x_mm, y_mm)
    width, height = columns * x_mm / pixel_mm, rows * y_mm / pixel_mm
    scale = max(1.0, _WIDTH_PX / width)
    return Frame(box, (round(width * scale), round(height * scale)))


def draw_slices(
    volume: Volume,
    labels: UInt8[np.ndarray, "i j k"],
    region: Region,
    frame: Frame,
    shown: Int[np.ndarray, " n"] | None = None,
) -> Iterator[Image.Image]:
    """Draw slices one after the other, as `slice_pictures` returns them.

    Args:
        volume: The scan.
        labels: Muscle numbers on its grid.
        region: Whose muscles.
        frame: What a picture shows, and its size.
        shown: Slices counted from the feet; None for all.
    """
    view, names = volume.lps, {m.number: m.abbreviation for m in region.muscles}
    here = view.from_file(labels)
    white = view.body_percentile(_WHITE_PERCENTILE)
    scale = np.float32(255 / white if white > 0 else 1.0)
    for z in range(here.shape[2]) if shown is None else shown:
        part = (*frame.box, int(z))
        gray = np.clip(view.data[part].T * scale, 0, 255).astype(np.uint8)
        yield _draw_slice(gray, here[part].T, names, frame.size)


def to_webp(picture: Image.Image) -> bytes:
    """Return a picture as a WebP file, made in few milliseconds."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=0)
    return buffer.getvalue()


def _draw_slice(
    gray: UInt8[np.ndarray, "r c"],
    labels: UInt8[np.ndarray, "r c"],
    names: Mapping[int, str],
    size: tuple[int, int],
) -> Image.Image:
    enlarged = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    image = np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC))
    index = layers(enlarged).astype(np.uint16) << 8 | image
    picture = Image.fromarray(_blended().take(index, axis=0))
    letters = int(np.clip(round(size[0] * _LETTER_SHARE), *_LETTERS_PX))
    _write_names(picture, labels, names, letters)
    _write_sides(picture, letters + 4)
    return picture


@cache
def _blended() -> UInt8[np.ndarray, "n 3"]:
    return blend().reshape(-1, 3)


def _write_names(
    picture: Image.Image, labels: UInt8[np.ndarray, "r c"], names: Mapping[int, str], size: int
) -> None:
    """Write an abbreviation on each part of a muscle that has room for it, large parts first."""
    y, x = picture.height / labels.shape[0], picture.width / labels.shape[1]
    padded = np.pad(labels, _AROUND)
    free = np.ones((picture.height, picture.width), bool)
    for label, (rows, columns) in _find_parts(padded):
        if label not in names:
            continue
        text = stamp(names[label], size)
        room = (text.height - 2 * HALO_PX) / y, (text.width - 2 * HALO_PX) / x
        place = _find_room(padded[rows, columns] == label, room)
        if place is None:
            continue
        row, column = place[0] + rows.start - _AROUND, place[1] + columns.start - _AROUND
        top = max(0, round((row + 0.5) * y - text.height / 2))
        left = max(0, round((column + 0.5) * x - text.width / 2))
        own = free[top : top + text.height, left : left + text.width]
        if own.all():
            picture.paste(text, (left, top), text)
            own[:] = False


def _find_parts(
    labels: UInt8[np.ndarray, "r c"],
) -> list[tuple[int, tuple[slice, slice]]]:
    """Return label and surroundings of each part of a muscle that is wider than its border."""
    parts, _ = ndi.label((labels > 0) & ~edges(labels))
    found = []
    for number, box in enumerate(ndi.find_objects(parts), 1):
        label = int(labels[box][parts[box] == number][0])
        rows, columns = (slice(side.start - _AROUND, side.stop + _AROUND) for side in box)
        found.append((parts[box].size, label, (rows, columns)))
    return [(label, box) for _, label, box in sorted(found, key=lambda part: -part[0])]


def _find_room(part: Bool[np.ndarray, "r c"], text: tuple[float, float]) -> tuple[int, int] | None:
    """Return row and column of the best place for a text's middle; None where it does not fit.

    Args:
        part: Pixels of a part of a muscle, within a box around it.
        text: Height and width of the text in these pixels.
    """
    size = [max(1, round(side)) for side in text]
    inside = ndi.uniform_filter(part.astype(np.float32), size, mode="constant") * part
    if inside.max() < _INSIDE:
        return None
    depth = ndi.distance_transform_edt(part, (1 / text[0], 1 / text[1]))
    depth[inside < inside.max() - _ROUNDING] = 0
    deepest = np.argwhere(depth > _DEEPEST * depth.max())
    row, column = deepest[np.argmin(((deepest - deepest.mean(0)) ** 2).sum(1))]
    return int(row), int(column)


def _write_sides(picture: Image.Image, size: int) -> None:
    right, left = stamp("R", size), stamp("L", size)
    picture.paste(right, (_MARGIN_PX, _MARGIN_PX), right)
    picture.paste(left, (picture.width - left.width - _MARGIN_PX, _MARGIN_PX), left)
