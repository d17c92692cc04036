"""What pictures show of a case: small enough to keep one per case on disk until the end."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from musclejax import anatomy
from musclejax.evaluation.cases import Pair
from musclejax.scan.intensity import body_box

_WHITE_OF_SLICE, _WHITE_OF_SCAN = 99.5, 99.0
"""Percentile that is shown white: of a slice's pixels, and of the body's voxels."""
_GRAY = 3.0
"""Where there is no scan, the reference is shown at 1 / this of white."""
_LEAST = float(np.finfo(np.float32).tiny)
"""White of slices that show nothing."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A case in the order [left, posterior, superior], cropped in plane to the body.

    Attributes:
        case: Its name.
        region: Name of its region.
        image: The scan; 255 is white in each slice, as coils are darker toward the ends.
        gain: Per slice, what brings it to the brightness that it has in the scan.
        reference: Label numbers.
        prediction: Label numbers.
        sides: 1 + index into `anatomy.SIDES`.
        body: Voxels of the body.
        slices: Index in the file of each slice.
        spacing_mm: Left, posterior, superior.
        shows_scan: Whether `image` is the scan, not the reference.
    """

    case: str
    region: str
    image: UInt8[np.ndarray, "x y z"]
    gain: Float[np.ndarray, " z"]
    reference: UInt8[np.ndarray, "x y z"]
    prediction: UInt8[np.ndarray, "x y z"]
    sides: UInt8[np.ndarray, "x y z"]
    body: Bool[np.ndarray, "x y z"]
    slices: Int[np.ndarray, " z"]
    spacing_mm: tuple[float, float, float]
    shows_scan: bool

    @property
    def anatomy(self) -> anatomy.Region:
        """The region with its muscles, numbers and colors."""
        return anatomy.REGIONS[self.region]

    @property
    def present(self) -> UInt8[np.ndarray, " n"]:
        """The label numbers that either map shows."""
        return np.union1d(self.reference, self.prediction)


def make_scene(pair: Pair) -> Scene:
    """Turn a pair for drawing, crop it and reduce its intensities to 8 bits."""
    lps = pair.volume.lps
    reference, prediction, sides = (
        lps.from_file(a) for a in (pair.reference, pair.prediction, pair.sides.voxels)
    )
    body = lps.body if pair.shows_scan else reference > 0
    shown = body | (reference > 0) | (prediction > 0)
    box = body_box(shown.mean(2, dtype=np.float32), *lps.spacing_mm[:2])
    image = lps.data[box]
    white, scan_white = np.full(image.shape[2], _GRAY), _GRAY
    if pair.shows_scan:
        white = np.maximum(np.percentile(image, _WHITE_OF_SLICE, axis=(0, 1)), _LEAST)
        scan_white = max(float(np.percentile(lps.data[body], _WHITE_OF_SCAN)), _LEAST)
    return Scene(
        case=pair.case.name,
        region=pair.case.region,
        image=np.round(255 * np.clip(image / white, 0, 1)).astype(np.uint8),
        gain=white / scan_white,
        reference=reference[box],
        prediction=prediction[box],
        sides=sides[box],
        body=body[box],
        slices=lps.file_index(np.arange(image.shape[2])),
        spacing_mm=lps.spacing_mm,
        shows_scan=pair.shows_scan,
    )


def select(scene: Scene, slices: Sequence[int]) -> Scene:
    """Return only some slices, in the order given, cropped to what they show.

    Args:
        scene: All slices of a case.
        slices: Their indices in the file.
    """
    order = list(scene.slices)
    places = [order.index(index) for index in slices]
    volumes: dict[str, np.ndarray] = {
        name: getattr(scene, name)[..., places]
        for name in ("image", "reference", "prediction", "sides", "body")
    }
    shown = volumes["body"] | (volumes["reference"] > 0) | (volumes["prediction"] > 0)
    box = body_box(shown.mean(2, dtype=np.float32), *scene.spacing_mm[:2])
    cropped: dict[str, Any] = {name: array[box] for name, array in volumes.items()}
    return replace(scene, gain=scene.gain[places], slices=scene.slices[places], **cropped)


def save_scene(scene: Scene, path: Path) -> None:
    """Write a scene as a compressed `.npz` file."""
    arrays: dict[str, Any] = {f.name: np.asarray(getattr(scene, f.name)) for f in fields(scene)}
    np.savez_compressed(path, **arrays)


def load_scene(path: Path) -> Scene:
    """Read what `save_scene` has written."""
    with np.load(path) as file:
        values: dict[str, Any] = {name: file[name] for name in file.files}
    single = ("case", "region", "spacing_mm", "shows_scan")
    values |= {name: values[name].tolist() for name in single}
    return Scene(**{**values, "spacing_mm": tuple(values["spacing_mm"])})
