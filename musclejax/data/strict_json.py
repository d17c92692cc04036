"""JSON that people write: anything that could mean two things is an error."""

import json
from pathlib import Path
from typing import Any

from musclejax.errors import InputError, one_line
from musclejax.files import json_text


def parse_json(path: Path, accepted: str) -> dict[str, Any]:
    """Return the object in a JSON file that people write or edit.

    Args:
        path: The file.
        accepted: What it should hold, for the error.

    Raises:
        InputError: If it cannot be read (see `files.json_text`), is no JSON object, is nested too
            deep, or names something twice in one table, which JSON leaves open.
    """
    try:
        value = json.loads(json_text(path), object_pairs_hook=_table, parse_constant=_no_number)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__}, no table")
    except RecursionError:
        raise InputError(path, "JSON that is nested too deep", accepted) from None
    except (OSError, ValueError) as error:
        raise InputError(path, f"no readable JSON ({one_line(error)})", accepted) from None
    return value


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} twice in one table")
    return table


def _no_number(text: str) -> None:
    raise ValueError(f"the number {text}, which JSON does not have")
