"""Texts on pictures, by Pillow."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from musclejax.errors import printable

HALO_PX = 1
_HALO = (0, 0, 0, 200)
_NO_CHARACTER = "\U0010ffff"


@cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib; matplotlib itself is not imported.

    Pillow's own font has no letters beyond ASCII.
    """
    package = find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(package.origin).parent / "mpl-data/fonts/ttf" / name, size)


def drawable(text: str) -> str:
    """Return a text in one line with a question mark for each character that the font lacks."""
    return "".join(c if _has(c) else "?" for c in printable(text))


@cache
def _has(character: str) -> bool:
    font = load_font(12)
    mask, missing = (font.getmask(c) for c in (character, _NO_CHARACTER))
    return character.isascii() or bytes(mask) != bytes(missing)


@cache
def stamp(text: str, size: int) -> Image.Image:
    """Return a text in white with a dark halo on nothing, cropped to it."""
    font = load_font(size, bold=True)
    left, top, right, bottom = font.getbbox(text, stroke_width=HALO_PX)
    image = Image.new("RGBA", (round(right - left), round(bottom - top)), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.text((-left, -top), text, _HALO, font, stroke_width=HALO_PX, stroke_fill=_HALO)
    white = Image.new("RGBA", image.size, (0, 0, 0, 0))
    ImageDraw.Draw(white).text((-left, -top), text, "white", font)
    return Image.alpha_composite(image, white)
