"""Changes of HDF5 files: where an array lies, its shape and type, the names of the layers."""

import io
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.fuzz.changes.binary import Change

_OTHERS = h5py.string_dtype(), [("a", "f4")], h5py.ref_dtype
_TYPES = "i4", "u1", "f8", "f2", "c8", "?", "S4", *_OTHERS
Edit = Callable[[h5py.File, str, Random], None]
"""Changes an open file at an array's path."""


def _replaced(file: h5py.File, path: str, **how: Any) -> None:
    shape, dtype = file[path].shape, how.pop("dtype", "f4")
    del file[path]
    file.create_dataset(path, how.pop("shape", shape), dtype, **how)


def _outside(file: h5py.File, path: str, rng: Random) -> None:
    """Store an array's bytes in another file."""
    place = rng.choice(["/etc/passwd", "pipe", "/dev/zero", "no-such-file", "../../x"])
    _replaced(file, path, external=[(place, 0, h5py.h5f.UNLIMITED)])


def _linked(file: h5py.File, path: str, rng: Random) -> None:
    at = path if rng.random() < 0.5 else path.split("/")[0]
    del file[at]
    targets = h5py.ExternalLink("pipe", "/a"), h5py.ExternalLink("/etc/passwd", "/"), None
    link = rng.choice([*targets, h5py.SoftLink(f"/{at}"), h5py.SoftLink("/")])
    file[at] = link or h5py.ExternalLink("weights.hdf5", f"/{at}")


def _giant(file: h5py.File, path: str, rng: Random) -> None:
    """Declare terabytes, none of which is stored."""
    shape = rng.choice([(2**40,), (2**20, 2**20), (60_000, 5000)])
    _replaced(file, path, shape=shape, chunks=(1000,) * len(shape), fillvalue=0.5)


def _bomb(file: h5py.File, path: str, rng: Random) -> None:
    """Compress zeros; one chunk, written as it would lie on the disk."""
    _replaced(file, path, shape=(10**8,), chunks=(10**8,), compression="gzip")
    file[path].id.write_direct_chunk((0,), zlib.compress(bytes(4 * 10**8), 1))


def _typed(file: h5py.File, path: str, rng: Random) -> None:
    _replaced(file, path, dtype=rng.choice(_TYPES))


def _valued(file: h5py.File, path: str, rng: Random) -> None:
    values = file[path][...]
    values.reshape(-1)[0] = rng.choice([np.nan, np.inf, -np.inf, -1, 1e38, 0])
    file[path][...] = values


def _shaped(file: h5py.File, path: str, rng: Random) -> None:
    values = file[path][...]
    del file[path]
    file[path] = rng.choice([values.T, values[..., None], values.ravel(), values[:0], values[0]])


def _attribute(file: h5py.File, path: str, rng: Random) -> None:
    holder, name = file[path.split("/")[0]], "weight_names"
    if rng.random() < 0.5:
        holder, name = file, "layer_names"
    names = holder.attrs.pop(name)
    odd = None, 3, np.float32(1), "text", b"\xff", np.zeros((2, 2)), h5py.Empty("f"), names[:-1]
    more = names[::-1], np.append(names, names[:1]), np.array([b"/", b".."]), np.zeros(0, "S1")
    value = rng.choice([*odd, *more, np.array([b"\xff\xfe"]), path, h5py.Empty("S1")])
    if value is not None:
        holder.attrs[name] = value


def _removed(file: h5py.File, path: str, rng: Random) -> None:
    del file[path if rng.random() < 0.5 else path.split("/")[0]]
    if rng.random() < 0.5:
        file.create_group(path)


def _edited(edit: Edit) -> Change:
    def change(content: bytes, rng: Random) -> bytes:
        memory = io.BytesIO(content)
        with h5py.File(memory, "r+") as file:
            names = [(layer, name) for layer in file for name in file[layer].attrs["weight_names"]]
            layer, name = rng.choice(names)
            edit(file, f"{layer}/{name.decode()}", rng)
        return memory.getvalue()

    change.__name__ = f"hdf5{edit.__name__}"
    return change


_EDITS = _outside, _linked, _giant, _typed, _valued, _shaped, _attribute, _attribute, _removed
HDF5: tuple[Change, ...] = tuple(_edited(edit) for edit in (*_EDITS, *_EDITS, _bomb))
