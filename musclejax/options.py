"""Options are one frozen record, documented in its class and nowhere else.

The command line, its help and the checks are made from the record: names and defaults from the
fields, kinds and choices from the annotations, texts from the docstring's "Attributes".
"""

import inspect
import re
from dataclasses import fields
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from musclejax.errors import InputError


@lru_cache(maxsize=32)
def texts(record: type) -> dict[str, str]:
    """Return the text on each field in the docstring of a record or its bases, on one line each."""
    found: dict[str, str] = {}
    for documented in reversed(record.__mro__):
        section = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")[2]
        section = re.split(r"\n(?=\S)", section)[0]
        pairs = re.findall(r"^    (\w+): (.*(?:\n(?:        .*)?)*)", section, flags=re.MULTILINE)
        found |= {name: " ".join(text.split()) for name, text in pairs}
    return found


def choices(record: type, field: str) -> tuple[str, ...]:
    """Return what a field may be if its annotation is a `Literal`; empty if anything."""
    hint = get_type_hints(record)[field]
    return get_args(hint) if get_origin(hint) is Literal else ()


def check_choices(record: Any) -> None:
    """Check the fields of a record that have choices; for its `__post_init__`.

    Raises:
        InputError: If one is none of them; the nearest choice is named.
    """
    for field in fields(record):
        known, value = choices(type(record), field.name), getattr(record, field.name)
        if known and value not in known:
            raise InputError.choice(field.name, value, known)


def flag(field: str) -> str:
    """Return the command-line option of a field: "batch_size" is "--batch-size"."""
    return "--" + field.replace("_", "-")
