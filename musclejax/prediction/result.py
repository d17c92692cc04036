"""A segmented scan, and the levels of its slices."""

import html
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from musclejax import anatomy
from musclejax.anatomy import Muscle
from musclejax.errors import printable
from musclejax.prediction.evidence import Evidence
from musclejax.prediction.quality import Quality
from musclejax.prediction.voxels import count_keys
from musclejax.scan.sides import Sides
from musclejax.scan.volume import Volume


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels of both limbs in a scan; slices in the order of its file.

    Attributes:
        level: Mean of what is likely: 0 hip joint, 1 knee joint line, 2 ankle joint. NaN where the
            limb is not in view. Sides as in `anatomy.SIDES`.
        sd: Its standard deviation.
        in_range: Whether the limb is in view and may show a muscle of the region.
        possible: Whether each muscle may be there, by its number; background always may.
        warnings: To be read before relying on the labels.
    """

    level: Float[np.ndarray, "z sides"]
    sd: Float[np.ndarray, "z sides"]
    in_range: Bool[np.ndarray, "z sides"]
    possible: Bool[np.ndarray, "z sides classes"]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Correction:
    """What a person changed in a label map.

    Attributes:
        original: The labels as the networks made them; None of labels from elsewhere.
        by: File of the corrected labels.
    """

    original: UInt8[np.ndarray, "i j k"] | None
    by: str


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """A segmented scan.

    Attributes:
        volume: The scan.
        labels: Muscle numbers of `anatomy.REGIONS[region]`, on the scan's own grid; the same
            number on both sides. Not contiguous: slices follow one another in memory.
        confidence: Probability of the label in steps of 1/255, same grid. Voxels that
            post-processing has relabeled keep that of the label that they had.
        sides: The side of each voxel, and the method that found it.
        covered: Voxels that a network has seen; the rest is 0 in `labels`.
        region: "thigh" or "leg".
        region_probability: The classifier's mean probability of that region; None if the region
            was given.
        weights: Name of the weights.
        trained: False if the weights are random: then the labels mean nothing.
        quality: Measured for the out-of-distribution check.
        evidence: What the estimated DSC follows from; None of random weights and of geometry
            "2021".
        engine: What computed the network: one of `prediction.engines.ENGINES`.
        precision: "float32" or "bfloat16".
        levels: The level of each slice of each limb; None without a level network, or with
            geometry 2021.
        probabilities: Of every class in steps of 1/255, if requested.
        tta_slices: Number of slices with test-time augmentation; see `prediction.tta`.
        correction: Of labels that a person changed, or that come from elsewhere; else None.
        muscles: Abbreviations of the muscles that were requested, all others being 0 in `labels`;
            empty: all of the region.
        warnings: To be read before relying on the labels.
    """

    volume: Volume
    labels: UInt8[np.ndarray, "i j k"]
    confidence: UInt8[np.ndarray, "i j k"]
    sides: Sides
    covered: Bool[np.ndarray, "i j k"]
    region: str
    region_probability: float | None
    weights: str
    trained: bool
    quality: Quality | None = None
    evidence: Evidence | None = None
    engine: str = "jax"
    precision: str = "float32"
    levels: Levels | None = None
    probabilities: UInt8[np.ndarray, "i j k c"] | None = None
    tta_slices: int = 0
    correction: Correction | None = None
    muscles: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def anatomy(self) -> anatomy.Region:
        """The region with its muscles, numbers and colors."""
        return anatomy.REGIONS[self.region]

    @property
    def shown_muscles(self) -> tuple[Muscle, ...]:
        """The requested muscles of the region: a row each in tables."""
        return choose(self.anatomy, self.muscles)

    def __repr__(self) -> str:
        """Return one line: scan, region, slices, weights."""
        slices = f"{self.volume.num_slices} slices"
        return f"<Segmentation {self.volume.name}: {self.region}, {slices}, weights {self.weights}>"

    def _repr_html_(self) -> str:
        """Return a table of muscle volumes by side, for notebooks."""
        sides = "".join(f"<th>{side} (ml)</th>" for side in anatomy.SIDES)
        rows = "".join(
            f"<tr><td>{muscle.abbreviation} {muscle.name}</td>"
            + "".join(f"<td>{ml:.1f}</td>" for ml in by_side)
            + "</tr>"
            for muscle, by_side in zip(self.anatomy.muscles, _volumes_ml(self), strict=True)
        )
        caption = html.escape(printable(repr(self).strip("<>")))
        head = f"<tr><th>muscle</th>{sides}</tr>"
        return f"<table><caption>{caption}</caption>{head}{rows}</table>"


def choose(region: anatomy.Region, muscles: tuple[str, ...]) -> tuple[Muscle, ...]:
    """Return the muscles of a region that were requested; all if none was."""
    return tuple(m for m in region.muscles if not muscles or m.abbreviation in muscles)


def _volumes_ml(result: Segmentation) -> Float[np.ndarray, "muscles sides"]:
    axis, muscles = result.volume.axial_axis, len(result.anatomy.muscles)
    counts = count_keys(result.labels, result.sides.voxels, axis, result.anatomy)
    return counts.sum(0)[:, 1 : muscles + 1].T * result.volume.voxel_mm3 / 1000
