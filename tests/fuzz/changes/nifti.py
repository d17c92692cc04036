"""Changes of a NIfTI header: odd numbers, axes that disagree, giant sizes."""

from random import Random

import numpy as np
from nibabel.nifti1 import header_dtype

from tests.fuzz.changes.binary import Change

HEADER_BYTES = 348
_INTEGERS = (0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 128, 255, 256, 352, 512, 768, 1024, 32767, -32768)
_FLOATS = (0, -0.0, 1, -1, 2, 0.5, 1e-3, 1e-30, 1000, 1e10, 1e30, 3e38, -1e30, 348, 351)
_NOT = (float("nan"), float("inf"), float("-inf"))


def nifti_field(content: bytes, rng: Random) -> bytes:
    """Set one number of the header to an odd one."""
    header = np.frombuffer(content[:HEADER_BYTES], header_dtype).copy()
    names = [name for name in header_dtype.names if header.dtype[name].base.kind in "iuf"]
    geometry = [n for n in names if n[:5] in ("srow_", "pixdi", "qform", "sform", "quate", "qoffs")]
    name = rng.choice(rng.choice([names, geometry, ["dim", "datatype", "vox_offset", "bitpix"]]))
    values = header[name].reshape(-1)
    at = rng.randrange(values.size)
    if values.dtype.kind == "f":
        now = float(values[at])
        values[at] = rng.choice([*_FLOATS, *_NOT, -now, now * 1.001, now * 1.1, now + 1, now * 1e3])
    else:
        bounds = np.iinfo(values.dtype)
        odd = [*_INTEGERS, int(values[at]) + 1, int(values[at]) - 1, bounds.max, bounds.min]
        values[at] = np.clip(rng.choice(odd), bounds.min, bounds.max)
    return header.tobytes() + content[HEADER_BYTES:]


def nifti_axes(content: bytes, rng: Random) -> bytes:
    """Zero, swap, negate or shear the rows of the sform."""
    header = np.frombuffer(content[:HEADER_BYTES], header_dtype).copy()
    rows = np.array([header[f"srow_{axis}"][0] for axis in "xyz"])
    a, b = rng.sample(range(3), 2)
    action = rng.choice(["zero", "all zero", "swap", "negate", "shear", "equal"])
    if action == "shear":
        rows[a, b] += rng.choice([0.01, 0.3, 5])
    elif action == "swap":
        rows[[a, b]] = rows[[b, a]]
    else:
        rows[a] = {"negate": -rows[a], "equal": rows[b]}.get(action, 0)
    header["srow_x"], header["srow_y"], header["srow_z"] = rows * (action != "all zero")
    return header.tobytes() + content[HEADER_BYTES:]


def nifti_giant(content: bytes, rng: Random) -> bytes:
    """Declare gigabytes that are not there."""
    header = np.frombuffer(content[:HEADER_BYTES], header_dtype).copy()
    header["dim"][0, 1:4] = rng.choice([(32767,) * 3, (2000, 2000, 700), (1, 1, 32767), (0, 5, 5)])
    if rng.random() < 0.3:
        header["dim"][0, 0], header["dim"][0, 4:8] = 7, 32767
    return header.tobytes() + content[HEADER_BYTES:]


NIFTI: tuple[Change, ...] = (*[nifti_field] * 6, *[nifti_axes] * 2, nifti_giant)
