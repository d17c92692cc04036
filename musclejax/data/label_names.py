"""The meaning of label numbers, as `dataset.json` states it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musclejax import anatomy
from musclejax.data.strict_json import parse_json
from musclejax.errors import InputError, did_you_mean

IGNORE = 255
"""Label of pixels that do not count: nnU-Net's "ignore" label, here always this number."""
HIGHEST = 65535
"""Highest label number. Source: ours; FreeSurfer's table ends at 14175."""
RENAMED = "musclejax_names"
"""Key of `dataset.json`: label -> a muscle's name, "background" or "ignore"."""
_BACKGROUND, _IGNORED = "background", "ignore"
_MUSCLES = {
    name.casefold(): (region.name, muscle.number)
    for region in anatomy.REGIONS.values()
    for muscle in region.muscles
    for name in (muscle.abbreviation, muscle.name)
}
_SHOWN = 60


@dataclass(frozen=True)
class LabelNames:
    """The meaning of the label numbers of a dataset.

    Attributes:
        values: Number -> (region, our label number).
        ignore: Number that means "unknown", or None.
        others: Further numbers that the dataset declares to be background (0) or unknown
            (`IGNORE`).
    """

    values: Mapping[int, tuple[str, int]]
    ignore: int | None = None
    others: Mapping[int, int] = field(default_factory=dict)


def read_index(folder: Path) -> dict[str, Any]:
    """Read `dataset.json`.

    Raises:
        InputError: If there is none, or it has no table of labels.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        found = "no dataset.json" if folder.is_dir() else "no such folder"
        raise InputError(folder, found, "a dataset in nnU-Net's raw format")
    accepted = 'JSON with "labels": {NAME: NUMBER}'
    index = parse_json(path, accepted)
    if not isinstance(index.get("labels"), dict):
        found = "labels that are no table" if "labels" in index else 'no "labels"'
        raise InputError(path, found, accepted)
    return index


def read_label_names(index: Mapping[str, Any], path: Path) -> LabelNames:
    """Return the meaning of each label number.

    Args:
        index: The contents of `dataset.json`: "labels" as {NAME: NUMBER} or, in nnU-Net's first
            version, as {NUMBER: NAME}.
        path: The file, for errors.

    Raises:
        InputError: If a name or number means nothing, 0 is not the background, or two labels
            have one number or mean one muscle.
    """
    renamed = _renamed(index, path)
    names: dict[int, str] = {}
    labels: dict[tuple[str, int], str] = {}
    values: dict[int, tuple[str, int]] = {}
    others: dict[int, int] = {}
    ignore = None
    for name, number in _pairs(index["labels"], path):
        meaning = _meaning(name, number, renamed.get(name), path)
        if names.setdefault(number, name) != name and (number or meaning):
            found = f"number {number} for {names[number]!r} and for {name!r}"
            raise InputError(path, found, "a number of its own for each label")
        if isinstance(meaning, tuple):
            if labels.setdefault(meaning, name) != name:
                found = f"{labels[meaning]!r} and {name!r}, which are one muscle"
                raise InputError(path, found, "one label per muscle", "Remove one of the two.")
            values[number] = meaning
        elif meaning == IGNORE and ignore is None:
            ignore = number
        elif number:
            others[number] = meaning
    if not values:
        raise InputError(path, "no muscle among the labels", "muscles named as in labels.txt")
    return LabelNames(values, ignore, others)


def _pairs(labels: Mapping[str, Any], path: Path) -> list[tuple[str, int]]:
    """Return name and number of each label."""
    first_version = all(
        re.fullmatch(r"\d{1,6}", key) and isinstance(value, str) and not value.strip().isdigit()
        for key, value in labels.items()
    )
    if first_version:  # nnU-Net v1, {"1": "VL"}
        return [(value, int(key)) for key, value in labels.items()]
    return [(name, _number(name, value, path)) for name, value in labels.items()]


def _number(name: str, value: object, path: Path) -> int:
    """Return the number of a label; text and 1.0 are read as what they mean."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,6}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    accepted = "one number per label"
    if isinstance(value, list):
        shown = repr(value) if all(isinstance(v, int) for v in value) else "a list"
        remedy = "Regions are not supported: give each muscle a number of its own."
        raise InputError(path, f"label {name!r}: {shown[:_SHOWN]}", accepted, remedy)
    shown = "a table" if isinstance(value, dict) else repr(value)[:_SHOWN]
    raise InputError(path, f"label {name!r}: {shown}", accepted)


def _meaning(name: str, number: int, renamed: str | None, path: Path) -> tuple[str, int] | int:
    """Return (region, our number) of a muscle, else 0 for background or `IGNORE`."""
    key = (renamed or name).strip().casefold()
    label = f"label {name!r}: {number}"
    if key == _IGNORED:
        if number == 0 or abs(number) > HIGHEST:
            raise InputError(path, label, "another number, as 0 is the background")
        return IGNORE
    if key in _MUSCLES:
        if not 0 < number <= HIGHEST:
            remedy = "Renumber the labels from 1, in the label maps too." if number == 0 else ""
            raise InputError(path, label, f"1 to {HIGHEST}; 0 is the background", remedy)
        return _MUSCLES[key]
    if number == 0 or (renamed and 0 < number <= HIGHEST):
        return 0
    if key == _BACKGROUND:
        raise InputError(path, label, "0 for the background")
    raise _unknown(name, path)


def _unknown(name: str, path: Path) -> InputError:
    known = [m.abbreviation for region in anatomy.REGIONS.values() for m in region.muscles]
    hint = did_you_mean(name, [*known, *_MUSCLES])
    example = f'"{RENAMED}": {{{name[:_SHOWN]!r}: "background"}}'.replace("'", '"')
    remedy = f"{hint} Or say what it is: {example} (or ignore, or a muscle).".strip()
    accepted = ", ".join((_BACKGROUND, _IGNORED, *known))
    return InputError(path, f"label {name[:_SHOWN]!r}", accepted, remedy)


def _renamed(index: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return the dataset's own statements on names that are no muscle's."""
    table = index.get(RENAMED, {})
    if not isinstance(table, dict):
        raise InputError(path, f"{RENAMED} that is no table", '{"femur": "background"}')
    names = index["labels"]
    for name, meaning in table.items():
        known = {*_MUSCLES, _BACKGROUND, _IGNORED}
        if not isinstance(meaning, str) or meaning.strip().casefold() not in known:
            found = f"{RENAMED}: {name!r}: {meaning if isinstance(meaning, str) else '?'!r}"
            raise InputError(path, found, "a muscle's name, background or ignore")
        if name not in names and name not in names.values():
            hint = did_you_mean(name, map(str, names))
            raise InputError(path, f"{RENAMED}: {name!r}", "a name among the labels", hint)
    return {name: str(meaning) for name, meaning in table.items()}
