"""Small components, holes and too small sections are changed, and nothing else."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from musclejax.prediction import postprocess as postprocess_module
from musclejax.prediction.postprocess import STEPS


def postprocess(
    labels: np.ndarray, sides: np.ndarray, axial_axis: int, steps: Any = tuple(STEPS)
) -> np.ndarray:
    """Return what becomes of labels."""
    found = labels.copy()
    postprocess_module.postprocess(found, sides, axial_axis, steps)
    return found


def bodies() -> tuple[np.ndarray, np.ndarray]:
    """Return two limbs with one muscle of two neighbors each, and their sides."""
    labels = np.zeros((40, 30, 4), np.uint8)
    for first in (2, 22):
        labels[first : first + 8, 5:15] = 1
        labels[first + 8 : first + 14, 5:15] = 2
    sides = np.ones(labels.shape, np.uint8)
    sides[20:] = 2
    return labels, sides


def test_sound_labels_stay() -> None:
    labels, sides = bodies()
    np.testing.assert_array_equal(postprocess(labels, sides, 2), labels)


def test_small_components_and_holes_go_but_a_hole_that_is_open_stays() -> None:
    labels, sides = bodies()
    sound = labels.copy()
    labels[4:6, 8:11, 1] = 0  # a hole
    labels[15:17, 25:27, 2] = 1  # a small component in the right limb
    labels[13, 8, 0] = 1  # a small component in its neighbor
    found = postprocess(labels, sides, 2)
    np.testing.assert_array_equal(found[4:7, 8:11], sound[4:7, 8:11])
    assert not found[15:17, 25:27].any()
    assert found[13, 8, 0] == 2
    open_to_the_side = sound.copy()
    open_to_the_side[2:5, 8:11, 1] = 0
    np.testing.assert_array_equal(postprocess(open_to_the_side, sides, 2), open_to_the_side)
    bone = sound.copy()
    bone[4:8, 7:12, 1] = 0  # a quarter of the section
    np.testing.assert_array_equal(postprocess(bone, sides, 2), bone)


def test_a_muscle_of_one_limb_is_no_small_component_of_the_other() -> None:
    labels, sides = bodies()
    labels[22:36] = 0
    labels[24:26, 5:8] = 1  # small, but all that there is on that side
    np.testing.assert_array_equal(postprocess(labels, sides, 2), labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_may_follow_one_another_along_any_axis(axis: int) -> None:
    labels, sides = bodies()
    labels[4:7, 8:11, 1] = 0
    moved = [np.ascontiguousarray(np.moveaxis(a, 2, axis)) for a in (labels, sides)]
    found = np.moveaxis(postprocess(*moved, axis), axis, 2)
    np.testing.assert_array_equal(found, postprocess(labels, sides, 2))


def test_a_component_that_is_small_in_its_slice_only_goes_too() -> None:
    labels, sides = bodies()
    labels[15:17, 20:22, 1] = 1  # apart in its slice
    labels[9:17, 14:22, 2] = 1  # joined to the muscle one slice higher
    found = postprocess(labels, sides, 2)
    assert not found[15:17, 20:22, 1].any()
    assert (found[9:17, 15:22, 2] == 1).all()


def test_a_section_that_lies_apart_goes_only_beside_a_larger_one() -> None:
    """Far slices of a muscle need not be connected; two large components in one slice are."""
    labels, sides = bodies()
    labels[2:10, 5:15, 3] = 0
    labels[2:7, 20:24, 3] = 1  # all there is of it in the last slice
    np.testing.assert_array_equal(postprocess(labels, sides, 2), labels)
    beside = labels.copy()
    beside[2:7, 20:24, 2] = 1  # a quarter of the section, joined to the one above
    assert not postprocess(beside, sides, 2)[2:7, 20:24, 2].any()


def test_a_small_component_inside_another_muscle_becomes_that_muscle() -> None:
    labels, sides = bodies()
    sound = labels.copy()
    labels[4:6, 8:10, 1] = 2
    np.testing.assert_array_equal(postprocess(labels, sides, 2), sound)


def test_the_number_of_labelings_does_not_grow_with_the_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    label = postprocess_module.ndi.label

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return label(*arguments)

    monkeypatch.setattr(postprocess_module.ndi, "label", counted)
    labels, sides = bodies()
    postprocess(labels, sides, 2)
    muscles, few = 2 * 2, len(calls)
    assert few == 3 * muscles  # a step, then the two within slices
    postprocess(*(np.tile(array, (1, 1, 10)) for array in (labels, sides)), 2)
    assert len(calls) - few == (1 + 2 * 2) * muscles  # in two parts


def test_slices_are_post_processed_as_each_alone() -> None:
    """But for components across slices, which is another step."""
    rng = np.random.default_rng(0)
    smooth = ndi.uniform_filter(rng.uniform(size=(24, 30, 6)), (5, 5, 0))
    labels = (smooth > np.quantile(smooth, 0.4)).astype(np.uint8) * np.uint8(3)
    sides = np.ones(labels.shape, np.uint8)
    steps = ("slice_components", "holes")
    found = postprocess(labels, sides, 2, steps)
    assert (found != labels).any()
    for z in range(labels.shape[2]):
        alone = postprocess(labels[..., z : z + 1], sides[..., :1], 2, steps)
        np.testing.assert_array_equal(found[..., z : z + 1], alone)


def test_no_step_no_change() -> None:
    labels, sides = bodies()
    labels[4:7, 8:11, 1] = 0
    np.testing.assert_array_equal(postprocess(labels, sides, 2, ()), labels)
