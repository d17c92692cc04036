"""Changes of compressed files: inside the compression, and bombs."""

import gzip
import zlib
from random import Random

from tests.fuzz.changes.binary import Change

BOMB_MIB = 400
"""Contents of a bomb. Source: ours; above `runner.MEMORY_MIB`, and unpacked in a second."""


def inside_gzip(change: Change) -> Change:
    """Return a change of what a gzip file holds; its checksum fits again."""

    def inside(content: bytes, rng: Random) -> bytes:
        return gzip.compress(change(gzip.decompress(content), rng), mtime=0)

    inside.__name__ = f"{change.__name__}_inside"
    return inside


def gzip_bomb(content: bytes, rng: Random) -> bytes:
    """Append zeros without end: many members in one stream, as gzip allows."""
    return content + gzip.compress(bytes(2**24), mtime=0) * (BOMB_MIB // 16)


def deflate_bomb(head: bytes, tail: bytes = b"") -> bytes:
    """Return a raw deflate stream of a head, zeros and a tail."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(head), *(packer.compress(bytes(2**24)) for _ in range(BOMB_MIB // 16))]
    return b"".join([*parts, packer.compress(tail), packer.flush()])


def zlib_bomb(content: bytes, rng: Random) -> bytes:
    """Put a stream of zeros behind a text header, in place of the voxels."""
    end = content.find(b"\x1f\x8b" if content.startswith(b"NRRD") else b"LOCAL\n") + 6
    pack = gzip.compress if content.startswith(b"NRRD") else zlib.compress
    return content[: end - 6 * content.startswith(b"NRRD")] + pack(bytes(BOMB_MIB << 20), 1)
