"""The tree: tell the region, apply its network, bring the labels back onto the scan."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from musclejax import anatomy
from musclejax.bundled import DEFAULT_WEIGHTS
from musclejax.errors import InputError
from musclejax.inference.clean import clean
from musclejax.inference.domain import Signs, doubts, measure
from musclejax.inference.engines import resolve
from musclejax.inference.predictor import BATCH_SIZE, predict_regions
from musclejax.inference.window import Slice, predict_in_windows
from musclejax.models.weights import Network, Weights, load_weights
from musclejax.scan.grid import (
    SKIPPED_2021,
    GridTransform,
    interpolate,
    labels_from_model_grid,
    to_model_grid,
    to_scan,
    to_thumbnails,
)
from musclejax.scan.intensity import normalise
from musclejax.scan.sides import Sides, find_sides
from musclejax.scan.volume import Volume, check

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Hooks:
    """How a caller follows the work without the work knowing of clocks and terminals.

    Attributes:
        stage: Called with a stage's name; what it returns is entered around the stage.
        advance: Called with the number of slices just segmented, or looked at a second time.
        extend: Called with the number of slices to be looked at a second time, before they are.
    """

    stage: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext()
    advance: Callable[[int], None] = lambda slices: None
    extend: Callable[[int], None] = lambda slices: None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmented scan.

    Attributes:
        volume: The scan.
        labels: Muscle numbers of `anatomy.REGIONS[region]`, on the scan's own grid; the same
            number on both sides.
        confidence: Probability of the label in steps of 1/255, same grid; islands and holes, which
            have another label now, keep that of the label that they had.
        sides: Which side each voxel is on, and how that was told.
        covered: Voxels that a network has seen; the rest is 0 in `labels`.
        region: "thigh" or "leg".
        region_probability: The classifier's mean probability of that region; None if the region
            was given.
        weights: Name of the weights.
        trained: False if the weights are random: then the labels mean nothing.
        engine: What computed the network: one of `inference.engines.ENGINES`.
        precision: "float32" or "bfloat16".
        probabilities: Of every class in steps of 1/255, if they were asked for.
        looked_twice: How many slices have a limb of which the network was not sure, so that it was
            looked at twice; see `inference.second_look`.
        warnings: What a user should know before relying on the labels.
        signs: What was measured to tell whether the weights know such a scan.
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
    engine: str = "jax"
    precision: str = "float32"
    probabilities: UInt8[np.ndarray, "i j k c"] | None = None
    looked_twice: int = 0
    warnings: tuple[str, ...] = field(default=())
    signs: Signs | None = None

    @property
    def anatomy(self) -> anatomy.Region:
        """The region with its muscles, numbers and colours."""
        return anatomy.REGIONS[self.region]

    def measurements(self, fat_fraction: np.ndarray | None = None) -> "pd.DataFrame":
        """Return a row per muscle and side; see `inference.measure.measure_muscles`."""
        from musclejax.inference.measure import measure_muscles

        return measure_muscles(self, fat_fraction)

    def slices(self, fat_fraction: np.ndarray | None = None) -> "pd.DataFrame":
        """Return a row per muscle, side and slice; see `inference.measure.measure_slices`."""
        from musclejax.inference.measure import measure_slices

        return measure_slices(self, fat_fraction)

    def save(self, folder: str | Path, **options: Any) -> list[Path]:
        """Write labels, tables, picture and record; see `inference.report.save`."""
        from musclejax.inference.report import save

        return save(self, Path(folder), **options)


def segment(
    volume: Volume,
    weights: Weights | str | Path = DEFAULT_WEIGHTS,
    *,
    region: str = "auto",
    geometry: str = "world",
    batch_size: int = BATCH_SIZE,
    engine: str = "jax",
    precision: str = "float32",
    probabilities: bool = False,
    second_look: bool = True,
    tidy: bool = True,
    hooks: Hooks | None = None,
) -> Segmentation:
    """Label the muscles of a scan.

    Args:
        volume: The scan, as `musclejax.load` gives it.
        weights: Loaded weights, the name of bundled ones, or a folder. Load once and pass the
            same object to segment many scans: compiled networks are kept with it.
        region: "thigh", "leg", or "auto" to ask the classifier.
        geometry: "world" (orientation from the affine, every slice) or "2021"; see
            `scan.grid.to_model_grid`.
        batch_size: Slices at once.
        engine: What computes the segmentation network: see `inference.engines.ENGINES`; "auto"
            takes the fastest one here. The classifier is always computed by JAX in float32.
        precision: "float32", or "bfloat16" where the engine and the processor have it.
        probabilities: Whether to keep those of every class.
        second_look: Whether to look twice at limbs of which the network is not sure, as the 2021
            code did not; see `inference.second_look`.
        tidy: Whether to take islands, holes and crumbs away, as the 2021 code did not; see
            `inference.clean`.
        hooks: Follow stages and progress.

    Raises:
        InputError: If the scan cannot be segmented, the weights lack a network, or the engine is
            not installed or lacks the precision.

    Source: paper, Fig. 5; classification of all slices rather than one: ours.
    """
    hooks = hooks or Hooks()
    _check_options(region, batch_size)
    engine = resolve(engine, precision)
    check(volume)
    if not isinstance(weights, Weights):
        with hooks.stage("weights"):
            weights = load_weights(weights)
    with hooks.stage("resample"):
        slices, transform = to_model_grid(volume, geometry)
    with hooks.stage("classify"):
        region, certainty = _region(weights, slices, region, geometry, volume)
    network = _network(weights, region)
    with hooks.stage("network"):
        predicted = predict_in_windows(
            network,
            slices,
            normalise(slices, network.config.intensity),
            second_look=second_look and weights.trained and geometry != "2021",
            batch_size=batch_size,
            engine=engine,
            precision=precision,
            extend=hooks.extend,
            advance=hooks.advance,
        )
    with hooks.stage("restore"):
        restored = _restore(predicted.slices, transform, probabilities)
        shown = anatomy.REGIONS[region]
        sides = find_sides(volume, restored["labels"], shown)
        if tidy and geometry != "2021":
            restored["labels"] = clean(restored["labels"], sides.voxels, volume.axial_axis, shown)
    limbs = 2 if sides.method == "gap" else 1
    signs = measure(volume, restored["labels"], predicted.certainty, certainty, limbs)
    return Segmentation(
        volume=volume,
        sides=sides,
        region=region,
        region_probability=certainty,
        weights=weights.name,
        trained=weights.trained,
        engine=engine,
        precision=precision,
        looked_twice=predicted.twice,
        warnings=(*_warnings(volume, sides, weights), *doubts(signs)),
        signs=signs,
        **restored,
    )


def classify(
    network: Network, slices: Float[np.ndarray, "z r c"], geometry: str = "world"
) -> dict[str, float]:
    """Return the probability of each region for a scan's model slices.

    "world" averages over all slices that show anything; "2021" looks at the middle slice of the
    scan only, as the 2021 code did.
    """
    scaled = normalise(slices, network.config.intensity)
    if geometry == "2021":
        # Both ends of the scan are missing here; of its n slices, slice n // 2 is this one.
        before, after = SKIPPED_2021
        middle = (len(slices) + before + after) // 2 - before
        scaled = scaled[middle : middle + 1]
    else:
        scaled = scaled[scaled.any((1, 2))]
    mean = predict_regions(network, to_thumbnails(scaled)).mean(0)
    return {name: float(p) for name, p in zip(anatomy.REGIONS, mean, strict=True)}


def _region(
    weights: Weights, slices: np.ndarray, region: str, geometry: str, volume: Volume
) -> tuple[str, float | None]:
    if region != "auto":
        return region, None
    probabilities = classify(_network(weights, "region"), slices, geometry)
    best = max(probabilities, key=lambda name: probabilities[name])
    return best, probabilities[best]


def _network(weights: Weights, task: str) -> Network:
    if task not in weights.networks:
        has = ", ".join(weights.networks)
        remedy = "Give --region thigh or --region leg." if task == "region" else ""
        raise InputError(f"weights {weights.name}", f"networks {has}", f"a {task} network", remedy)
    return weights.networks[task]


def _restore(
    predicted: Iterable[Slice], transform: GridTransform, probabilities: bool
) -> dict[str, Any]:
    labels, confidence, every = [], [], []
    for seen in predicted:
        own_labels, own_confidence = labels_from_model_grid(*seen, transform)
        labels.append(own_labels)
        confidence.append(own_confidence)
        if probabilities:
            blended = interpolate(seen.probabilities, transform)
            every.append(np.round(blended).astype(np.uint8))
    covered = to_scan(np.ones((len(labels), *labels[0].shape), bool), transform)
    return {
        "labels": to_scan(np.stack(labels), transform),
        "confidence": to_scan(np.stack(confidence), transform),
        "covered": covered,
        "probabilities": to_scan(np.stack(every), transform) if probabilities else None,
    }


def _warnings(volume: Volume, sides: Sides, weights: Weights) -> list[str]:
    warnings = [weights.caution] if weights.caution else []
    if not volume.has_orientation:
        warnings.append("the file stores no orientation: left and right may be swapped")
    if sides.method == "position":
        warnings.append("one limb in view, its side told only by where it lay in the scanner")
    return warnings


def _check_options(region: str, batch_size: int) -> None:
    if region not in ("auto", *anatomy.REGIONS):
        raise InputError("region", repr(region), ", ".join(("auto", *anatomy.REGIONS)))
    if batch_size < 1:
        raise InputError("batch size", str(batch_size), "1 or more")
