"""Regions, muscles, label numbers, sides, colors and cross-walks to other tools: plain data."""

from dataclasses import dataclass

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
    """

    number: int
    abbreviation: str
    name: str
    laterality: int
    levels: tuple[float, float]

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
    1: (228, 60, 50),
    2: (255, 150, 40),
    3: (255, 217, 60),
    4: (170, 40, 110),
    5: (250, 130, 190),
    6: (150, 220, 60),
    7: (40, 160, 75),
    8: (60, 110, 230),
    9: (60, 210, 235),
    10: (130, 85, 215),
    11: (205, 165, 255),
    12: (20, 200, 160),
}
"""Label number -> red, green, blue, 0-255, so that one ITK-SNAP table serves both regions. Ours;
neighbors in the body differ in hue."""

# Numbers: a later tool by co-authors of the paper, with the same class counts (facts-2021). That
# the weights published in 2021 use this order is likely, not verified.
_THIGH = (
    Muscle(1, "VL", "Vastus lateralis", +1, (0.01, 0.88)),
    Muscle(2, "VM", "Vastus medialis", -1, (0.15, 0.91)),
    Muscle(3, "VI", "Vastus intermedius", 0, (0.02, 0.86)),
    Muscle(4, "RF", "Rectus femoris", 0, (-0.07, 0.75)),
    Muscle(5, "SAR", "Sartorius", -1, (-0.16, 1.03)),
    Muscle(6, "GRA", "Gracilis", -1, (0.11, 0.87)),
    Muscle(7, "AM", "Adductor magnus", -1, (0.06, 0.78)),
    Muscle(8, "SM", "Semimembranosus", -1, (0.26, 0.97)),
    Muscle(9, "ST", "Semitendinosus", 0, (0.10, 0.82)),
    Muscle(10, "BFL", "Biceps femoris, long head", +1, (0.13, 0.83)),
    Muscle(11, "BFS", "Biceps femoris, short head", +1, (0.36, 0.99)),
    Muscle(12, "AL", "Adductor longus", -1, (0.05, 0.57)),
)
_LEG = (
    Muscle(1, "SOL", "Soleus", 0, (1.04, 1.90)),
    Muscle(2, "GM", "Gastrocnemius, medial head", -1, (0.84, 1.59)),
    Muscle(3, "GL", "Gastrocnemius, lateral head", +1, (0.90, 1.52)),
    Muscle(4, "TA", "Tibialis anterior", 0, (1.07, 1.88)),
    Muscle(5, "EDL", "Extensor digitorum longus", +1, (1.05, 2.04)),
    Muscle(6, "PE", "Peroneus longus and brevis", +1, (1.05, 2.05)),
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
