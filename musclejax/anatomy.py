"""Regions, muscles, label numbers, sides, colors and cross-walks to other tools: plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from musclejax.errors import InputError, did_you_mean

SIDES = ("left", "right")
"""Side names; a side map holds 0 outside the limbs and 1 + the index into this tuple inside."""


@dataclass(frozen=True)
class Muscle:
    """One muscle as a label.

    Attributes:
        number: Label value, the same on both sides; 0 is background.
        abbreviation: Short name, unique within its region.
        name: Full anatomical name.
        laterality: +1 lies lateral in the limb, -1 medial, 0 neither; tells the side of a
            limb that is alone in view.
        levels: Highest and lowest level with more than 0.4 cm2 of it, in any of the whole limbs and
            of the templates: 0 hip joint, 1 knee joint line, 2 ankle joint. Measured by
            tools/anatomy/muscle_levels.py.
        mdc: Code in the scheme MDC, of both sides; empty if there is none. Source: DICOM PS3.16,
            context group 3031, as pydicom lists it.
        musclemap: Label number in MuscleMap of the left muscle; that of the right one follows.
            Source: MuscleMap, whole body; of the peroneus longus, which stands for both.
    """

    number: int
    abbreviation: str
    name: str
    laterality: int
    levels: tuple[float, float]
    mdc: str
    musclemap: int

    @property
    def color(self) -> tuple[int, int, int]:
        """Red, green, blue, 0-255: the same for a number in both regions."""
        return COLORS[self.number]


@dataclass(frozen=True)
class Region:
    """A body region that has a segmentation network of its own."""

    name: str
    title: str
    muscles: tuple[Muscle, ...]

    @property
    def num_classes(self) -> int:
        """Number of network outputs: the muscles and background."""
        return len(self.muscles) + 1


COLORS = {
    0: (0, 0, 0),
    1: (171, 0, 0),
    2: (221, 121, 2),
    3: (241, 251, 0),
    4: (158, 21, 216),
    5: (253, 176, 255),
    6: (125, 175, 0),
    7: (29, 151, 101),
    8: (54, 62, 247),
    9: (72, 255, 224),
    10: (135, 58, 125),
    11: (156, 161, 255),
    12: (162, 251, 158),
}
"""Label number -> red, green, blue, 0-255, so that one ITK-SNAP table serves both regions. Ours:
muscles that touch are told apart over any gray by people who see colors in whichever way
(tests/test_colors.py); found by tools/muscle_colors.py."""

# Numbers: a later tool by co-authors of the paper, with the same class counts (facts-2021). That
# the weights published in 2021 use this order is likely, not verified.
_THIGH = (
    Muscle(1, "VL", "Vastus lateralis", +1, (0.01, 0.88), "7:840", 7101),
    Muscle(2, "VM", "Vastus medialis", -1, (0.15, 0.91), "7:848", 7121),
    Muscle(3, "VI", "Vastus intermedius", 0, (0.02, 0.86), "7:844", 7111),
    Muscle(4, "RF", "Rectus femoris", 0, (-0.07, 0.75), "7:836", 7131),
    Muscle(5, "SAR", "Sartorius", -1, (-0.16, 1.03), "7:828", 7141),
    Muscle(6, "GRA", "Gracilis", -1, (0.11, 0.87), "7:868", 7151),
    Muscle(7, "AM", "Adductor magnus", -1, (0.06, 0.78), "7:864", 7201),
    Muscle(8, "SM", "Semimembranosus", -1, (0.26, 0.97), "7:888", 7161),
    Muscle(9, "ST", "Semitendinosus", 0, (0.10, 0.82), "7:884", 7171),
    Muscle(10, "BFL", "Biceps femoris, long head", +1, (0.13, 0.83), "7:876", 7181),
    Muscle(11, "BFS", "Biceps femoris, short head", +1, (0.36, 0.99), "7:880", 7191),
    Muscle(12, "AL", "Adductor longus", -1, (0.05, 0.57), "7:856", 7211),
)
_LEG = (
    Muscle(1, "SOL", "Soleus", 0, (1.04, 1.90), "7:932", 8131),
    Muscle(2, "GM", "Gastrocnemius, medial head", -1, (0.84, 1.59), "7:928", 8141),
    Muscle(3, "GL", "Gastrocnemius, lateral head", +1, (0.90, 1.52), "7:924", 8151),
    Muscle(4, "TA", "Tibialis anterior", 0, (1.07, 1.88), "7:892", 8101),
    Muscle(5, "EDL", "Extensor digitorum longus", +1, (1.05, 2.04), "7:896", 8191),
    Muscle(6, "PE", "Peroneus longus and brevis", +1, (1.05, 2.05), "", 8121),
)

REGIONS = {
    "thigh": Region("thigh", "Thigh", _THIGH),
    "leg": Region("leg", "Lower leg", _LEG),
}
"""Regions by name, in the order of the classifier's outputs (0 thigh, 1 leg; paper, Fig. 5)."""


@dataclass(frozen=True)
class Group:
    """Muscles that studies report as one.

    Attributes:
        name: Unique within its region.
        muscles: Abbreviations of its muscles; no muscle is in two groups.
    """

    name: str
    muscles: tuple[str, ...]


GROUPS = {
    "thigh": (
        Group("quadriceps", ("VL", "VM", "VI", "RF")),
        Group("hamstrings", ("SM", "ST", "BFL", "BFS")),
        Group("adductors", ("AM", "AL", "GRA")),
    ),
    "leg": (
        Group("triceps surae", ("SOL", "GM", "GL")),
        Group("anterior", ("TA", "EDL")),
        Group("lateral", ("PE",)),
    ),
}
"""Region -> its groups of muscles. The sartorius stands alone."""

SLICE_PX = 432
"""Height and width of the model grid. Source: paper, section "Segmentation Networks"."""
SLICE_SPACING_MM = 1.037037
"""Pixel spacing of the model grid. Source: 2021 code; the paper rounds it to 1.04 mm."""
THUMBNAIL_PX = 128
"""Height and width of the classifier's input. Source: paper, "Classification Network"."""


@dataclass(frozen=True)
class Task:
    """What one network of the tree does.

    Attributes:
        name: "region" for the classifier, "level", else the name of a region.
        is_classifier: Whether it labels whole slices and not pixels.
        regions: Regions whose scans it learns from.
        class_names: A name for each output, in order.
        slice_px: Height and width of the part of the model grid that it is applied to.
        input_px: The same of its input, which may be a thumbnail.
        best_metric: Figure whose highest value makes the best checkpoint.
    """

    name: str
    is_classifier: bool
    regions: tuple[str, ...]
    class_names: tuple[str, ...]
    slice_px: int
    input_px: int
    best_metric: str

    @property
    def num_classes(self) -> int:
        """Number of network outputs."""
        return len(self.class_names)

    @property
    def muscles(self) -> tuple[Muscle, ...]:
        """The muscles that it labels; none for the classifier."""
        return () if self.is_classifier else REGIONS[self.name].muscles


def _segmentation_task(region: Region) -> Task:
    names = ("background", *(f"{m.abbreviation} {m.name}" for m in region.muscles))
    return Task(region.name, False, (region.name,), names, SLICE_PX, SLICE_PX, "validation_dsc")


def _classifier_task(name: str, class_names: tuple[str, ...], slice_px: int) -> Task:
    best = "validation_accuracy"
    return Task(name, True, tuple(REGIONS), class_names, slice_px, THUMBNAIL_PX, best)


LEVELS = tuple(round(-0.2 + 0.1 * n, 1) for n in range(26))
"""Levels along a limb between which the level network decides: 0 hip joint, 1 knee joint line, 2
ankle joint, beyond them pelvis and foot. Ours."""
LIMB_PX = 256
"""Height and width of the part of the model grid with one limb that the level network sees. Ours.
"""
CLASSIFIER = "region"
"""Task of the classifier."""
LEVEL = "level"
"""Task of the network that finds the level of a limb's slice."""
TASKS = {
    CLASSIFIER: _classifier_task(CLASSIFIER, tuple(REGIONS), SLICE_PX),
    LEVEL: _classifier_task(LEVEL, tuple(f"{level:.1f}" for level in LEVELS), LIMB_PX),
    **{name: _segmentation_task(region) for name, region in REGIONS.items()},
}
"""The networks of the tree, a row each: the classifier, the level, and one network per region."""

_MUSCLES = {m.abbreviation: m for region in REGIONS.values() for m in region.muscles}
NAMES = {
    **{group.name: group.muscles for groups in GROUPS.values() for group in groups},
    **{
        name.casefold().replace(",", ""): (short,)
        for short, muscle in _MUSCLES.items()
        for name in (short, muscle.name)
    },
}
"""Name in a list of muscles -> abbreviations of what it means; each belongs to one region only."""


def read_muscles(text: str) -> tuple[str, ...]:
    """Return the abbreviations of the muscles in a list such as "VL,VM", in the order of tables.

    Args:
        text: Abbreviations, full names without their commas, or names of `GROUPS`, in any case;
            empty for none.

    Raises:
        InputError: If a name is not a muscle's or group's; the nearest one is named.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word.casefold() not in NAMES:
            hint = did_you_mean(word.upper(), _MUSCLES) or did_you_mean(word.casefold(), NAMES)
            raise InputError("muscles", repr(word), ", ".join(_MUSCLES), hint)
    requested = {short for word in words for short in NAMES[word.casefold()]}
    return tuple(short for short in _MUSCLES if short in requested)


Numbering = Literal["muscles", "sides", "musclemap"]
"""Which numbers a label map on disk has; see `NUMBERINGS`."""
NUMBERINGS: dict[Numbering, Callable[[Muscle, int], int]] = {
    "muscles": lambda muscle, side: muscle.number,
    "sides": lambda muscle, side: muscle.number + 100 * side,
    "musclemap": lambda muscle, side: muscle.musclemap + side,
}
"""Muscle and index into `SIDES` -> number in a label map on disk. "muscles": one number for both
sides, as in training data and in the weights of 2021. "sides": the right ones are 100 higher. In
memory labels always have the numbers of "muscles", and sides are apart; `scan.numbering` goes
between."""

CROSSWALKS = {
    # huashan_thigh/labels.itksnap.txt of github.com/Hirriririir; it has no adductor longus.
    "huashan": {
        1: "SAR",
        2: "RF",
        3: "VL",
        4: "VI",
        5: "VM",
        6: "AM",
        7: "GRA",
        8: "BFL",
        9: "ST",
        10: "SM",
        11: "BFS",
    },
}
"""Label number of another tool -> our abbreviation."""
