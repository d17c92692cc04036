"""The meaning of label numbers, as `dataset.json` states it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from musclejax import anatomy
from musclejax.data.muscle_names import Meaning, group_of, is_part, known_names, parse_name
from musclejax.data.strict_json import parse_json
from musclejax.errors import InputError, did_you_mean

IGNORE = 255
"""Label of pixels that do not count: nnU-Net's "ignore" label, here always this number."""
HIGHEST = 65535
"""Highest label number. Source: ours; FreeSurfer's table ends at 14175."""
RENAMED = "musclejax_names"
"""Key of `dataset.json`: label -> a muscle's name, "background" or "ignore"."""
_BACKGROUND, _IGNORED = "background", "ignore"
_SHOWN = 60


@dataclass(frozen=True)
class LabelNames:
    """The meaning of the label numbers of a dataset.

    Attributes:
        values: Number -> (region, our label number). Several numbers may mean one muscle: left and
            right apart, or parts of it.
        ignore: Number that means "unknown", or None.
        others: Further numbers that the dataset declares to be background (0) or unknown
            (`IGNORE`).
        sides: Number -> 1 + index into `anatomy.SIDES`, of labels of one side.
    """

    values: Mapping[int, tuple[str, int]]
    ignore: int | None = None
    others: Mapping[int, int] = field(default_factory=dict)
    sides: Mapping[int, int] = field(default_factory=dict)


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
        found = "labels that are not a table" if "labels" in index else 'no "labels"'
        raise InputError(path, found, accepted)
    return index


def read_label_names(
    index: Mapping[str, Any], path: Path, renamed: Mapping[str, str] | None = None
) -> LabelNames:
    """Return the meaning of each label number.

    Args:
        index: The contents of `dataset.json`: "labels" as {NAME: NUMBER} or, in nnU-Net's first
            version, as {NUMBER: NAME}.
        path: The file, for errors.
        renamed: Label -> what it means, as under `RENAMED`, which it goes before; names that the
            file lacks are passed over.

    Raises:
        InputError: If a name or number means nothing, 0 is not the background, or two labels
            have one number or mean one muscle (of one side).
    """
    meant = {**_renamed(index, path), **(renamed or {})}
    names: dict[int, str] = {}
    labels: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    values: dict[int, tuple[str, int]] = {}
    others: dict[int, int] = {}
    sides: dict[int, int] = {}
    ignore = None
    for name, number in label_pairs(index["labels"], path):
        meaning = _meaning(name, number, meant.get(name), path)
        if names.setdefault(number, name) != name and (number or meaning):
            found = f"number {number} for {names[number]!r} and for {name!r}"
            raise InputError(path, found, "a number of its own for each label")
        if isinstance(meaning, Meaning):
            values[number] = meaning[:2]
            if meaning.side:
                sides[number] = meaning.side
            alike = labels[values[number]]
            _check_apart({**alike, name: meaning.side}, meant, path)
            alike[name] = meaning.side
        elif meaning == IGNORE and ignore is None:
            ignore = number
        elif number:
            others[number] = meaning
    if not values:
        raise InputError(path, "no muscle among the labels", "muscles named as in labels.txt")
    return LabelNames(values, ignore, others, sides)


def _check_apart(alike: Mapping[str, int], meant: Mapping[str, str], path: Path) -> None:
    """Check labels of one muscle: they must be those of two sides, or parts that add up.

    Args:
        alike: Name of each label -> its side as in `Meaning`.
        meant: As of `read_label_names`.
        path: For the error.
    """
    whole = {name: s for name, s in alike.items() if not is_part(name) and name not in meant}
    for first, second in combinations(whole, 2):
        if whole[first] == whole[second] or 0 in (whole[first], whole[second]):
            found = f"{first!r} and {second!r}, which are one muscle"
            accepted = "one label per muscle, or one per side"
            raise InputError(path, found, accepted, "Remove one of the two.")


def parse_map(texts: Iterable[str], option: str = "--map") -> dict[str, str]:
    """Return what labels mean, from texts such as "femur=ignore" or "vasto med=VM".

    Raises:
        InputError: If a text has another form, or means no muscle.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, meaning = (part.strip() for part in text.rpartition("="))
        if not (name and equals):
            raise InputError(option, repr(text[:_SHOWN]), "LABEL=MEANING, as femur=ignore")
        if not _is_known(meaning):
            accepted = f"a muscle's name, {_BACKGROUND} or {_IGNORED}"
            hint = did_you_mean(meaning, [*known_names(), _BACKGROUND, _IGNORED])
            raise InputError(f"{option} {name[:_SHOWN]}", repr(meaning[:_SHOWN]), accepted, hint)
        found[name] = meaning
    return found


def label_names_in(index: Mapping[str, Any]) -> set[str]:
    """Return the names of all labels in the contents of a `dataset.json`."""
    return {text for pair in index["labels"].items() for text in pair if isinstance(text, str)}


def _is_known(meaning: str) -> bool:
    return meaning.casefold() in (_BACKGROUND, _IGNORED) or parse_name(meaning) is not None


def label_pairs(labels: Mapping[str, Any], path: Path) -> list[tuple[str, int]]:
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


def _meaning(name: str, number: int, renamed: str | None, path: Path) -> Meaning | int:
    """Return the muscle that a label means, else 0 for background or `IGNORE`."""
    text = (renamed or name).strip()
    label = f"label {name!r}: {number}"
    if text.casefold() == _IGNORED:
        if number == 0 or abs(number) > HIGHEST:
            raise InputError(path, label, "another number, as 0 is the background")
        return IGNORE
    if muscle := parse_name(text):
        if not 0 < number <= HIGHEST:
            remedy = "Renumber the labels from 1, in the label maps too." if number == 0 else ""
            raise InputError(path, label, f"1 to {HIGHEST}; 0 is the background", remedy)
        return muscle
    if number == 0 or (renamed and 0 < number <= HIGHEST):
        return 0
    if text.casefold() == _BACKGROUND:
        raise InputError(path, label, "0 for the background")
    raise _unknown(name, path)


def _unknown(name: str, path: Path) -> InputError:
    known = [m.abbreviation for region in anatomy.REGIONS.values() for m in region.muscles]
    shown, group = name[:_SHOWN], group_of(name)
    hint = "" if group else did_you_mean(name, known_names())
    example = f'"{RENAMED}": {{{shown!r}: "background"}}'.replace("'", '"')
    remedy = f"{hint} Or say what it is: {example} (or ignore, or a muscle).".strip()
    found = f"label {shown!r}" + (f", a group ({group}) and no muscle" if group else "")
    return InputError(path, found, ", ".join((_BACKGROUND, _IGNORED, *known)), remedy)


def _renamed(index: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return the dataset's own statements on names that are not a muscle's."""
    table = index.get(RENAMED, {})
    if not isinstance(table, dict):
        raise InputError(path, f"{RENAMED} that is not a table", '{"femur": "background"}')
    names = index["labels"]
    for name, meaning in table.items():
        if not isinstance(meaning, str) or not _is_known(meaning.strip()):
            found = f"{RENAMED}: {name!r}: {meaning if isinstance(meaning, str) else '?'!r}"
            raise InputError(path, found, "a muscle's name, background or ignore")
        if name not in names and name not in names.values():
            hint = did_you_mean(name, map(str, names))
            raise InputError(path, f"{RENAMED}: {name!r}", "a name among the labels", hint)
    return {name: str(meaning) for name, meaning in table.items()}
