"""Options are one frozen record, documented in its class and nowhere else.

The command line, its help and the checks are made from the record: names and defaults from the
fields, kinds and choices from the annotations, texts from the docstring's "Attributes". An option
of several records is a type that stands here once, with its text.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from musclejax.errors import InputError


class Option(NamedTuple):
    """What the command line adds to a field: `Annotated[TYPE, Option(...)]`.

    Attributes:
        text: Help, where the docstring of the record has none.
        flags: Short forms.
        metavar: Name of the value in the help.
        argument: Whether it is an argument, known by its place, and no option.
    """

    text: str = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    argument: bool = False


Output = Annotated[Path, Option("Folder for the results.", flags=("-o",))]
WeightsOutput = Annotated[Path, Option("Weights folder to make.", flags=("-o",))]
WeightsName = Annotated[
    str,
    Option(
        "Bundled weights (see `musclejax weights list`) or a weights folder.",
        metavar="NAME_OR_DIR",
    ),
]
Workdir = Annotated[Path, Option("Folder of the run.", metavar="RUN")]
Folder = Annotated[Path, Option(metavar="DIR")]
FatFraction = Annotated[
    Path | None,
    Option(
        "Fat-fraction map of the scan (NIfTI or DICOM; 0-1, percent or per mille), or a folder "
        "with a map per scan, named like it."
    ),
]
Water = Annotated[
    Path | None,
    Option(
        "Water image of the scan, with --fat: the fat fraction is computed and written; or a "
        "folder with one per scan, named like it.",
        metavar="PATH",
    ),
]
Fat = Annotated[Path | None, Option("Fat image, with --water.", metavar="PATH")]
MapFiles = Annotated[
    tuple[str, ...],
    Option(
        "Any further map, such as T2=t2.nii.gz: mean, SD and median per muscle; or a folder with "
        "a map per scan, named like it. Repeatable.",
        metavar="NAME=PATH",
    ),
]
Threads = Annotated[int | None, Option("Processors to use.  [default: all]")]
Scheduler = Annotated[
    str | None,
    Option(
        "Work on the workers of this Dask cluster: its address, or its scheduler file (.json).  "
        "[default: here, one scan or trial at a time]",
        metavar="ADDRESS",
    ),
]
Precision = Literal["float32", "bfloat16"]
AsJson = Annotated[bool, Option("Print JSON instead of tables.")]


@lru_cache(maxsize=32)
def texts(record: type) -> dict[str, str]:
    """Return the text on each field on one line: of its type, or of the record's docstring."""
    found = {name: option_in(hint).text for name, hint in hints_of(record).items()}
    for documented in reversed(record.__mro__):
        section = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")[2]
        section = re.split(r"\n(?=\S)", section)[0]
        pairs = re.findall(r"^    (\w+): (.*(?:\n(?:        .*)?)*)", section, flags=re.MULTILINE)
        found |= {name: " ".join(text.split()) for name, text in pairs}
    return found


@lru_cache(maxsize=32)
def hints_of(record: type) -> dict[str, Any]:
    """Return the annotation of each field, with its `Option`."""
    return get_type_hints(record, include_extras=True)


def option_in(hint: Any) -> Option:
    """Return what the command line adds to a field; an empty `Option` if nothing."""
    parts = (hint, *get_args(hint))  # `Output | None` has it in a part
    annotated = (part for part in parts if get_origin(part) is Annotated)
    extras = (extra for part in annotated for extra in part.__metadata__)
    return next((extra for extra in extras if isinstance(extra, Option)), Option())


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


def check_workers(scheduler: str | None, threads: int | None) -> None:
    """Check that a command is bound to processors only if it works itself.

    Raises:
        InputError: If the work is that of a cluster.
    """
    if scheduler and threads:
        remedy = "Bind the workers: `taskset`, or `srun --cpus-per-task` (docs/scaling.md)."
        raise InputError("--threads", "--scheduler too", "one of the two", remedy)


_MAP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_TAKEN = ("fat_fraction", "level")
"""Names of maps whose columns exist already."""


def named_paths(texts: Sequence[str]) -> dict[str, Path]:
    """Return the path of each `--map`, by name.

    Raises:
        InputError: If one is not NAME=PATH, or a name is taken.
    """
    paths: dict[str, Path] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not _MAP_NAME.fullmatch(name) or not path:
            accepted = "NAME=PATH, the name of letters, digits and _"
            raise InputError("--map", repr(text), accepted, "For example --map T2=t2.nii.gz.")
        if name in _TAKEN or name in paths:
            remedy = "Give --fat-fraction." if name == "fat_fraction" else ""
            raise InputError("--map", f"the name {name}, which is taken", "another name", remedy)
        paths[name] = Path(path)
    return paths


def check_map_options(water: Path | None, fat: Path | None, fat_fraction: Path | None) -> None:
    """Check that water and fat are given together, and no fat fraction beside them.

    Raises:
        InputError: If not.
    """
    if (water is None) != (fat is None):
        found, missing = ("--water", "--fat") if fat is None else ("--fat", "--water")
        raise InputError(found, f"no {missing}", "both images, or neither")
    if water is not None and fat_fraction is not None:
        raise InputError("--fat-fraction", "--water and --fat too", "one of the two")


def flag(field: str) -> str:
    """Return the command-line option of a field: "batch_size" is "--batch-size"."""
    return "--" + field.replace("_", "-")
