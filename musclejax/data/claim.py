"""What the files of a folder are made from: written first, compared when a stopped run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musclejax.config import differences
from musclejax.errors import InputError
from musclejax.files import write_json


def claim(file: Path, made_from: Mapping[str, Any], option: str) -> None:
    """Write what a folder's files are made from, or check that it is what it was.

    Args:
        file: JSON file in the folder, which is made if needed.
        made_from: JSON-able settings, nested or not.
        option: The option that names the folder, for the error.

    Raises:
        InputError: If the folder holds another dataset, or files that are made from something
            else; with the differences.
    """
    settings = json.loads(json.dumps(made_from))
    if not file.is_file():
        if (file.parent / "dataset.json").is_file():
            found = f"a dataset without {file.name}"
            raise InputError(file.parent, found, "a new folder", f"Take another {option}.")
        write_json(file, settings)
        return
    try:
        changes = differences(json.loads(file.read_text(encoding="utf-8")), settings)
    except (ValueError, AttributeError) as error:
        found = f"what is no record of settings ({error})"
        raise InputError(file, found, f"another {option}") from None
    if changes:
        shown = "; ".join(changes[:3]) + ("; ..." if len(changes) > 3 else "")
        found = f"files of other settings ({shown})"
        remedy = f"Give those settings, or another {option}."
        raise InputError(file.parent, found, "the settings they were begun with", remedy)
