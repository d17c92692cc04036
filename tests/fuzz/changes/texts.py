"""Changes of text files: lines, cells, settings, encodings."""

import csv
import io
from random import Random

from tests.fuzz.changes.binary import BYTES, Change
from tests.fuzz.changes.jsons import ENDLESS, ODD_VALUES, json_value


def encoding(content: bytes, rng: Random) -> bytes:
    text = content.decode(errors="replace")
    return rng.choice(
        [
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + content,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            content.replace(b"e", "é".encode("latin-1")),
            content.replace(b",", b",\0", 1),
        ]
    )


def json_line(content: bytes, rng: Random) -> bytes:
    """Change one line of JSON lines."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    others = b"\n", b"\0" * 100 + b"\n", b"[1]\n", b"null\n", b"{}\n", ENDLESS + b"\n", lines[0] * 2
    odd = rng.choice(others)
    lines[at] = json_value(lines[at], rng) + b"\n" if rng.random() < 0.7 else odd
    return b"".join(lines)


def cell(content: bytes, rng: Random) -> bytes:
    """Change a cell, a column or a row of a table."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.choice(rows)
    texts = [str(v) for v in ODD_VALUES if v != "\ud800"] + ['"', "a,b", "x" * 200_000]
    action = rng.choice(["cell", "cell", "cell", "copy", "drop", "add"])
    if action == "cell":
        row[rng.randrange(len(row))] = rng.choice(texts)
    elif action == "copy":
        rows.append(list(row))
    elif action == "drop":
        del row[rng.randrange(len(row))]
    else:
        row.append(rng.choice(texts))
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def setting(content: bytes, rng: Random) -> bytes:
    """Give a setting an odd value, as text."""
    lines = content.splitlines()
    values = [str(v) for v in ODD_VALUES if v != "\ud800"]
    odd = "(" * 5000, "-" * 10_000 + "1", "9" * 9999, "1e999", "b'x'", "(1,2", "{}", "1,2", '"'
    name = rng.choice(lines).partition(b"=")[0]
    lines.append(name + b"=" + rng.choice([*values, *odd]).encode())
    return b"\n".join(lines)


LINES: tuple[Change, ...] = (*[json_line] * 6,)
CSV: tuple[Change, ...] = (*[cell] * 12, encoding)
ENCODING: tuple[Change, ...] = (encoding,)
SETTINGS: tuple[Change, ...] = (*BYTES, *[setting] * 10)
