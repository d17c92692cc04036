"""Command-line options made from option records, and those that every command has."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from musclejax.app import console
from musclejax.app.process import usage
from musclejax.options import flag, hints_of, option_in, texts

_TYPES: dict[type, Any] = {Path: click.Path(path_type=Path), int: int, float: float, str: str}


class Command(click.Command):
    """A command with -q and -v."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += [
            click.Option(
                ["-q", "--quiet"],
                is_flag=True,
                expose_value=False,
                callback=_set_level(console.QUIET),
                help="Print warnings and errors only.",
            ),
            click.Option(
                ["-v", "--verbose"],
                is_flag=True,
                expose_value=False,
                callback=_set_level(console.VERBOSE),
                help="Print details: stages, versions, full descriptions.",
            ),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; each call begins without -q and -v."""
        console.set_verbosity(console.NORMAL)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group whose commands have -q and -v."""

    command_class = Command
    group_class = type


def _set_level(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    def set_level(context: click.Context, parameter: click.Parameter, given: bool) -> None:
        if given:
            console.set_verbosity(level)

    return set_level


def record_options(
    *left_out: str, **records: type
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command the options of some records.

    Args:
        *left_out: ARGUMENT.FIELD of fields that are no options here and keep their defaults.
        **records: Argument of the command's function -> class of the record that it gets. A field
            is an option under its own name, with what `musclejax.options.Option` adds. An
            annotation `Literal` becomes choices, a tuple an option that may be repeated.

    The records are made before the function is called: an error in them is exit code 2.
    """
    used = {
        name: [f for f in fields(record) if f"{name}.{f.name}" not in left_out]
        for name, record in records.items()
    }

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def call(**values: Any) -> Any:
            with usage():
                made = {
                    name: record(**{f.name: values.pop(f.name) for f in used[name]})
                    for name, record in records.items()
                }
            return command(**made, **values)

        wrapped: Callable[..., Any] = call
        for name, record in reversed(records.items()):
            for field in reversed(used[name]):
                hint, help_text = hints_of(record)[field.name], texts(record)[field.name]
                wrapped = _parameter(field, hint, help_text)(wrapped)
        return wrapped

    return add


def _parameter(field: Field, hint: Any, help_text: str) -> Callable[..., Any]:
    """Return click's decorator for one field."""
    option, (kind, repeated) = option_in(hint), _kind(hint)
    default = field.default
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    type_ = click.Choice(choices) if choices else _TYPES.get(kind)
    if option.argument:
        return click.argument(field.name, type=type_)
    names = [*option.flags, flag(field.name)]
    settings: dict[str, Any] = {"help": help_text}
    if kind is bool:
        if default is True:
            names[-1] += "/" + flag(f"no_{field.name}")
        else:
            settings["is_flag"] = True
        return click.option(*names, field.name, default=default, show_default=default, **settings)
    settings |= {"type": type_, "metavar": option.metavar, "multiple": repeated}
    if default is MISSING:
        settings["required"] = not repeated
    elif default not in (None, ()):
        settings |= {"default": default, "show_default": default != ""}
    return click.option(*names, field.name, **settings)


def _kind(hint: Any) -> tuple[Any, bool]:
    """Return the type of one value, and whether there may be several."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _kind(next(part for part in parts if part is not type(None)))
    if origin is Annotated:
        return _kind(parts[0])
    if origin is tuple:
        return _kind(parts[0])[0], True
    return hint, False
