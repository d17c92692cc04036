"""Measures against hand counts, independent computations and the package surface-distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries

from musclejax.evaluation.metrics import (
    count_voxels,
    dsc,
    hausdorff_mm,
    jaccard,
    mean_surface_mm,
    surface_distances,
    volume_error_percent,
)

SPACING = (3.0, 3.0, 8.0)

# --- overlap ------------------------------------------------------------------------------------


def test_measures_of_hand_counted_voxels() -> None:
    reference = np.zeros((4, 1, 2), np.uint8)
    prediction = np.zeros_like(reference)
    reference[:, 0, 0] = [1, 1, 1, 0]
    prediction[:, 0, 0] = [0, 1, 1, 2]
    sides = np.ones_like(reference)
    sides[2:] = 2
    counts = count_voxels(reference, prediction, sides, 4)
    assert counts.shape == (3, 2, 3, 4)
    both = counts.sum(1)[:, 2]
    assert both[:, 1].tolist() == [3, 2, 2]
    assert counts[:, 0, :2, 1].tolist() == [[2, 1], [1, 1], [1, 1]]  # left, right
    assert dsc(both)[1] == pytest.approx(4 / 5)
    assert jaccard(both)[1] == pytest.approx(2 / 3)
    assert volume_error_percent(both)[1] == pytest.approx(-100 / 3)
    assert (dsc(both)[2], jaccard(both)[2]) == (0, 0)  # in the prediction only
    assert np.isnan([volume_error_percent(both)[2], dsc(both)[3], jaccard(both)[3]]).all()


LABELS = arrays(np.uint8, (5, 4, 2), elements=st.integers(0, 2))


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS)
def test_overlap_is_symmetric_bounded_and_jaccard_follows_from_dsc(
    first: np.ndarray, second: np.ndarray
) -> None:
    sides = np.ones_like(first)
    counts = count_voxels(first, second, sides, 3)
    d = dsc(counts)
    np.testing.assert_array_equal(d, dsc(count_voxels(second, first, sides, 3)))
    np.testing.assert_allclose(jaccard(counts), d / (2 - d))
    known = d[~np.isnan(d)]
    assert ((known >= 0) & (known <= 1)).all()
    same = dsc(count_voxels(first, first, sides, 3))
    assert (same[~np.isnan(same)] == 1).all()


# --- surface distances --------------------------------------------------------------------------


def ball(radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    axes = [(np.arange(n) - n // 2) * s for n, s in zip((41, 41, 27), spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 <= radius_mm**2


def test_concentric_balls_are_apart_by_the_difference_of_their_radii() -> None:
    spacing = (1.0, 1.0, 1.5)
    found = surface_distances(ball(16, spacing), ball(10, spacing), spacing)
    for value in (hausdorff_mm(found, 100.0), hausdorff_mm(found), mean_surface_mm(found)):
        assert value == pytest.approx(6, abs=0.9)  # the surface is rough by about half a voxel


@pytest.mark.parametrize(("axis", "shift"), [(0, 3), (1, 2), (2, 1)])
def test_a_shifted_cube_is_as_far_as_it_was_shifted(axis: int, shift: int) -> None:
    cube = np.zeros((20, 20, 20), bool)
    cube[5:12, 5:12, 5:12] = True
    found = surface_distances(cube, np.roll(cube, shift, axis), SPACING)
    assert hausdorff_mm(found, 100.0) == shift * SPACING[axis]
    assert mean_surface_mm(found) < shift * SPACING[axis]


def blobs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 11, 8), bool)
    for _ in range(3):
        i, j, k = rng.integers(1, (7, 6, 4))
        mask[i : i + 4, j : j + 4, k : k + 3] = True
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_distances_against_all_pairs_and_scikit_image(seed: int) -> None:
    """Independent: SciPy's `cdist` over boundary voxels that scikit-image finds."""
    masks = blobs(seed), blobs(seed + 100)
    edges = [find_boundaries(np.pad(m, 1), connectivity=1, mode="inner") for m in masks]
    points = [np.argwhere(edge) * SPACING for edge in edges]
    apart = cdist(*points)
    forth, back = apart.min(1), apart.min(0)
    found = surface_distances(*masks, SPACING)
    np.testing.assert_allclose(np.sort(found[0]), np.sort(forth))
    np.testing.assert_allclose(np.sort(found[1]), np.sort(back))
    expected = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert hausdorff_mm(found) == pytest.approx(expected)
    assert mean_surface_mm(found) == pytest.approx(np.concatenate([forth, back]).mean())
    unit = surface_distances(*masks, (1.0, 1.0, 1.0))
    assert hausdorff_mm(unit, 100.0) == pytest.approx(hausdorff_distance(*edges))


# surface-distance 0.1 calls parts of scipy.ndimage by their deprecated names.
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_distances_against_the_package_surface_distance() -> None:
    """Independent: surface-distance 0.1 (DeepMind), surface elements between voxels.

    Largest distances are equal. Its elements are weighted by their area and more of them lie where
    the surfaces cross, so that percentiles and means are within half a pixel on smooth surfaces.
    """
    package = pytest.importorskip("surface_distance")
    for seed in range(4):
        masks = blobs(seed), blobs(seed + 100)
        theirs = package.compute_surface_distances(*masks, SPACING)
        ours = surface_distances(*masks, SPACING)
        largest = package.compute_robust_hausdorff(theirs, 100)
        assert hausdorff_mm(ours, 100.0) == pytest.approx(largest)
    spacing = (1.0, 1.0, 1.5)
    first, second = ball(14, spacing), np.roll(ball(12, spacing), (3, -2, 1), (0, 1, 2))
    theirs = package.compute_surface_distances(first, second, spacing)
    ours = surface_distances(first, second, spacing)
    for percentile, tolerance in ((100.0, 1e-6), (95.0, 0.5)):
        expected = package.compute_robust_hausdorff(theirs, percentile)
        assert hausdorff_mm(ours, percentile) == pytest.approx(expected, abs=tolerance)
    weights = theirs["surfel_areas_gt"].sum(), theirs["surfel_areas_pred"].sum()
    both = package.compute_average_surface_distance(theirs)
    assert mean_surface_mm(ours) == pytest.approx(np.average(both, weights=weights), abs=0.5)


MASKS = arrays(bool, (6, 5, 4))


@settings(max_examples=25, deadline=None)
@given(MASKS, MASKS, st.booleans())
def test_distances_are_symmetric_scale_with_the_spacing_and_vanish_on_equal_masks(
    first: np.ndarray, second: np.ndarray, in_plane: bool
) -> None:
    there = surface_distances(first, second, SPACING, in_plane=in_plane)
    back = surface_distances(second, first, SPACING, in_plane=in_plane)
    np.testing.assert_equal(hausdorff_mm(there), hausdorff_mm(back))
    double = surface_distances(first, second, (6.0, 6.0, 16.0), in_plane=in_plane)
    np.testing.assert_allclose(hausdorff_mm(double), 2 * hausdorff_mm(there))
    assert not np.concatenate(surface_distances(first, first, SPACING, in_plane=in_plane)).any()


def test_the_rim_of_the_field_of_view_is_no_surface() -> None:
    """Two bars along the whole stack, 2 pixels apart: the cut ends bring no zeros."""
    bar = np.zeros((12, 12, 5), bool)
    bar[3:8, 3:8] = True
    thin = np.zeros_like(bar)
    thin[5:6, 5:6] = True
    found = surface_distances(thin, bar, (1.0, 1.0, 1.0))
    assert found[0].tolist() == [2.0] * 5
    flat = surface_distances(thin, bar, (1.0, 1.0, 1.0), in_plane=True)
    assert np.sort(flat[1]).tolist() == np.sort(found[1]).tolist()


def test_in_plane_distances_do_not_cross_slices() -> None:
    first, second = np.zeros((2, 9, 9, 3), bool)
    first[2:5, 2:5, 0] = first[2:5, 2:5, 2] = True
    second[3:6, 2:5, 0] = second[2:5, 2:5, 1] = True
    found = surface_distances(first, second, (2.0, 1.0, 0.1), in_plane=True)
    assert hausdorff_mm(found, 100.0) == 2.0  # slice 0 alone shows both
    assert found[0].size == 8
    nothing = surface_distances(first, np.zeros_like(first), SPACING)
    assert np.isnan([hausdorff_mm(nothing), mean_surface_mm(nothing)]).all()
