"""The tree: classify the region, apply its network, bring the labels back onto the scan."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from nibabel.spatialimages import SpatialImage

from musclejax import anatomy
from musclejax.bundled import DEFAULT_WEIGHTS
from musclejax.errors import InputError
from musclejax.loops import Advance, Stage, result_of
from musclejax.models.network import Network
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction.batches import CLASSIFIER_BATCH_SIZE, predict_classes
from musclejax.prediction.engine_choice import check, resolve
from musclejax.prediction.estimate import estimate, estimate_warning
from musclejax.prediction.evidence import Evidence, add_up
from musclejax.prediction.gather import gather
from musclejax.prediction.level import find_levels, region_at
from musclejax.prediction.options import DEFAULTS, SegmentOptions
from musclejax.prediction.postprocess import postprocess
from musclejax.prediction.quality import measure_quality, out_of_distribution_warning
from musclejax.prediction.restore import Restoring
from musclejax.prediction.result import Levels, Segmentation, choose
from musclejax.prediction.upright import (
    SLICES,
    UNDECIDED,
    Judgement,
    exchange_back,
    exchange_front_and_back,
    is_uncertain,
    judge,
    measure_coherence,
)
from musclejax.prediction.voxels import count_by_slice
from musclejax.prediction.windows import predict_in_windows_steps
from musclejax.scan.grid import SKIPPED_2021, sides_of_columns, to_thumbnails
from musclejax.scan.model_grid import ModelGrid, normalized
from musclejax.scan.sides import Sides, find_sides
from musclejax.scan.slices import Slices, spread_over
from musclejax.scan.study import load
from musclejax.scan.volume import Volume

UNSURE = 0.9
"""Below this probability of the region by the classifier, the levels decide. Source: ours."""
Steps = Generator[Stage | Advance, None, Segmentation]


def segment(
    scan: str | Path | SpatialImage | Volume,
    weights: Weights | str | Path = DEFAULT_WEIGHTS,
    options: SegmentOptions = DEFAULTS,
) -> Segmentation:
    """Label the muscles of a scan.

    Args:
        scan: A NIfTI file, a DICOM file or folder, a nibabel image, or a `Volume`.
        weights: Loaded weights, the name of bundled ones, or a folder. Load once and pass the
            same object to segment many scans: compiled networks are kept with it.
        options: See `SegmentOptions`.

    Raises:
        InputError: If the scan cannot be segmented, the weights lack a network, or the engine is
            not installed or lacks the precision.

    Source: paper, Fig. 5; classification of all slices rather than one: ours.
    """
    return result_of(segment_steps(scan, weights, options))


def segment_steps(
    scan: str | Path | SpatialImage | Volume,
    weights: Weights | str | Path = DEFAULT_WEIGHTS,
    options: SegmentOptions = DEFAULTS,
) -> Steps:
    """Label the muscles of a scan; see `segment`.

    Yields:
        The stages load, weights (both only if there is something to read), resample, classify,
        network, restore, level and check (only of scans that the network is uncertain of);
        resample to level again if the scan lies upside down. In the stage network: slices done and
        their total, which grows by the slices with test-time augmentation.
    """
    check(options)  # an engine that cannot compute is reported first
    if not isinstance(scan, Volume):
        yield Stage("load")
    volume = load(scan)
    if not isinstance(weights, Weights):
        yield Stage("weights")
        weights = load_weights(weights)
    options, *said = resolve(options, weights)[:2]
    result, on_grid = yield from _tree_steps(volume, weights, options)
    if is_uncertain(result, options):
        yield Stage("check")
        judgement = _judge(result, on_grid, weights, options)
        if judgement == "upside down":
            turned = exchange_front_and_back(volume)
            result, _ = yield from _tree_steps(turned, weights, options)
            result = exchange_back(result, volume)
        elif judgement == "undecided":
            said.append(UNDECIDED)
    return replace(result, warnings=(*filter(None, said), *result.warnings))


def _tree_steps(
    volume: Volume, weights: Weights, options: SegmentOptions
) -> Generator[Stage | Advance, None, tuple[Segmentation, ModelGrid]]:
    """Label a scan as its header says that it lies; return its slices on the model grid too."""
    yield Stage("resample")
    on_grid = ModelGrid(volume, options.geometry)
    yield Stage("classify")
    region, probability = _choose_region(weights, on_grid, options)
    result = yield from label_steps(on_grid, weights, region, probability, options)
    other = region_at(result.levels) if result.levels is not None else ""
    if probability is not None and probability < UNSURE and other not in ("", region):
        result = yield from label_steps(on_grid, weights, other, 1 - probability, options)
    return result, on_grid


def _judge(
    result: Segmentation, on_grid: ModelGrid, weights: Weights, options: SegmentOptions
) -> Judgement:
    """Compare a scan with its mirror image of front and back."""
    chosen = on_grid.take(spread_over(len(on_grid), SLICES))
    threshold = result.volume.lps.body_threshold
    mirrored = chosen[:, ::-1]
    region, _ = _choose_region(weights, mirrored, options)
    given, turned = (
        measure_coherence(find_network(weights, name), shown, shown >= threshold, options)
        for name, shown in ((result.region, chosen), (region, mirrored))
    )
    return judge(given, turned, len(on_grid))


def label_steps(
    scan: ModelGrid,
    weights: Weights,
    region: str,
    region_probability: float | None,
    options: SegmentOptions,
) -> Steps:
    """Label the muscles of a scan of a known region.

    Args:
        scan: On the model grid by `options.geometry`.
        weights: The networks.
        region: "thigh" or "leg".
        region_probability: The classifier's; None if the region was given.
        options: See `SegmentOptions`. Test-time augmentation and levels take trained weights; they
            and post-processing take geometry "world".
    """
    network = find_network(weights, region)
    world = options.geometry == "world"
    tta = options.tta and weights.trained and world
    options = replace(resolve(options, weights).options, tta=tta)
    yield Stage("network")
    volume, shown = scan.volume, anatomy.REGIONS[region]
    scaled = normalized(scan, network.config.intensity)
    restored = Restoring(
        scan.transform, shown.num_classes, keep_probabilities=options.probabilities
    )
    predicted = yield from predict_in_windows_steps(
        network, scaled, scan.body, options, restored.take
    )
    yield Stage("restore")
    labels = restored.labels
    sides = find_sides(volume, labels, shown)
    levels = None
    if world and weights.trained and anatomy.LEVEL in weights.networks:
        yield Stage("level")
        expected = 1.0 if region_probability is None else region_probability
        levels = _find_levels(scan, labels, sides, weights, shown, expected)
        if not options.keep_outside:
            _remove_impossible(labels, sides, levels, volume.axial_axis)
    if options.postprocess and world:
        postprocess(labels, sides.voxels, volume.axial_axis)
    confidence = predicted.confidence
    quality = measure_quality(volume, labels, confidence, region_probability, sides.limbs)
    muscles = anatomy.read_muscles(options.muscles)
    requested = np.isin(range(shown.num_classes), [0, *(m.number for m in choose(shown, muscles))])
    evidence, low = None, ""
    if weights.trained and world:
        evidence = gather(restored.columns, labels, sides.voxels, volume, scan.transform)
        evidence = Evidence(*(np.where(requested, sums, 0) for sums in evidence))
        low = estimate_warning(estimate(add_up(evidence), shown), shown)
    leveled = volume.lps.warnings if world else ()
    of_levels = levels.warnings if levels else ()
    none = (
        "" if choose(shown, muscles) else f"no muscle of the {region} requested: nothing is labeled"
    )
    found = *leveled, *of_levels, out_of_distribution_warning(quality), low, none
    warnings = *_warnings(volume, sides, weights), *found
    return Segmentation(
        volume=volume,
        labels=np.where(requested[labels], labels, np.uint8(0)) if muscles else labels,
        confidence=restored.confidence,
        sides=sides,
        covered=restored.covered,
        region=region,
        region_probability=region_probability,
        weights=weights.name,
        trained=weights.trained,
        quality=quality,
        evidence=evidence,
        engine=options.engine,
        precision=options.precision,
        levels=levels,
        probabilities=restored.probabilities,
        tta_slices=predicted.tta_slices,
        muscles=muscles,
        warnings=tuple(filter(None, warnings)),
    )


def classify(network: Network, slices: Slices, geometry: str = "world") -> dict[str, float]:
    """Return the probability of each region for a scan's model slices.

    "world" averages over slices at even distances, one batch of those that show anything; "2021"
    takes the middle slice of the scan only, as the 2021 code did.
    """
    scaled = normalized(slices, network.config.intensity)
    if geometry == "2021":
        # Both ends of the scan are missing here; of its n slices, slice n // 2 is this one.
        before, after = SKIPPED_2021
        middle = (len(slices) + before + after) // 2 - before
        chosen = np.array([middle])
    else:
        shown = np.flatnonzero([slices[z].any() for z in range(len(slices))])
        chosen = shown[spread_over(len(shown), CLASSIFIER_BATCH_SIZE)]
    thumbnails = to_thumbnails(np.stack([scaled[z] for z in chosen.tolist()]))
    mean = predict_classes(network, thumbnails).mean(0)
    return {name: float(p) for name, p in zip(anatomy.REGIONS, mean, strict=True)}


def find_network(weights: Weights, task: str) -> Network:
    """Return the network of a task.

    Raises:
        InputError: If the weights lack it.
    """
    if task not in weights.networks:
        has = ", ".join(weights.networks)
        remedy = "Give --region thigh or --region leg." if task == anatomy.CLASSIFIER else ""
        raise InputError(f"weights {weights.name}", f"networks {has}", f"a {task} network", remedy)
    return weights.networks[task]


def _choose_region(
    weights: Weights, slices: Slices, options: SegmentOptions
) -> tuple[str, float | None]:
    if options.region != "auto":
        return options.region, None
    classifier = find_network(weights, anatomy.CLASSIFIER)
    probabilities = classify(classifier, slices, options.geometry)
    best = max(probabilities, key=lambda name: probabilities[name])
    return best, probabilities[best]


def _find_levels(
    scan: ModelGrid,
    labels: UInt8[np.ndarray, "i j k"],
    sides: Sides,
    weights: Weights,
    region: anatomy.Region,
    probability: float,
) -> Levels:
    """Find the levels of both limbs, slices in the order of the file."""
    view, network = scan.volume.lps, weights.networks[anatomy.LEVEL]
    order = view.file_index(np.arange(len(scan)))
    counts = count_by_slice(labels, sides.voxels, scan.volume.axial_axis, region.num_classes)
    found = find_levels(
        network,
        normalized(scan, network.config.intensity),
        sides_of_columns(sides.voxels, scan.volume, scan.transform),
        scan.body,
        np.arange(len(scan)) * view.spacing_mm[2],
        counts[order].astype(np.float64),
        region,
        probability,
    )
    return replace(
        found,
        level=found.level[order],
        sd=found.sd[order],
        in_range=found.in_range[order],
        possible=found.possible[order],
    )


def _remove_impossible(
    labels: UInt8[np.ndarray, "i j k"], sides: Sides, levels: Levels, axial_axis: int
) -> None:
    """Set labels of muscles to 0, in place, at levels where they never are."""
    kept = np.ones((labels.shape[axial_axis], len(anatomy.SIDES) + 1, levels.possible.shape[2]))
    kept[:, 1:] = levels.possible
    slices, side_of = (np.moveaxis(a, axial_axis, 0) for a in (labels, sides.voxels))
    for possible, own, side in zip(kept.astype(np.uint8), slices, side_of, strict=True):
        own *= possible[side, own]


def _warnings(volume: Volume, sides: Sides, weights: Weights) -> list[str]:
    warnings = [*volume.warnings, *filter(None, [weights.warning])]
    if not volume.has_orientation:
        warnings.append("the file stores no orientation: left and right may be swapped")
    return [*warnings, *sides.warnings]
