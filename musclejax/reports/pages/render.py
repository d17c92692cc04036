"""Fill the templates of pages, and write them: one file each, with all that it shows inside."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import musclejax
from musclejax.errors import InputError
from musclejax.files import staging_folder

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"
"""Scripts, style and library that stand in pages."""
_GENERATOR = b'<meta name="generator" content="musclejax'
_HEAD_BYTES = 400
"""Of a page, in which it says whose it is."""


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template and write the page, atomically; iterables in it are read as it is written.

    Args:
        path: The page.
        template: File name of `templates/`.
        values: What the template names.

    Raises:
        InputError: If there is a file that is not a page of ours.
        OSError: If the folder cannot be written.
    """
    check_page(path)
    with staging_folder(path.parent, path.name) as stage:
        _environment().get_template(template).stream(**values).dump(
            str(stage / path.name), encoding="utf-8", errors="backslashreplace"
        )


def check_page(path: Path) -> None:
    """Check that a page may be written, before hours are spent.

    Raises:
        InputError: If there is a file that is not a page of ours.
    """
    if not is_ours(path):
        found, remedy = "a file that musclejax did not write", "Rename or remove it."
        raise InputError(path, found, "a page of musclejax, or none", remedy)


def is_ours(path: Path) -> bool:
    """Return whether a page may be replaced: it is one of ours, or there is none."""
    if not path.exists():
        return not path.is_symlink()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _GENERATOR in file.read(_HEAD_BYTES)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"static": _static, "version": musclejax.__version__}
    return environment


def _static(name: str) -> Markup:
    """Return a file of `static/` as it is: it is ours, or a library's that was looked at."""
    return Markup((STATIC / name).read_text("utf-8"))
