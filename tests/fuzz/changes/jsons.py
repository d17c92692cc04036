"""Changes of JSON: values of any type at any place."""

import json
from random import Random
from typing import Any

from tests.fuzz.changes.binary import Change

CODE = 'x"""\nimport os\nos.environ["MUSCLEJAX_FUZZ"] = "ran"\n"""'
"""Text that runs if it is written into Python source unescaped."""
_DEEP, _LONG = "@deep@", "@long@"
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 1.5, 1e308, 2**63, 10**400),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "text",
        "7",
        "0",
        "nan",
        "leg",
        "thigh",
        "ignore",
        "SOL",
    ),
    *([], {}, [1], ["a", None], {"a": 1}, [[1, 2], [3]], "x" * 100_000, _DEEP, _LONG),
    *("\ud800", "a\nb", "\x1b[31mred", "\0", "é", "$\\frac{", "../../x", "/etc/passwd"),
    *(CODE, CODE, CODE, "=1+1", "@SUM(1)", "<script>alert(1)</script>", "'); import os #"),
)
ENDLESS = b"[" * 100_000 + b"]" * 100_000


def dump(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return text.replace(f'"{_DEEP}"'.encode(), ENDLESS).replace(f'"{_LONG}"'.encode(), b"9" * 9999)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    return [found for key in keys for found in [(*path, key), *_places(value[key], (*path, key))]]


def json_value(content: bytes, rng: Random) -> bytes:
    """Replace, remove, rename or add a value anywhere in a JSON document."""
    value = json.loads(content)
    places = _places(value)
    if not places or rng.random() < 0.05:
        return dump(rng.choice(ODD_VALUES))
    depth = rng.choice(sorted({len(place) for place in places}))
    *path, key = rng.choice([place for place in places if len(place) == depth])
    holder = value
    for step in path:
        holder = holder[step]
    action = rng.choice(["replace", "replace", "remove", "rename", "copy"])
    if action == "replace" or isinstance(holder, list):
        holder[key] = rng.choice(ODD_VALUES)
    elif action == "remove":
        del holder[key]
    elif action == "rename":
        holder[str(rng.choice(ODD_VALUES))] = holder.pop(key)
    else:
        holder[key] = holder[rng.choice(list(holder))]
    return dump(value)


def json_twice(content: bytes, rng: Random) -> bytes:
    """Give a key twice, which JSON allows and a dict forgets."""
    at = content.index(b"{") + 1
    keys = list(json.loads(content)) or ["a"]
    return (
        content[:at] + dump({rng.choice(keys): rng.choice(ODD_VALUES)})[1:-1] + b", " + content[at:]
    )


JSON: tuple[Change, ...] = (*[json_value] * 6, json_twice)
