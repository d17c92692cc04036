"""Pictures of slices: places, sizes, colors and letters."""

import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from musclejax.anatomy import COLORS, REGIONS
from musclejax.reports.pictures.lettering import drawable
from musclejax.reports.pictures.overlay import EDGE_ALPHA, FILL_ALPHA
from musclejax.reports.pictures.slices import slice_pictures, to_webp
from musclejax.scan.volume import Volume
from tests.test_grid import ORIENTATIONS, reoriented

THIGH = REGIONS["thigh"]
VL, SAR, UNKNOWN = 1, 5, 255
GRAY = 127.5
"""Of the body in a picture."""
SCALE = 4.8
"""Pixels of a picture in one of the scan."""


def scan(columns: int = 100, rows: int = 60, spacing: tuple[float, ...] = (4.0, 4.0)) -> Volume:
    """Return a gray body with a rim of air and a bright strip at its back; axes to R, A and S."""
    data = np.zeros((columns, rows, 3), np.float32)
    data[2:-2, 2:-2] = 100
    data[2:-2, 2:6] = 200
    return Volume(data, np.diag([*spacing, 10.0, 1.0]), "a")


def labeled(volume: Volume, *boxes: tuple[int, tuple[slice, ...]]) -> np.ndarray:
    labels = np.zeros(volume.data.shape, np.uint8)
    for number, box in boxes:
        labels[box] = number
    return labels


def pixels(volume: Volume, labels: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(image).astype(int) for image in slice_pictures(volume, labels, THIGH)]


def shows(image: np.ndarray, number: int, alpha: float) -> np.ndarray:
    """Return where a muscle shows on the gray body."""
    color = np.array(COLORS[number]) * alpha + GRAY * (1 - alpha)
    return np.asarray(np.abs(image - color).max(-1) <= 2)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_right_is_on_the_left_front_above_and_feet_come_first(orientation: np.ndarray) -> None:
    """A vastus lateralis in front on the patient's right, in the lowest slice only."""
    volume = scan()
    labels = labeled(volume, (VL, np.s_[60:90, 35:50, :1]))
    turned = nib.apply_orientation(labels, orientation)
    first, *others = pixels(reoriented(volume, orientation), turned)
    rows, columns = np.nonzero(shows(first, VL, FILL_ALPHA))
    assert rows.size > 1000
    assert rows.max() < first.shape[0] / 2
    assert columns.max() < first.shape[1] / 2
    assert not any(shows(image, VL, FILL_ALPHA).any() for image in others)


@pytest.mark.parametrize(
    ("columns", "rows", "spacing", "size"),
    [
        (100, 60, (4.0, 4.0), (480, 288)),  # enlarged
        (700, 80, (0.5, 0.5), (700, 80)),  # no pixel is lost
        (300, 60, (1.0, 2.0), (480, 192)),  # pixels are square
        (60, 300, (2.0, 1.0), (480, 1200)),
    ],
)
def test_pictures_keep_the_scans_pixels_and_its_form(
    columns: int, rows: int, spacing: tuple[float, float], size: tuple[int, int]
) -> None:
    volume = scan(columns, rows, spacing)
    (picture, *_) = slice_pictures(volume, labeled(volume), THIGH)
    assert picture.size == size
    decoded = Image.open(io.BytesIO(to_webp(picture)))
    assert (decoded.format, decoded.size) == ("WEBP", size)


def test_muscles_are_tinted_and_outlined_and_the_unknown_is_gray() -> None:
    volume = scan()
    boxes = (SAR, np.s_[60:80, 20:40]), (UNKNOWN, np.s_[20:40, 20:40])
    image = pixels(volume, labeled(volume, *boxes))[0]
    side = 20 * SCALE
    assert shows(image, SAR, FILL_ALPHA).sum() == pytest.approx(side**2, rel=0.1)
    assert shows(image, SAR, EDGE_ALPHA).sum() == pytest.approx(4 * side, rel=0.1)  # a pixel wide
    unknown = 153 * 0.45 + GRAY * 0.55
    assert (np.abs(image - unknown).max(-1) <= 1).sum() == pytest.approx(side**2, rel=0.1)


def test_names_stand_on_muscles_that_have_room_for_them() -> None:
    """The fattest part of a muscle takes its name; what is narrower than its name has none."""
    volume = scan()
    thin, fat, narrow = np.s_[40:80, 45:47], np.s_[70:80, 35:45], np.s_[20:23, 20:50]
    image = pixels(volume, labeled(volume, (VL, thin), (VL, fat), (SAR, narrow)))[0]
    letters = (image == 255).all(-1)[60:240]  # without the marks of the sides and the bright strip
    rows, columns = np.nonzero(letters)
    left, right = (100 - 80) * SCALE, (100 - 70) * SCALE  # x runs to the patient's left
    assert 10 < rows.size < 200
    assert left < columns.min() < columns.mean() < columns.max() < right
    assert columns.mean() == pytest.approx((left + right) / 2, abs=5)
    assert rows.mean() + 60 == pytest.approx((60 - 41) * SCALE, abs=8)


def test_a_muscle_with_a_hole_where_its_name_would_stand() -> None:
    volume, box = scan(), (slice(30, 70), slice(20, 50))
    labels = labeled(volume, (VL, box), (0, (slice(46, 54), slice(31, 39))))
    assert len(pixels(volume, labels)) == 3
    labels = labeled(volume, *((VL, (slice(x, x + 1), box[1])) for x in range(30, 70, 2)))
    assert len(pixels(volume, labels)) == 3


def test_characters_that_the_font_lacks_are_question_marks() -> None:
    assert drawable("Müller-Łódź Ж ≥ 2 · Ω") == "Müller-Łódź Ж ≥ 2 · Ω"
    assert drawable("木 🧠\n") == "? ?\\n"
