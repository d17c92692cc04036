"""Recipes: Python files that return settings, and changes to them as text (`--set`)."""

import ast
import re
import runpy
from collections.abc import Iterable
from pathlib import Path
from traceback import extract_tb
from typing import Any

from ml_collections import ConfigDict

from musclejax.config.defaults import default_config
from musclejax.config.folder import recipe_folder, recipe_names
from musclejax.config.ranges import check_settings
from musclejax.errors import InputError, did_you_mean
from musclejax.files import flatten

_TRUE, _FALSE, _NONE = ("true", "t", "1"), ("false", "f", "0"), ("none", "null")
"""As `ml_collections.config_flags` reads them, in any case."""
_ACCEPTED = "a Python file whose get_config() returns default_config(), changed"


def load_recipe(name_or_file: str | Path, changes: Iterable[str] = ()) -> ConfigDict:
    """Return the settings of a recipe, changed and checked.

    Args:
        name_or_file: Name of a recipe that ships with the package, or a Python file with a
            function `get_config()`. The file is executed: take only files that you trust.
        changes: See `apply_settings`.

    Raises:
        InputError: If there is no such recipe; if it fails, with file and line; or if a setting
            does not exist or is out of range, with file and, if found, line.
    """
    file = Path(name_or_file)
    if file.suffix != ".py":
        file = recipe_folder() / f"{name_or_file}.py"
    if not file.is_file():
        names = recipe_names()
        accepted, hint = f"a file, or {', '.join(names)}", did_you_mean(str(name_or_file), names)
        raise InputError("recipe", str(name_or_file), accepted, hint)
    config = _execute(file)
    try:
        return apply_settings(config, changes)
    except InputError as error:
        if error.subject not in flatten(config):  # a change that cannot be, which is named
            raise
        line = _line_of(file, error.subject)
        where = f"{file}, line {line}" if line else str(file)
        subject = f"{where}: {error.subject}"
        raise InputError(subject, error.found, error.accepted, error.remedy) from None


def apply_settings(config: ConfigDict, changes: Iterable[str]) -> ConfigDict:
    """Return a copy of the settings with changes such as `"optim.learning_rate=0.001"`.

    Values are written as `ml_collections.config_flags` reads them: `true` and `false`, numbers (an
    integer where a number is expected), `192,336` or `(192,336)`, text with or without quotes.
    Ranges are checked once, after the last change.

    Raises:
        InputError: If a setting does not exist, has another type, or is out of range.
    """
    config = config.copy_and_resolve_references()
    names, changed = flatten(config), set()
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in names:
            hint = did_you_mean(name, names)
            raise InputError("--set", change, "NAME=VALUE with a NAME of the recipe", hint)
        try:
            config.update_from_flattened_dict({name: _parse(text.strip(), names[name])})
        except (TypeError, ValueError, SyntaxError):
            accepted = f"a value like the default, {names[name]!r}"
            raise InputError(f"--set {name}", repr(text), accepted) from None
        changed.add(name)
    try:
        check_settings(config)
    except InputError as error:
        option = "--set " if error.subject in changed else ""
        raise InputError(f"{option}{error.subject}", error.found, error.accepted) from None
    return config


def _parse(text: str, default: Any) -> Any:
    """Return a value of the default's type.

    Raises:
        ValueError: If the text is none.
        SyntaxError: If its quotes or brackets do not match.
    """
    match default:
        case bool():
            if text.lower() not in (*_TRUE, *_FALSE):
                raise ValueError(text)
            return text.lower() in _TRUE
        case int():
            return int(text)
        case float():
            return float(text)
        case str():
            return str(ast.literal_eval(text)) if text[:1] in ("'", '"') else text
        case tuple() | list():
            return _parse_several(text, default)
    if text.lower() in _NONE:
        return None
    return ast.literal_eval(text)


def _parse_several(text: str, default: tuple[Any, ...] | list[Any]) -> tuple[Any, ...]:
    """Return as many values as the default has, each of its type."""
    found = ast.literal_eval(f"({text.strip('()[] ')},)")
    if len(found) != len(default):
        raise ValueError(text)
    return tuple(_parse(repr(value), like) for value, like in zip(found, default, strict=True))


def _execute(file: Path) -> ConfigDict:
    """Return what `get_config()` of a file returns.

    Raises:
        InputError: If it is no recipe, with file and line.
    """
    try:
        names = runpy.run_path(str(file))
        config = names["get_config"]() if "get_config" in names else None
    except (Exception, SystemExit) as error:
        raise _failure(file, error) from None
    if not isinstance(config, ConfigDict) or set(flatten(config)) != set(flatten(default_config())):
        found = f"{type(config).__name__} from get_config()"
        if "get_config" not in names:
            found = "no get_config()"
        raise InputError(f"{file}, line 1", found, _ACCEPTED)
    return config


def _failure(file: Path, error: BaseException) -> InputError:
    """Return an exception of a recipe as one line, with the last line of the file that ran."""
    lines = [
        frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    text = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(file):
        lines.append(error.lineno)
        text = error.msg
    where = f"{file}, line {lines[-1] if lines else 1}"
    if isinstance(error, InputError):
        return InputError(f"{where}: {error.subject}", error.found, error.accepted, error.remedy)
    misspelled = re.search(r'Key "(\w+)" does not exist', text)
    if misspelled:
        known = {name.rpartition(".")[2] for name in flatten(default_config())}
        hint = did_you_mean(misspelled[1], known)
        return InputError(where, f"the setting {misspelled[1]!r}", "settings that exist", hint)
    found = " ".join(f"{type(error).__name__}: {text}".split())
    return InputError(where, found[:300], _ACCEPTED)


def _line_of(file: Path, setting: str) -> int | None:
    """Return the last line of a recipe that assigns a setting under its full name, if any does."""
    nodes = [*ast.walk(ast.parse(file.read_bytes()))]
    targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    named = [t.lineno for t in targets if f".{ast.unparse(t)}".endswith(f".{setting}")]
    return max(named, default=None)
