"""One input, read with limits on time and memory: the class of what came, and the words for it."""

import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from musclejax.errors import InputError
from tests.fuzz.judges.base import same
from tests.fuzz.kinds import KINDS, Input
from tests.fuzz.limits import MEMORY_MIB, peak_mib, time_limit
from tests.fuzz.readers.scans import Answer

FINE = ("equal", "different", "refused")
FAULTS = ("wrong", "unclear", "traceback", "hang", "signal", "memory")
"""Classes. "different": accepted, and a warning tells or nothing in the file does. "wrong": see
`judges`. "unclear": an InputError that is not one printable line, or does not name the file."""
CODE_RAN = "MUSCLEJAX_FUZZ"
_LONGEST_LINE = 1000


def attempt(made: Input, folder: Path, valid: Answer) -> tuple[str, str]:
    """Return class and details of an input, which is written into the folder of its kind."""
    path, kind = folder / made.file, KINDS[made.kind]
    path.write_bytes(made.content)
    os.environ.pop(CODE_RAN, None)
    before = peak_mib(reset=True)
    with time_limit():
        result, detail = _read(lambda: kind.read(folder), path, folder)
    grown = peak_mib() - before
    if grown > MEMORY_MIB:
        return "memory", f"{grown:.0f} MiB, then {result}"
    if CODE_RAN in os.environ:
        return "wrong", "code of the file ran"
    if isinstance(detail, str):
        return result, detail
    if same(detail, valid):
        return "equal", ""
    told = detail.get("warnings", ()) != valid.get("warnings", ())
    reason = "" if told else kind.judge(valid, detail, made.content)
    return ("wrong", reason) if reason else ("different", "")


def _read(read: Callable[[], Answer], path: Path, folder: Path) -> tuple[str, str | Answer]:
    try:
        return "accepted", read()
    except InputError as error:
        if _memory_error(error):
            return "memory", f"no memory: {error}"
        return _refused(str(error), path, folder)
    except MemoryError as error:
        return "memory", f"{_where(error)}: {error}"
    except (Exception, SystemExit) as error:
        return "traceback", f"{type(error).__name__} at {_where(error)}: {error}"[:400]


def _refused(line: str, path: Path, folder: Path) -> tuple[str, str]:
    # By its name, its case or a folder that holds it.
    folders = (p for p in path.parents if p == path.parent or folder in p.parents)
    named = path.name.split(".")[0] in line or any(str(p) in line for p in folders)
    clear = named and line.isprintable() and len(line) <= _LONGEST_LINE
    return "refused" if clear else "unclear", line[:400]


def _memory_error(error: BaseException | None) -> bool:
    """Return whether the error was raised while one about memory was handled."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _where(error: BaseException) -> str:
    """Return the last line of ours that ran."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}musclejax{os.sep}" in frame.filename]
    last = (ours or frames)[-1]
    file = last.filename.rpartition(f"{os.sep}musclejax{os.sep}")[2]
    return f"{file}:{last.lineno} {last.name}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries say beside their answer."""
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
