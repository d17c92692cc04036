"""The tree end to end, with random weights of the smallest variant."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import musclejax
from musclejax import anatomy
from musclejax.anatomy import SLICE_PX
from musclejax.errors import InputError
from musclejax.loops import Advance, Stage
from musclejax.models.network import Network
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction import batches
from musclejax.prediction.batches import predict_labels
from musclejax.prediction.measurement import measure_muscles, measure_slices
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.result import Levels
from musclejax.prediction.segment import classify, segment, segment_steps
from musclejax.reports.segmentation import save
from musclejax.scan.grid import to_model_grid
from musclejax.scan.study import load
from musclejax.scan.volume import Volume
from tests.events import run
from tests.test_grid import ORIENTATIONS, reoriented

THIGH = SegmentOptions(region="thigh", batch_size=3)


@pytest.fixture(scope="module")
def weights(weights_folder: Path) -> Weights:
    return load_weights(weights_folder)


@pytest.fixture(scope="module")
def short(thigh_path: Path) -> Volume:
    """Three slices of the real thighs."""
    volume = load(thigh_path)
    return Volume(np.ascontiguousarray(volume.data[:, :, 9:24:6]), volume.affine, "short")


@pytest.fixture(scope="module")
def segmented(short: Volume, weights: Weights) -> musclejax.Segmentation:
    return segment(short, weights, replace(THIGH, probabilities=True))


def test_result_is_on_the_scans_own_grid(short: Volume, segmented: musclejax.Segmentation) -> None:
    assert segmented.labels.shape == short.data.shape
    assert segmented.labels.dtype == np.uint8
    assert len(np.unique(segmented.labels)) > 3
    assert not segmented.labels[~segmented.covered].any()
    assert segmented.region_probability is None


def test_labels_and_confidence_follow_from_probabilities(
    short: Volume, segmented: musclejax.Segmentation, weights: Weights
) -> None:
    plain = segment(short, weights, replace(THIGH, probabilities=True, postprocess=False))
    steps = plain.probabilities
    assert steps is not None
    inside = plain.covered
    assert np.abs(steps[inside].astype(int).sum(-1) - 255).max() <= 7
    chosen = np.take_along_axis(steps, plain.labels[..., None], -1)[..., 0]
    np.testing.assert_array_equal(chosen[inside], steps.max(-1)[inside])
    np.testing.assert_array_equal(plain.confidence[inside], steps.max(-1)[inside])
    # Post-processing changes labels, not the network's confidence.
    np.testing.assert_array_equal(segmented.confidence, plain.confidence)
    assert (segmented.labels != plain.labels).any()


def test_all_48_orientations_of_a_real_scan_give_the_same_labels(
    short: Volume, segmented: musclejax.Segmentation, weights: Weights
) -> None:
    for orientation in ORIENTATIONS[1::5] + ORIENTATIONS[-1:]:
        other = segment(reoriented(short, orientation), weights, THIGH)
        expected = nib.apply_orientation(segmented.labels, orientation)
        np.testing.assert_array_equal(other.labels, expected)
        expected = nib.apply_orientation(segmented.sides.voxels, orientation)
        np.testing.assert_array_equal(other.sides.voxels, expected)


def test_batches_do_not_matter(weights: Weights) -> None:
    network = weights.networks["leg"]
    slices = np.random.default_rng(0).uniform(size=(5, 96, 96)).astype(np.float32)
    whole = predict_labels(network, slices, SegmentOptions(batch_size=5))
    parts = predict_labels(network, slices, SegmentOptions(batch_size=2))
    assert (whole.labels == parts.labels).mean() > 0.999
    assert np.abs(whole.confidence.astype(int) - parts.confidence).max() <= 1


def test_few_slices_do_not_pay_for_a_whole_batch(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def watched(network: Network, *_: Any) -> Callable[[np.ndarray], Any]:
        """Return a function that notes shapes and computes nothing."""
        classes = network.module.num_classes

        def apply(batch: np.ndarray) -> tuple[np.ndarray, ...]:
            shapes.append(batch.shape)
            empty = np.zeros(batch.shape[:3], np.uint8)
            return empty, empty, np.zeros((*batch.shape[:3], classes), np.uint8)

        return apply

    monkeypatch.setattr(batches, "predict_function", watched)
    slices = np.zeros((5, 48, 48), np.float32)
    for count in (1, 3, 5):
        options = SegmentOptions(batch_size=4)
        found = predict_labels(weights.networks["leg"], slices[:count], options)
        assert found.labels.shape == (count, 48, 48)
    assert [shape[0] for shape in shapes] == [1, 3, 4, 4]


def region_network(weights: Weights, logits: tuple[float, float]) -> Network:
    """A classifier whose output is always the same."""
    network = weights.networks["region"]
    zero = jax.tree.map(np.zeros_like, dict(network.variables))
    zero["params"]["head"]["bias"] = np.array(logits, np.float32)
    return replace(network, variables=zero)


@pytest.mark.parametrize(("logits", "region"), [((2.0, -2.0), "thigh"), ((-3.0, 1.0), "leg")])
def test_the_classifier_decides_which_network_runs(
    logits: tuple[float, float], region: str, short: Volume, weights: Weights
) -> None:
    networks = {**weights.networks, "region": region_network(weights, logits)}
    result = segment(short, Weights("w", networks), SegmentOptions(batch_size=3))
    assert result.region == region
    expected = 1 / (1 + np.exp(-abs(logits[0] - logits[1])))
    assert result.region_probability == pytest.approx(expected, abs=1e-5)
    assert result.labels.max() <= {"thigh": 12, "leg": 6}[region]


def test_the_levels_decide_where_the_classifier_is_unsure(
    short: Volume, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = {**weights.networks, "region": region_network(weights, (0.1, -0.1))}
    level = np.full((3, 2), 1.4)
    level[1] = np.nan
    classes = np.ones((3, 2, 13), bool)
    found = Levels(level, level, np.isfinite(level), classes)
    monkeypatch.setattr("musclejax.prediction.segment.find_levels", lambda *_: found)
    result = segment(short, Weights("w", networks), SegmentOptions(batch_size=3, tta=False))
    assert result.region == "leg"
    assert result.region_probability == pytest.approx(1 - 1 / (1 + np.exp(-0.2)), abs=1e-5)
    given = segment(short, Weights("w", networks), replace(THIGH, tta=False))
    assert given.region == "thigh"


def test_muscles_are_not_labeled_where_they_never_are(
    short: Volume, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Weights("w", weights.networks)
    options = replace(THIGH, postprocess=False)
    untrained, twice = (
        segment(short, weights, options),
        segment(short, Weights("w", {"thigh": weights.networks["thigh"]}), options),
    )
    order = short.lps.file_index(np.arange(3))
    middle = np.moveaxis(twice.labels, short.axial_axis, 0)[order][1]
    number = int(middle.max())
    assert number
    possible = np.ones((3, len(anatomy.SIDES), anatomy.REGIONS["thigh"].num_classes), bool)
    possible[0, :, 1:] = False  # the lowest slice
    possible[1, :, number] = False
    level = np.broadcast_to(np.array([[1.9], [0.7], [0.5]]), (3, 2))
    found = Levels(level, level, possible[..., 1:].any(2), possible, ("a remark",))
    monkeypatch.setattr("musclejax.prediction.segment.find_levels", lambda *_: found)
    kept, events = run(segment_steps(short, trained, replace(options, keep_outside=True)))
    progress = [event for event in events if isinstance(event, Advance)]
    assert progress == [Advance(3, 6), Advance(6, 6)]  # random weights are uncertain
    assert (kept.tta_slices, untrained.tta_slices) == (3, 0)
    result = segment(short, trained, options)
    assert "a remark" in result.warnings
    of_all, of_some = (np.moveaxis(r.labels, short.axial_axis, 0)[order] for r in (kept, result))
    assert of_all[0].any()
    np.testing.assert_array_equal(of_some[0], 0)
    np.testing.assert_array_equal(of_some[1], np.where(of_all[1] == number, 0, of_all[1]))
    np.testing.assert_array_equal(of_some[2], of_all[2])
    np.testing.assert_array_equal(kept.labels, twice.labels)
    assert (untrained.levels, twice.levels) == (None, None)
    assert result.levels is not None
    np.testing.assert_array_equal(result.levels.level[order, 0], [1.9, 0.7, 0.5])
    table = measure_slices(result)
    assert set(table.loc[~table["in_range"], "muscle"]) == {""}
    everywhere = measure_slices(
        replace(kept, levels=replace(found, in_range=found.in_range | True))
    )
    assert set(everywhere.columns) == set(table.columns)
    assert everywhere["flag"].dtype == table["flag"].dtype == bool
    tall = Volume(np.repeat(short.data, 4, axis=2), short.affine, "tall")
    assert segment(tall, trained, replace(options, geometry="2021")).levels is None


def test_2021_classifies_the_middle_slice_only(weights: Weights, thigh_path: Path) -> None:
    """Slice floor(n / 2) of the scan: 15 of 31."""
    volume = load(thigh_path)
    slices, _ = to_model_grid(volume, "2021")
    network = weights.networks["region"]
    divide = replace(network, config=network.config.copy_and_resolve_references())
    divide.config.intensity.mode = "raw"
    others = np.zeros_like(slices)
    others[15 - 4] = slices[15 - 4]
    assert classify(divide, slices, "2021") == classify(divide, others, "2021")
    assert classify(divide, slices) != classify(divide, others, "2021")


def test_2021_geometry_leaves_the_ends_unsegmented(thigh_path: Path, weights: Weights) -> None:
    volume = load(thigh_path)
    cut = Volume(np.ascontiguousarray(volume.data[:, :, :11]), volume.affine, "cut")
    options = SegmentOptions(region="thigh", geometry="2021", batch_size=2)
    result = segment(cut, weights, options)
    assert np.flatnonzero(result.labels.any((0, 1))).tolist() == [4, 5]
    np.testing.assert_array_equal(result.volume.affine, volume.affine)


def test_stages_and_slices_are_reported(short: Volume, weights: Weights) -> None:
    _, events = run(segment_steps(short, weights, THIGH))
    stages = [event.name for event in events if isinstance(event, Stage)]
    assert stages == ["resample", "classify", "network", "restore"]
    assert [event for event in events if isinstance(event, Advance)] == [Advance(3, 3)]


def test_a_path_and_an_image_are_segmented_as_the_volume(
    short: Volume, segmented: musclejax.Segmentation, weights_folder: Path, tmp_path: Path
) -> None:
    """Weights are given by their folder here."""
    image = nib.Nifti1Image(short.data, short.affine)
    nib.save(image, tmp_path / "short.nii.gz")
    for scan in (image, str(tmp_path / "short.nii.gz")):
        result, events = run(segment_steps(scan, weights_folder, THIGH))
        np.testing.assert_array_equal(result.labels, segmented.labels)
        assert events[:2] == [Stage("load"), Stage("weights")]


def test_a_result_is_one_line_and_a_table_in_notebooks(segmented: musclejax.Segmentation) -> None:
    assert repr(segmented) == "<Segmentation short: thigh, 3 slices, weights random4>"
    html, measured = segmented._repr_html_(), measure_muscles(segmented)
    assert html.count("<tr>") == 1 + 12
    for _, row in measured[measured["kind"] == "muscle"].iterrows():
        assert f"<td>{row['volume_ml']:.1f}</td>" in html


def test_random_weights_and_missing_networks_are_reported(short: Volume, weights: Weights) -> None:
    told = replace(short, warnings=("what the reader decided",))
    warnings = segment(told, weights, SegmentOptions(region="leg")).warnings
    assert warnings[0] == "what the reader decided"
    assert "random" in warnings[1]
    without = Weights("w", {"leg": weights.networks["leg"]})
    with pytest.raises(InputError, match="a region network. Give --region"):
        segment(short, without)
    with pytest.raises(InputError, match="found networks leg; accepted: a thigh network"):
        segment(short, without, THIGH)


@pytest.mark.parametrize(
    ("option", "message"), [({"region": "arm"}, "arm"), ({"batch_size": 0}, "1 or more")]
)
def test_impossible_options(option: dict, message: str) -> None:
    """Set past the constructor, whose types are checked while the tests run."""
    options = SegmentOptions()
    for name, value in option.items():
        object.__setattr__(options, name, value)
    with pytest.raises(InputError, match=message):
        options.__post_init__()


def test_saved_files(segmented: musclejax.Segmentation, tmp_path: Path) -> None:
    files = save(segmented, tmp_path / "out", record=lambda: {"note": "ours"})
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [p.name for p in files]
    assert [p.name for p in files] == [
        "short_labels.nii.gz",
        "short_labels_original.nii.gz",
        "short_muscles.csv",
        "short_probabilities.nii.gz",
        "short_qc.png",
        "short_run.json",
        "short_slices.csv",
    ]
    labels = nib.load(files[0])
    np.testing.assert_array_equal(np.asarray(labels.dataobj), segmented.labels)
    np.testing.assert_array_equal(labels.affine, segmented.volume.affine)
    assert files[1].read_bytes() == files[0].read_bytes()
    table = pd.read_csv(files[2]).astype({"label": "Int64"})
    pd.testing.assert_frame_equal(table, measure_muscles(segmented), atol=1e-4, check_dtype=False)
    assert nib.load(files[3]).shape == (*segmented.labels.shape, 13)
    record = json.loads(files[5].read_text())
    assert (record["region"], record["note"], record["weights_trained"]) == ("thigh", "ours", False)


def test_grid_size_is_what_the_networks_accept(weights: Weights) -> None:
    assert all(SLICE_PX % n.spec.size_multiple == 0 for n in weights.networks.values())
