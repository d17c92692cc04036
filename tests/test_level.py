"""Levels along the limb: the line through a network's opinions, muscle ranges, sections."""

import numpy as np
import pytest

from musclejax.anatomy import LEVELS, LIMB_PX, REGIONS, SLICE_PX
from musclejax.models.initialization import initialize
from musclejax.phantom.templates import GROUPS, read_tissues
from musclejax.prediction import level as level_module
from musclejax.prediction.level import MARGIN, REVERSED, Labeled, find_levels, fit_levels, lone_limb
from musclejax.prediction.places import find_places

THIGH_MM, LEG_MM = 430.0, 370.0


def true_levels(heights: np.ndarray, knee: float = 0.0) -> np.ndarray:
    """Return the levels of a limb of common length whose knee joint lies at a height."""
    above = heights - knee
    return 1 - above / np.where(above > 0, THIGH_MM, LEG_MM)


def opinions_of(levels: np.ndarray, spread: float = 0.12, wrong: float = 0.0) -> np.ndarray:
    """Return what a network with some spread says; of a share of slices, something else."""
    rng = np.random.default_rng(1)
    said = levels + 0.05 * rng.normal(size=len(levels))
    said = np.where(rng.random(len(levels)) < wrong, rng.uniform(-0.2, 2.3, len(levels)), said)
    chance = np.exp(-(((np.array(LEVELS) - said[:, None]) / spread) ** 2) / 2)
    return chance / chance.sum(1, keepdims=True)


STACKS = {
    "thigh, 5 mm apart": (np.arange(60.0, 400, 5), 0.0),
    "upper third": (np.arange(300.0, 420, 10), 0.0),
    "across the knee": (np.arange(-150.0, 150, 5), 0.0),
    "foot and ankle": (np.arange(-450.0, -330, 5), 0.0),
    "whole limb": (np.arange(-420.0, 460, 10), 0.0),
    "thick gaps": (np.arange(-300.0, -60, 60), 0.0),
    "a quarter of opinions wrong": (np.arange(60.0, 400, 10), 0.25),
    "one slice": (np.array([215.0]), 0.0),
}


@pytest.mark.parametrize("stack", STACKS)
def test_the_line_finds_the_levels(stack: str) -> None:
    heights, wrong = STACKS[stack]
    levels = true_levels(heights)
    fit = fit_levels(opinions_of(levels, wrong=wrong), heights, heights)
    mean, sd = fit.spread()
    # 0.12: what one opinion is worth; many together tell more.
    assert np.abs(mean - levels).max() < (0.12 if len(heights) < 5 else 0.06)
    assert (np.abs(mean - levels) < 3 * sd + 0.02).all()
    assert sd.max() < (0.5 if len(heights) < 5 else 0.1)


def test_labels_outweigh_opinions_that_are_unsure() -> None:
    """Three slices of a diseased calf that the network takes for a thigh with 0.3."""
    heights = np.array([0.0, 10, 20])
    opinions = np.full((3, len(LEVELS)), 0.7 / 25)
    opinions[:, LEVELS.index(0.5)] = 0.3
    areas = np.tile(np.array([0.0, 30, 12, 8, 5, 4, 5]), (3, 1))
    region = REGIONS["leg"]
    alone = fit_levels(opinions, heights, heights)
    fit = fit_levels(opinions, heights, heights, Labeled(region, areas, 1.0))
    assert (alone.spread()[0] < 0.9).all()
    assert (fit.spread()[0] > 1.1).all()
    heights = -360.0 - 10.0 * np.arange(8)  # ankle and foot, with false labels
    levels, areas = true_levels(heights), np.tile(areas[:1], (8, 1))
    fit = fit_levels(opinions_of(levels, 0.05), heights, heights, Labeled(region, areas, 0.6))
    np.testing.assert_allclose(fit.spread()[0], levels, atol=0.06)


@pytest.mark.parametrize("turned", [False, True])
def test_a_scan_that_runs_the_other_way_is_noticed(
    turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights = np.arange(-200.0, 200, 10)
    said = opinions_of(true_levels(heights))
    monkeypatch.setattr(level_module, "predict_classes", lambda *_: said[::-1] if turned else said)
    body = np.zeros((len(heights), SLICE_PX, SLICE_PX), bool)
    body[:, 200:260, 250:310] = True
    sides = np.ones((len(heights), SLICE_PX), np.uint8)
    images = body.astype(np.float32)
    network = initialize("level", "compact4")
    areas = np.zeros((len(heights), 2, 7))
    found = find_levels(network, images, sides, body, heights, areas, REGIONS["leg"], 0.6)
    assert (REVERSED in found.warnings) == turned
    assert np.isnan(found.level[:, 1]).all()  # no right limb
    if not turned:
        outside = "10 of 40 slices show no muscle of the leg (levels "
        assert found.warnings[-1].startswith(outside)
        level = true_levels(heights)
        np.testing.assert_array_equal(found.in_range[:, 0], found.possible[:, 0, 1:].any(1))
        assert not found.in_range[level < 0.75, 0].any()
        assert found.in_range[level > 1.0, 0].all()
        assert not found.possible[level < 0.9, 0, 1].any()  # soleus above the knee


def test_a_limb_is_shown_without_the_other() -> None:
    image = np.ones((SLICE_PX, SLICE_PX), np.float32)
    limb = np.zeros(image.shape, bool)
    limb[100:200, 20:120] = True
    image[:, 140:] = 7  # the other limb
    limb[300, 139] = limb[400, 10] = True  # noise
    cut = lone_limb(image, limb)
    assert cut.shape == (LIMB_PX, LIMB_PX)
    assert cut.max() == 1
    assert cut[LIMB_PX // 2].any()
    columns = np.flatnonzero(cut.any(0))
    assert abs(columns.mean() - LIMB_PX / 2) < 2  # in the middle, beyond the border too
    assert 100 <= len(columns) < 112


@pytest.mark.parametrize("region", REGIONS)
def test_no_template_has_a_muscle_beyond_its_range(region: str) -> None:
    for group in GROUPS:
        maps, rows, _ = read_tissues(region, group)
        levels = np.array([float(row["level"]) for row in rows])
        for muscle in REGIONS[region].muscles:
            shown = levels[(maps == muscle.number).sum((1, 2)) > 60]
            low, high = muscle.levels
            assert low - MARGIN <= shown.min(), muscle
            assert shown.max() <= high + MARGIN, muscle


@pytest.mark.parametrize(
    ("region", "heights", "expected"),
    [
        ("thigh", np.arange(-50.0, 460, 10), {30: "measured", 50: "measured", 70: "measured"}),
        ("thigh", np.arange(180.0, 260, 10), {50: "estimated"}),
        ("thigh", np.arange(-20.0, 240, 10), {50: "estimated", 70: "estimated"}),
        ("leg", np.arange(-400.0, 20, 10), {30: "measured", 50: "measured", 70: "measured"}),
    ],
)
def test_sections_are_where_they_say(
    region: str, heights: np.ndarray, expected: dict[int, str]
) -> None:
    level = true_levels(heights)
    places = find_places(level, heights, region)
    shares = {place.percent: place.length for place in places if not place.joint}
    assert shares == expected
    for place in places:
        if place.joint:
            assert (region, place.joint) == ("thigh", "knee")
            assert place.height_mm == pytest.approx(place.distance_mm, abs=2)
            assert place.at == f"{place.distance_mm:.0f} mm above the knee joint"
        else:
            there = np.interp(-place.height_mm, -heights[::-1], level[::-1])
            assert there - list(REGIONS).index(region) == pytest.approx(place.percent / 100)
    lone = sum(bool(place.joint) for place in places)
    assert lone == (3 if heights[0] == -20 else 0)
