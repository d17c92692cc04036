"""The estimated DSC follows from the segmentation, and reaches tables, record and lines."""

from dataclasses import replace

import numpy as np
import pytest

from musclejax.anatomy import REGIONS, SIDES, SLICE_SPACING_MM
from musclejax.prediction import estimate as module
from musclejax.prediction.batches import SlicePrediction
from musclejax.prediction.engines import STEPS
from musclejax.prediction.estimate import (
    FEATURES,
    QUANTILES,
    Calibration,
    estimate,
    estimate_warning,
    from_json,
    load_calibration,
    measure_features,
    name_flagged,
    predict,
    to_json,
)
from musclejax.prediction.evidence import CORE_PX, Evidence, add_up
from musclejax.prediction.gather import gather, sum_columns
from musclejax.prediction.measurement import measure_muscles, measure_slices
from musclejax.prediction.result import Segmentation
from musclejax.reports.cohort import LISTED, order_by_need, read_flagged
from musclejax.reports.segmentation import describe
from musclejax.scan.grid import to_model_grid
from musclejax.scan.sides import Sides
from musclejax.scan.volume import Volume

LEG = REGIONS["leg"]
K = LEG.num_classes
SHAPE = (2, K)
TA, SOL = 4, 1
SIZE = 100
"""Pixels of a slice; of the model grid's spacing, and cut from it by the transform."""


def scan(slices: int, z_mm: float) -> Volume:
    """Two bright limbs."""
    data = np.zeros((SIZE, SIZE, slices), np.float32)
    for first in (10, 60):
        data[first : first + 30, 30:70] = 100
    mm = SLICE_SPACING_MM
    return Volume(data, np.diag([-mm, -mm, z_mm, 1.0]), "case")


def labels_of(slices: int) -> np.ndarray:
    """Soleus in both limbs, 20 x 20 pixels on the right and 20 x 10 on the left."""
    labels = np.zeros((SIZE, SIZE, slices), np.uint8)
    labels[15:35, 40:60] = SOL  # x grows to the left
    labels[65:75, 40:60] = SOL
    return labels


def result_of_labels(
    labels: np.ndarray, z_mm: float = 8.0, certain: float = 0.8, final: np.ndarray | None = None
) -> Segmentation:
    """A result whose network gives each label a probability, and background the rest."""
    volume = scan(labels.shape[2], z_mm)
    _, transform = to_model_grid(volume)
    rows, columns = transform.rows.source, transform.columns.source
    columns_sums = []
    for section in labels.transpose(2, 1, 0):
        own = np.where((rows >= 0)[:, None] & (columns >= 0), section[rows][:, columns], 0)
        probabilities = np.zeros((*own.shape, K), np.uint8)
        np.put_along_axis(probabilities, own[..., None], round(certain * STEPS), 2)
        probabilities[..., 0] = np.where(own > 0, STEPS - round(certain * STEPS), STEPS)
        found = SlicePrediction(own.astype(np.uint8), probabilities.max(-1), probabilities)
        columns_sums.append(sum_columns(found))
    sides = np.where(np.arange(SIZE)[:, None, None] < 50, 2, 1) * np.ones(labels.shape)
    final = labels if final is None else final
    evidence = gather(columns_sums, final, sides.astype(np.uint8), volume, transform)
    return Segmentation(
        volume=volume, labels=final, confidence=final, evidence=evidence,
        sides=Sides(sides.astype(np.uint8), "gap"), covered=np.ones(final.shape, bool),
        region="leg", region_probability=None, weights="none", trained=True,
    )  # fmt: skip


LEFT, RIGHT = range(2)


def test_sums_are_those_of_labels_of_known_size() -> None:
    sums = add_up(result_of_labels(labels_of(3)).evidence)
    pixels, mm2 = np.array([600, 1200]), SLICE_SPACING_MM**2
    core = 3 * np.array([(20 - 2 * CORE_PX) * (10 - 2 * CORE_PX), (20 - 2 * CORE_PX) ** 2])
    expected = {
        "pixels": pixels,
        "inside": pixels * 0.8,
        "total": pixels * 0.8,
        "core": core,
        "core_inside": core * 0.8,
        "core_other": [0, 0],
        "area_mm2": pixels * mm2,
        "twin_mm2": [600 * mm2, 600 * mm2],
        "twins_mm2": [1800 * mm2, 1800 * mm2],
    }
    assert list(expected) == list(Evidence._fields)
    for name, values in expected.items():
        field = getattr(sums, name)
        np.testing.assert_allclose(field[:, SOL], values, rtol=1e-4, atol=1e-3, err_msg=name)
        if name != "total":
            assert not np.delete(field, SOL, axis=1).any(), name
    some = add_up(result_of_labels(labels_of(3)).evidence, np.array([0, 2]))
    np.testing.assert_allclose(some.pixels, sums.pixels * 2 / 3)


def test_sections_that_are_gone_do_not_count() -> None:
    raw = labels_of(2)
    final = raw.copy()
    final[:, :, 1] = 0
    sums = add_up(result_of_labels(raw, final=final).evidence)
    np.testing.assert_array_equal(sums.pixels[:, SOL], [200, 400])
    assert not sums.total[:, TA].any()
    assert not measure_features(sums)[..., FEATURES.index("removed")][:, SOL].round(2).any()


def test_features_of_a_section_that_lost_a_part() -> None:
    raw = labels_of(1)
    final = raw.copy()
    final[20] = 0  # one of 20 columns
    sums = add_up(result_of_labels(raw, final=final).evidence)
    features = dict(zip(FEATURES, measure_features(sums)[RIGHT, SOL], strict=True))
    expected = {
        "expected": np.log(1.6 / 0.2),  # 2 * 0.8 / (1 + 0.8)
        "core": np.log(0.8 / 0.2),
        "confused": np.log(0.001),
        "elsewhere": np.log(0.001),
        "removed": np.sqrt(1 / 20),
        "asymmetry": (380 - 200) / (380 + 200),
    }
    assert features == pytest.approx(expected, abs=0.01)
    assert np.isnan(measure_features(sums)[RIGHT, TA]).all()


def calibration(flag_below: float = 0.75) -> Calibration:
    """One feature counts: the logit of the expected DSC; the interval is one logit to each side."""
    knots = np.tile([-10.0, 10.0], (len(FEATURES), 1))
    heights = np.zeros((len(QUANTILES), *knots.shape))
    heights[:, FEATURES.index("expected")] = knots[0]
    ends = np.array([[-1.0], [0.0], [1.0]])
    bases = {name: np.tile(ends, region.num_classes) for name, region in REGIONS.items()}
    return Calibration(knots, heights, bases, flag_below, {"date": "today"})


@pytest.fixture
def simple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_calibration", calibration)


@pytest.mark.usefixtures("simple")
def test_the_estimate_follows_the_probabilities() -> None:
    for certain in (0.9, 0.7, 0.5):
        result = result_of_labels(labels_of(1), certain=certain)
        found = estimate(add_up(result.evidence), LEG)
        dsc = 2 * certain / (1 + certain)
        assert found.dsc[RIGHT, SOL] == pytest.approx(dsc, abs=0.01)
        assert found.low[RIGHT, SOL] < found.dsc[RIGHT, SOL] < found.high[RIGHT, SOL]
        assert found.flag[RIGHT, SOL] == (dsc < 0.75)
        assert np.isnan(found.dsc[:, [0, TA]]).all()
        assert not found.flag[:, [0, TA]].any()


def test_quantiles_never_cross() -> None:
    crossed = np.array([[1.0], [0.0], [-1.0]])
    low, middle, high = predict(np.zeros((1, len(FEATURES))), crossed, calibration())
    assert (low < middle).all()
    assert (middle < high).all()


@pytest.mark.usefixtures("simple")
def test_tables_have_the_estimates_of_scan_and_slice() -> None:
    labels = labels_of(2)
    labels[15:35, 40:50, 1] = 0
    result = result_of_labels(labels, certain=0.6)
    left = measure_muscles(result).set_index(["side", "muscle"]).loc[("left", "SOL")]
    assert left.estimated_dsc == pytest.approx(0.75, abs=0.01)
    assert left.estimated_dsc_low < left.estimated_dsc < left.estimated_dsc_high
    absent = measure_muscles(result).set_index(["side", "muscle"]).loc[("left", "TA")]
    assert np.isnan(absent.estimated_dsc)
    assert not absent.flag
    slices = measure_slices(result)
    groups = slices[slices.kind == "group"]
    slices = slices[slices.kind == "muscle"].astype({"label": int})
    assert len(slices) == len(groups) == 4
    assert groups.estimated_dsc.isna().all()
    assert groups.flag.tolist() == slices.flag.tolist() == [True] * 4
    found = estimate(result.evidence, LEG)
    at = slices.slice, [SIDES.index(s) for s in slices.side], slices.label
    np.testing.assert_array_equal(slices.estimated_dsc, found.dsc[at])
    none = measure_muscles(replace(result, evidence=None))
    assert none.estimated_dsc.isna().all()
    assert not none.flag.any()


@pytest.mark.usefixtures("simple")
def test_flagged_muscles_stand_in_a_line_and_in_the_record() -> None:
    result = result_of_labels(labels_of(1), certain=0.5)
    found = estimate(add_up(result.evidence), LEG)
    found.dsc[LEFT, SOL] = 0.3
    assert list(name_flagged(found, LEG)) == ["left SOL", "right SOL"]
    line = "low estimated DSC, look at left SOL (0.30), right SOL (0.67)"
    assert estimate_warning(found, LEG) == line
    record = describe(result)
    assert set(read_flagged(record)) == {"left SOL", "right SOL"}
    good = result_of_labels(labels_of(1), certain=0.9)
    assert estimate_warning(estimate(add_up(good.evidence), LEG), LEG) == ""
    assert describe(good)["flagged"] == {}
    assert "flagged" not in describe(replace(good, evidence=None))


@pytest.mark.parametrize("flagged", [None, 3, ["left SOL"], {"left SOL": "low"}])
def test_records_without_flags_name_nothing(flagged: object) -> None:
    assert read_flagged({"flagged": flagged}) == {}


def test_cohorts_are_ordered_by_need() -> None:
    scans = {"good": {}, "one": {"left SOL": 0.6}, "worse": {"left SOL": 0.2}}
    scans["two"] = {"left SOL": 0.6, "left TA": 0.65}
    lines = order_by_need(scans)
    assert [line.partition(":")[0] for line in lines] == ["two", "worse", "one"]
    assert lines[0] == "two: left SOL (0.60), left TA (0.65)"
    many = order_by_need({f"scan {n}": {"left SOL": 0.5} for n in range(LISTED + 2)})
    assert len(many) == LISTED + 1
    assert many[-1] == "2 more"


def test_the_calibration_survives_its_file() -> None:
    known = load_calibration()
    again = from_json(to_json(known))
    for one, other in zip(known[:2], again[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.flag_below == known.flag_below
    for name, region in REGIONS.items():
        assert again.bases[name].shape == (len(QUANTILES), region.num_classes)
        np.testing.assert_array_equal(again.bases[name], known.bases[name])
    assert set(known.origin) == {"date", "weights", "command"}
