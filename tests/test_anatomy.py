"""The tables of anatomy agree with the facts page and with themselves."""

import pytest

from musclejax import anatomy


def test_class_counts_are_those_of_the_paper() -> None:
    # Paper, section "Deep learning analysis": 13 and 7 classes comprising background.
    assert [region.num_classes for region in anatomy.REGIONS.values()] == [13, 7]


def test_order_is_the_classifiers() -> None:
    # Paper, section "Classification Network": (1, 0) is the thigh, (0, 1) the leg.
    assert list(anatomy.REGIONS) == ["thigh", "leg"]


@pytest.mark.parametrize("region", anatomy.REGIONS.values(), ids=lambda r: r.name)
def test_numbers_run_from_one_and_abbreviations_are_unique(region: anatomy.Region) -> None:
    assert [m.number for m in region.muscles] == list(range(1, region.num_classes))
    assert len({m.abbreviation for m in region.muscles}) == len(region.muscles)
    assert len({m.color for m in region.muscles}) == len(region.muscles)


def test_label_order_of_the_facts_page() -> None:
    thigh, leg = (
        " ".join(m.abbreviation for m in anatomy.REGIONS[name].muscles) for name in anatomy.REGIONS
    )
    # facts-2021, section "Muscle names and order"; it writes ELD for extensor digitorum longus.
    assert thigh == "VL VM VI RF SAR GRA AM SM ST BFL BFS AL"
    assert leg == "SOL GM GL TA EDL PE"


def test_crosswalks_name_muscles_that_exist() -> None:
    known = {m.abbreviation for region in anatomy.REGIONS.values() for m in region.muscles}
    for names in anatomy.CROSSWALKS.values():
        assert set(names.values()) <= known
        assert len(set(names.values())) == len(names)
