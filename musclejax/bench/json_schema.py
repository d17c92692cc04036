"""Checks a value by the part of JSON Schema that our own schema uses.

Source: https://json-schema.org/draft/2020-12. A keyword that is not known here is an error, so that
nothing in a schema is passed over.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_NOTES = {"$schema", "$id", "title", "description", "$defs"}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}


def violations(value: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield what a value violates: where, what was found, what is accepted.

    Args:
        value: As `json.loads` returns it.
        schema: A schema.
        where: Where the value is, as "results[0].job".
    """
    for keyword, accepted in schema.items():
        if keyword not in _NOTES:
            yield from _KEYWORDS[keyword](value, accepted, where)
    if isinstance(value, dict):
        yield from _in_object(value, schema, where)


def _in_object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, inner in value.items():
        place = f"{where}.{name}" if where else name
        if name in known:
            yield from violations(inner, known[name], place)
        elif others is False:
            yield f"{place}: unknown"
        else:
            yield from violations(inner, others, place)


def _type(value: Any, accepted: Any, where: str) -> Iterator[str]:
    names = [accepted] if isinstance(accepted, str) else accepted
    if not any(_TYPES[name](value) for name in names):
        yield f"{where}: {type(value).__name__} in place of {' or '.join(names)}"


def _const(value: Any, accepted: Any, where: str) -> Iterator[str]:
    if value != accepted:
        yield f"{where}: {value!r} in place of {accepted!r}"


def _enum(value: Any, accepted: Any, where: str) -> Iterator[str]:
    if value not in accepted:
        yield f"{where}: {value!r} in place of {', '.join(map(repr, accepted))}"


def _minimum(value: Any, accepted: Any, where: str) -> Iterator[str]:
    if _TYPES["number"](value) and value < accepted:
        yield f"{where}: {value} in place of at least {accepted}"


def _required(value: Any, accepted: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (
            f"{where}: no {name}".removeprefix(": ") for name in accepted if name not in value
        )


def _items(value: Any, accepted: Any, where: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from violations(inner, accepted, f"{where}[{number}]")


def _min_items(value: Any, accepted: Any, where: str) -> Iterator[str]:
    if isinstance(value, list) and len(value) < accepted:
        yield f"{where}: {len(value)} in place of at least {accepted}"


def _nothing(value: Any, accepted: Any, where: str) -> Iterator[str]:
    """`properties` and `additionalProperties`: see `_in_object`."""
    yield from ()


_KEYWORDS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _minimum,
    "required": _required,
    "items": _items,
    "minItems": _min_items,
    "properties": _nothing,
    "additionalProperties": _nothing,
}
