"""Changes of safetensors: values of the header, and its size."""

import json
import struct
from random import Random

from tests.fuzz.changes.binary import Change
from tests.fuzz.changes.jsons import ENDLESS, json_value


def safetensors_header(content: bytes, rng: Random) -> bytes:
    """Change a value of the header, or of a text in its metadata that is JSON itself."""
    (size,) = struct.unpack("<Q", content[:8])
    text, arrays = content[8 : 8 + size], content[8 + size :]
    header = json.loads(text)
    if rng.random() < 0.5:
        name = rng.choice(["spec", "config", "provenance"])
        inner = json_value(header["__metadata__"][name].encode(), rng)
        header["__metadata__"][name] = inner.decode()
        text = json.dumps(header).encode()
    else:
        text = json_value(text, rng)
    return struct.pack("<Q", len(text)) + text + arrays


def safetensors_giant(content: bytes, rng: Random) -> bytes:
    """Declare a giant header, or nest one without end."""
    sizes = 0, 1, 2**32, 2**63, 2**64 - 1, len(content) - 8
    endless = struct.pack("<Q", len(ENDLESS)) + ENDLESS
    return rng.choice([*(struct.pack("<Q", n) + content[8:] for n in sizes), endless])


SAFETENSORS: tuple[Change, ...] = (*[safetensors_header] * 5, safetensors_giant)
