"""Changes of any file: bits, bytes, spans, ends, numbers."""

import struct
from collections.abc import Callable
from random import Random

Change = Callable[[bytes, Random], bytes]
"""A file's content and a source of chance -> the changed content."""


def _place(content: bytes, rng: Random) -> int:
    """Return a position; half of them in the first bytes, where headers are."""
    reach = len(content) if rng.random() < 0.5 else min(400, len(content))
    return rng.randrange(max(1, reach))


def flip_bit(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_place(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_bits(content: bytes, rng: Random) -> bytes:
    for _ in range(rng.randint(2, 20)):
        content = flip_bit(content, rng)
    return content


def truncate(content: bytes, rng: Random) -> bytes:
    return content[: _place(content, rng)]


def append(content: bytes, rng: Random) -> bytes:
    return content + rng.choice([b"\0", b"\n", b"{}", rng.randbytes(8), rng.randbytes(5000)])


def insert(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.randbytes(rng.choice([1, 2, 8, 100])) + content[at:]


def delete(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice([1, 2, 4, 8, 100]) :]


def overwrite(content: bytes, rng: Random) -> bytes:
    size, at = rng.choice([1, 4, 8, 64, 512]), _place(content, rng)
    fill = rng.choice([b"\0" * size, b"\xff" * size, rng.randbytes(size)])
    return content[:at] + fill + content[at + size :]


def repeat(content: bytes, rng: Random) -> bytes:
    at, size = _place(content, rng), rng.choice([1, 8, 100, 1000])
    return content[: at + size] + content[at:]


def odd_number(content: bytes, rng: Random) -> bytes:
    """Write an extreme number at an aligned place."""
    code, values = rng.choice(
        [
            ("h", (0, -1, 32767, -32768)),
            ("i", (0, -1, 2**31 - 1, -(2**31))),
            ("q", (0, -1, 2**63 - 1, -(2**63), 2**40)),
            ("f", (float("nan"), float("inf"), -1e30, 1e-30, 0.0)),
            ("d", (float("nan"), float("-inf"), 1e300)),
        ]
    )
    packed = struct.pack(f"{rng.choice('<>')}{code}", rng.choice(values))
    at = _place(content, rng) // len(packed) * len(packed)
    return content[:at] + packed + content[at + len(packed) :]


def replace_all(content: bytes, rng: Random) -> bytes:
    others = b"", b"\0" * len(content), content[::-1], rng.randbytes(2000), b"\x89PNG\r\n\x1a\n"
    return rng.choice(others)


BYTES: tuple[Change, ...] = (
    *(flip_bit, flip_bits, truncate, append, insert),
    *(delete, overwrite, repeat, odd_number, replace_all),
)
