"""Write files so that a reader never meets half of one."""

import glob
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"


@contextmanager
def staging_folder(folder: Path, prefix: str, last: str = "") -> Iterator[Path]:
    """Yield a hidden folder inside `folder`; move its files out only if the block succeeds.

    Args:
        folder: Where the files go; it is made if needed.
        prefix: Start of the hidden folder's name.
        last: Name of the file moved last: its presence says that all are there.

    Raises:
        OSError: If `folder` cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder, prefix)
    stage = Path(tempfile.mkdtemp(dir=folder, prefix=f".{prefix}.", suffix=_PARTIAL))
    try:
        yield stage
        if last:
            (folder / last).unlink(missing_ok=True)
        for path in sorted(stage.iterdir(), key=lambda p: p.name == last):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the hidden folders that killed runs have left of what `staging_folder` began."""
    for abandoned in folder.glob(f".{glob.escape(prefix)}.????????{_PARTIAL}"):
        shutil.rmtree(abandoned, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path`, then rename."""
    with staging_folder(path.parent, path.name) as stage:
        (stage / path.name).write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")
