"""Changes of FreeSurfer's header, and of the text before the voxels of NRRD and MetaImage."""

import re
import struct
from random import Random

from tests.fuzz.changes.binary import BYTES, Change

_MGH = (
    *((at, ">i") for at in range(0, 28, 4)),
    (28, ">h"),
    *((at, ">f") for at in range(30, 90, 4)),
)
"""Place and type of each number of FreeSurfer's header."""
_NUMBERS = (0, 1, -1, 2, 3, 4, 7, 10, 255, 30000, 2**31 - 1, -(2**31))
_FLOATS = (0, 1, -1, 0.5, 1e-30, 1e10, 1e30, float("nan"), float("inf"))
_HEAD = re.compile(rb"\A(?:NRRD.*?\n(?=\n)|.*?ElementDataFile[^\n]*\n)", re.DOTALL)
_WORDS = (
    *("", "0", "1", "-1", "2", "4", "7", "1e30", "nan", "inf", "1000000", "9" * 40, "0.5", "-2"),
    *("LOCAL", "LIST", "/etc/passwd", "other.raw", "../../x", "pipe", "%d.raw 1 3 1"),
    *("raw", "gzip", "bzip2", "ascii", "hex", "True", "False", "none", "???", "big", "little"),
    *("short", "uchar", "ushort", "float", "double", "block", "int", "long long"),
    *("MET_SHORT", "MET_UCHAR", "MET_FLOAT", "MET_DOUBLE", "MET_NONE", "MET_STRING"),
    *(
        "(1,0,0)",
        "(0,0,0)",
        "(nan,0,0)",
        "(-2,0,0)",
        "left-posterior-superior",
        "domain",
        "scanner",
    ),
    *("right-anterior-superior", "RAI", "LPS", "???", "é", "\x1b[31m", "x" * 5000),
)
_LINES = (
    *(b"byte skip: 10", b"line skip: 1", b"byte skip: -1", b"data file: /etc/passwd", b"# note"),
    *(b"HeaderSize = 10", b"HeaderSize = -1", b"ElementNumberOfChannels = 2", b"note"),
    *(b"kinds: domain domain list", b"spacings: 1 1 1", b"ElementSize = 1 1 1", b"DimSize = 1 1 1"),
)


def mgh_field(content: bytes, rng: Random) -> bytes:
    """Set one number of the header to an odd one."""
    at, code = rng.choice(_MGH)
    now = struct.unpack_from(code, content, at)[0]
    if code == ">f":
        value = rng.choice([*_FLOATS, -now, now * 1.001, now + 1, now * 1e3])
    else:
        value = rng.choice([*_NUMBERS, int(now) + 1, int(now) - 1])
        value = max(-(2**15), min(value, 2**15 - 1)) if code == ">h" else value
    return content[:at] + struct.pack(code, value) + content[at + struct.calcsize(code) :]


def text_field(content: bytes, rng: Random) -> bytes:
    """Change, drop, double or add a line of the header."""
    found = _HEAD.match(content)
    head = found[0] if found else content
    lines = head.splitlines()
    at = rng.randrange(1, len(lines))
    action = rng.choice(["word", "word", "word", "word", "drop", "copy", "add", "swap"])
    if action == "word":
        words = lines[at].split(b" ")
        words[rng.randrange(len(words))] = rng.choice(_WORDS).encode()
        lines[at] = b" ".join(words)
    elif action == "drop":
        del lines[at]
    elif action == "copy":
        lines.insert(at, lines[at])
    elif action == "add":
        lines.insert(at, rng.choice(_LINES))
    else:
        lines[at - 1], lines[at] = lines[at], lines[at - 1]
    return b"\n".join(lines) + b"\n" + content[len(head) :]


MGH: tuple[Change, ...] = (*BYTES, *[mgh_field] * 10)
TEXT_HEADER: tuple[Change, ...] = (*BYTES, *[text_field] * 15)
